"""TIR for `Nest` on a GPU: products in tiles, long sums by whole blocks, all else a thread an element."""

from __future__ import annotations

from typing import Any

from intarsia_backends.gpu.emit.long_sums import emit_long_sums, is_long
from intarsia_backends.gpu.emit.tiles import emit_tiles, tiles_of
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir import nests
from intarsia_backends.tir.schedule import Schedule


def emit_nest(kernel: Nest, schedule: Schedule) -> Any:
    """The PrimFunc of a nest."""
    tiles = tiles_of(kernel)
    if tiles is not None:
        return emit_tiles(kernel, tiles)
    if is_long(kernel):
        return emit_long_sums(kernel)
    return nests.emit_nest(kernel, schedule)
