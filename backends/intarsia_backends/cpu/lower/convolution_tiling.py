"""How a dense convolution of images is made: directly or by Winograd's algorithm, and in which sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from intarsia_backends.cpu.kernels import SHARES, WEIGHTS
from intarsia_backends.cpu.lower.tiles import choose_tile, ranked_tiles, row_splits
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tuning_tasks import TuningTask
from intarsia_backends.cpu.winograd import WinogradTiling, other_plans, plan, winograd_pays

_CACHED_BYTES = 192 << 10
"""Weights that stay in the second-level cache beside the rest: where all do, rows come first; where those of a block of
channels do not, the sum is cut."""

_FLAT_POSITIONS = 64
"""Positions of an image up to which tiles go over the ends of rows: their code is written tile by tile."""

_TILES_TRIED = 5
_SPLITS_TRIED = 3


@dataclass(frozen=True)
class DirectTiling:
    """How a direct sum is cut up; see `Contraction`.

    columns  of a row, where an image is one row that may be cut anywhere; 0 where rows stay as they are
    """

    columns: int
    tile: int
    vectors: int
    flat: bool
    chunked: bool
    rows_first: bool


@dataclass(frozen=True)
class ConvolutionTask(TuningTask):
    """A dense convolution of images; fields as in `Window`.

    products  as in `Contraction`
    one_row   whether positions lie one behind the other, so that an image may be cut into rows anywhere
    winograd  sizes of tiles by which Winograd's algorithm may make it; () where the sum must be direct
    """

    machine: Machine
    products: str
    batch: int
    groups: int
    channels: int
    outputs: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    positions: tuple[int, ...]
    one_row: bool
    winograd: tuple[int, ...]

    @property
    def key(self) -> str:
        sizes = [f"{self.batch}x{self.groups}x{self.channels} to {self.outputs}"]
        for name in ("kernel", "strides", "dilations", "positions", "winograd"):
            sizes.append(f"{name} {'x'.join(map(str, getattr(self, name))) or 'no'}")
        return f"convolution {self.products} {', '.join(sizes)}{', one row' if self.one_row else ''}"

    # ---- the heuristic

    def heuristic(self) -> DirectTiling | WinogradTiling:
        size = winograd_pays(*self._layer, self.products, self.winograd) if self.winograd else 0
        return plan(*self._layer, size, self.products) if size else self._direct()

    @property
    def _layer(self) -> tuple[Machine, int, int, int, tuple[int, int]]:
        positions = (self.positions[0], self.positions[1])
        channels, outputs = self.machine.whole_vectors(self.channels), self.machine.whole_vectors(self.outputs)
        return self.machine, self.batch, channels, outputs, positions

    def _direct(self) -> DirectTiling:
        columns, row = 0, self.positions[-1]
        if self.one_row:
            columns = row = self._splits()[0]
        tile, vectors, _ = choose_tile(self.machine, self.outputs, row, self.products)
        rows_first = self._vector_bytes * -(-self.outputs // self.machine.lanes) <= _CACHED_BYTES
        chunked = not rows_first and self._vector_bytes * vectors > _CACHED_BYTES and self.kernel[0] > 1
        flat = math.prod(self.positions) <= _FLAT_POSITIONS and not chunked
        if flat:
            tile, vectors, _ = choose_tile(self.machine, self.outputs, math.prod(self.positions), self.products)
        return DirectTiling(
            columns=columns, tile=tile, vectors=vectors, flat=flat, chunked=chunked, rows_first=rows_first
        )

    def _splits(self) -> list[int]:
        every = math.prod(self.positions)
        return [columns for _, columns in row_splits(self.machine, self.outputs, every, self.products)]

    @property
    def _vector_bytes(self) -> int:
        """Weights of a vector of output channels."""
        share = SHARES[self.products]
        channels = -(-self.channels // share) * share
        return channels * math.prod(self.kernel) * self.machine.lanes * np.dtype(WEIGHTS[self.products]).itemsize

    # ---- what else may be faster

    def alternatives(self) -> list[DirectTiling | WinogradTiling]:
        """Of the way that the heuristic goes many, of the others the best one each."""
        heuristic, direct = self.heuristic(), self._direct()
        plans = [other_plans(*self._layer, size, self.products) for size in self.winograd]
        ways: list[DirectTiling | WinogradTiling] = [direct, *(found[0] for found in plans)]
        if isinstance(heuristic, WinogradTiling):
            every = [*ways, *_in_turn(plans)]
        else:
            more = _in_turn([self._other_tiles(direct), self._other_orders(direct), self._other_splits(direct)])
            every = [*ways, *more]
        return [config for config in dict.fromkeys(every) if config != heuristic]

    def _other_tiles(self, direct: DirectTiling) -> list[DirectTiling]:
        row = math.prod(self.positions) if direct.flat else direct.columns or self.positions[-1]
        ranked = ranked_tiles(self.machine, self.outputs, row, self.products)[: _TILES_TRIED + 1]
        return [replace(direct, tile=tile, vectors=vectors) for tile, vectors in ranked]

    def _other_splits(self, direct: DirectTiling) -> list[DirectTiling]:
        if not self.one_row or direct.flat:
            return []
        found = []
        for columns in self._splits()[1 : 1 + _SPLITS_TRIED]:
            tile, vectors, _ = choose_tile(self.machine, self.outputs, columns, self.products)
            found.append(replace(direct, columns=columns, tile=tile, vectors=vectors))
        return found

    def _other_orders(self, direct: DirectTiling) -> list[DirectTiling]:
        """The same tiles in another order: what is read again then stays in another cache."""
        if self.outputs <= direct.vectors * self.machine.lanes:
            return []  # one block: there is no order
        if direct.chunked:
            return [replace(direct, chunked=False), replace(direct, chunked=False, rows_first=True)]
        found = [replace(direct, rows_first=not direct.rows_first)]
        if self.kernel[0] > 1 and not direct.rows_first and not direct.flat:
            found.append(replace(direct, chunked=True))
        return found


def _in_turn(lists: Sequence[Sequence[DirectTiling] | Sequence[WinogradTiling]]) -> list[DirectTiling | WinogradTiling]:
    """The first of each, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [found[index] for index in range(longest) for found in lists if index < len(found)]
