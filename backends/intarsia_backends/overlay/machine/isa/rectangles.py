"""What an operand of an instruction covers in a memory: rectangles of words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from intarsia.dtypes import Array


@dataclass(frozen=True)
class Rectangle:
    """Words base + b * block_pitch + y * row_pitch + x * column_pitch of a memory, for b, y, x in the counts.

    memory  "ACT", "WGT", "PAR", "TAB", or a DRAM segment: "CONSTANTS", "ARENA", "INPUTS", "OUTPUTS"
    """

    memory: str
    base: int
    blocks: int = 1
    rows: int = 1
    columns: int = 1
    block_pitch: int = 0
    row_pitch: int = 0
    column_pitch: int = 1

    @property
    def last(self) -> int:
        """The highest word that it covers."""
        return (
            self.base
            + (self.blocks - 1) * self.block_pitch
            + (self.rows - 1) * self.row_pitch
            + (self.columns - 1) * self.column_pitch
        )

    @property
    def words(self) -> int:
        """Number of accesses, a word that is touched twice counted twice."""
        return self.blocks * self.rows * self.columns

    @property
    def is_distinct(self) -> bool:
        """True where no word is touched twice."""
        row = (self.columns - 1) * self.column_pitch + 1
        block = (self.rows - 1) * self.row_pitch + row
        if (self.rows == 1 or self.row_pitch >= row) and (self.blocks == 1 or self.block_pitch >= block):
            return self.columns == 1 or self.column_pitch > 0
        return bool(self.addresses().size == self.words)

    def view(self, memory: Array) -> Array:
        """The rectangle of a memory as a view.

        memory   [words] or [words, lanes]
        returns  [blocks, rows, columns] or [blocks, rows, columns, lanes]
        """
        assert self.base >= 0 and self.last < len(memory), f"{self} leaves {len(memory)} words"
        step = memory.strides[0]
        return as_strided(
            memory[self.base :],
            (self.blocks, self.rows, self.columns, *memory.shape[1:]),
            (self.block_pitch * step, self.row_pitch * step, self.column_pitch * step, *memory.strides[1:]),
        )

    def addresses(self) -> Array:
        """All words that it covers, sorted, each once."""
        grid = (
            np.arange(self.blocks)[:, None, None] * self.block_pitch
            + np.arange(self.rows)[:, None] * self.row_pitch
            + np.arange(self.columns) * self.column_pitch
        )
        return np.unique(self.base + grid)

    def same_words(self, other: Rectangle) -> bool:
        """True where both cover the same word at every (b, y, x)."""
        mine, theirs = (
            (
                item.base,
                item.block_pitch if item.blocks > 1 else 0,
                item.row_pitch if item.rows > 1 else 0,
                item.column_pitch if item.columns > 1 else 0,
                item.blocks,
                item.rows,
                item.columns,
            )
            for item in (self, other)
        )
        return self.memory == other.memory and mine == theirs

    def overlaps(self, other: Rectangle) -> bool:
        """True where some word lies in both."""
        if self.memory != other.memory or self.last < other.base or other.last < self.base:
            return False
        return np.intersect1d(self.addresses(), other.addresses(), assume_unique=True).size > 0

    def __str__(self) -> str:
        return f"{self.memory}[{self.base}:{self.last + 1}]"


@dataclass(frozen=True)
class Access:
    """One operand.

    role   "source" (read by the array, through both ports of a bank), "read" or "write"
    place  the words; gaps between strided windows are counted in
    """

    role: str
    place: Rectangle

    @property
    def writes(self) -> bool:
        """Whether it changes the memory."""
        return self.role == "write"
