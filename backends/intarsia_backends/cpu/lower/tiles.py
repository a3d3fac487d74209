"""How many positions and channels a contraction holds in registers."""

from __future__ import annotations

import itertools
from functools import lru_cache

from intarsia_backends.cpu.machine import Machine

_LATENCY_CYCLES = 4.4
"""Cycles in which a multiply-add that waits for the one before it can start, with something for the loop around it."""

_INSTRUCTIONS = 5.0
"""Instructions a cycle that a core takes in."""

_TILE_MAX, _VECTORS_MAX = 14, 8

DOT2_VECTORS_MAX = 2
"""The same for pairs in 16 registers: 5 positions by 2 vectors are up to a fifth faster than 3 by 3 on Zen 3; these are
faster than 2 vectors and a third alone."""


@lru_cache(maxsize=4096)
def choose_tile(machine: Machine, outputs: int, row: int, products: str = "float32") -> tuple[int, int, float]:
    """Positions of a row and vectors of channels to hold at once, and the cycles for one step of the sum over a row.

    outputs   output channels
    row       positions in a row
    products  as in a Contraction

    A model of the cheapest kind: two multiply-adds and two loads a cycle, and chains that must cover the latency.
    """
    best: tuple[float, int, int] | None = None
    needed = -(-outputs // machine.lanes)
    fused = machine.adds_products and products in ("dot2", "dot4")
    # What LLVM needs beside, or it moves sums out of the registers.
    spare = 1 if products == "float32" else 5 if fused and machine.registers > 16 else 3
    costs = "float32" if fused else products  # one instruction multiplies and adds
    most = _VECTORS_MAX
    if products != "float32" and machine.registers <= 16:
        most = 3 if needed == 3 else DOT2_VECTORS_MAX
    for vectors in range(1, min(most, needed) + 1):
        widths = [vectors] * (needed // vectors) + [needed % vectors] * (needed % vectors > 0)
        for tile in range(1, min(row, _TILE_MAX) + 1):
            if tile * vectors + vectors + 1 > machine.registers - spare:
                break
            tiles = balanced_tiles(row, tile)
            cycles = _total(tiles, widths, costs)
            if best is None or cycles < best[0] - 1e-9:
                best = (cycles, tile, vectors)
    assert best is not None
    return best[1], best[2], best[0]


def ranked_tiles(machine: Machine, outputs: int, row: int, products: str) -> list[tuple[int, int]]:
    """Every pair of positions and vectors that the registers hold, fastest first by the model of `choose_tile`.

    More than `choose_tile` looks at: what it leaves out because LLVM makes slow code of it here may be fast elsewhere.
    Of pairs that give the same code there is one.
    """
    needed = -(-outputs // machine.lanes)
    found: dict[tuple[int, int], tuple[float, int, int]] = {}
    for vectors in range(1, min(_VECTORS_MAX, needed) + 1):
        widths = [vectors] * (needed // vectors) + [needed % vectors] * (needed % vectors > 0)
        for tile in range(1, min(row, _TILE_MAX) + 1):
            if tile * vectors + vectors + 1 > machine.registers - 1:
                break
            tiles = balanced_tiles(row, tile)
            key = (len(tiles), vectors)
            found.setdefault(key, (_total(tiles, widths, products), tile, vectors))
    return [(tile, vectors) for _, tile, vectors in sorted(found.values())]


def row_splits(machine: Machine, outputs: int, positions: int, products: str) -> list[tuple[int, int]]:
    """Every way to cut positions that lie one behind the other into rows and columns, best first."""
    ranked = []
    for columns in range(1, positions + 1):
        if positions % columns or (columns < min(positions, 8) and columns != positions):
            continue
        rows = positions // columns
        cycles = rows * choose_tile(machine, outputs, columns, products)[2]
        ranked.append((round(cycles, 3), abs(columns - 112), columns))
    return [(positions // columns, columns) for *_, columns in sorted(ranked)]


def balanced_tiles(row: int, tile: int) -> list[int]:
    """A row of positions in as few tiles as it takes, none larger than `tile`, larger ones first, differing by one."""
    count = -(-row // tile)
    return [row // count + (index < row % count) for index in range(count)]


def _total(tiles: list[int], widths: list[int], products: str) -> float:
    kinds = itertools.product({*tiles}, {*widths})
    return sum(step_cycles(tile, width, products) * tiles.count(tile) * widths.count(width) for tile, width in kinds)


def step_cycles(tile: int, vectors: int, products: str) -> float:
    """Cycles of one step of the sum for a tile whose operands are in registers."""
    pieces = tile * vectors
    instructions = pieces * (1 if products == "float32" else 2) + tile + vectors
    latency = _LATENCY_CYCLES if products == "float32" else 1.0
    return max(pieces / 2, (tile + vectors) / 2, latency, instructions / _INSTRUCTIONS)


def split_row(machine: Machine, outputs: int, positions: int, products: str = "float32") -> tuple[int, int]:
    """Rows and columns for positions that lie one behind the other, so that tiles fill the columns."""
    return row_splits(machine, outputs, positions, products)[0]


def products_for(machine: Machine) -> str:
    """How the machine multiplies int16: in pairs on x86, which has an instruction for it."""
    return "dot2" if machine.name == "x86_64" else "int16"
