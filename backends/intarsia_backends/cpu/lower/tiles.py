"""How many positions and channels a contraction holds in registers."""

from __future__ import annotations

from functools import lru_cache

from intarsia_backends.cpu.machine import Machine

_LATENCY_STEPS = 4.0
"""Cycles in which a multiply-add that waits for the one before it can start: fewer chains than that stall."""

_TILE_MAX, _VECTORS_MAX = 14, 8


@lru_cache(maxsize=4096)
def choose_tile(machine: Machine, outputs: int, row: int) -> tuple[int, int, float]:
    """Positions of a row and vectors of channels to hold at once, and the cycles for one step of the sum over a row.

    outputs  output channels
    row      positions in a row

    A model of the cheapest kind: two multiply-adds and two loads a cycle, and chains that must cover the latency.
    """
    best: tuple[float, int, int] | None = None
    for vectors in range(1, _VECTORS_MAX + 1):
        blocks = -(-outputs // (vectors * machine.lanes))
        if vectors > 1 and vectors * machine.lanes >= outputs + machine.lanes:
            break
        for tile in range(1, min(row, _TILE_MAX) + 1):
            if tile * vectors + vectors + 1 > machine.registers:
                break
            cycles = blocks * (
                row // tile * _cycles(tile, vectors) + (_cycles(row % tile, vectors) if row % tile else 0)
            )
            if best is None or cycles < best[0]:
                best = (cycles, tile, vectors)
    assert best is not None
    return best[1], best[2], best[0]


def _cycles(tile: int, vectors: int) -> float:
    return max(tile * vectors / 2, _LATENCY_STEPS, (tile + vectors) / 2)


def split_row(machine: Machine, outputs: int, positions: int) -> tuple[int, int]:
    """Rows and columns for positions that lie one behind the other, so that tiles fill the columns."""
    best: tuple[float, int, int] | None = None
    for columns in range(1, positions + 1):
        if positions % columns or (columns < min(positions, 8) and columns != positions):
            continue
        rows = positions // columns
        cycles = rows * choose_tile(machine, outputs, columns)[2]
        key = (cycles, abs(columns - 112), columns)
        if best is None or key < best:
            best = key
    assert best is not None
    return positions // best[2], best[2]
