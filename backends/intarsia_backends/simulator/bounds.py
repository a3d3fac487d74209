"""Whether what a run word touches lies inside of its memories."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.simulator.decoded import Operation


def memory_sizes(config: OverlayConfig, segments: Mapping[isa.Segment, int]) -> dict[str, int]:
    """Words of each memory by name.

    segments  bytes of each DRAM segment
    """
    return {
        **config.memory_words,
        **{segment.name: segments.get(segment, 0) // isa.WORD_BYTES for segment in isa.Segment},
    }


def check_bounds(operation: Operation, sizes: Mapping[str, int]) -> None:
    """Raises RunError where an operand leaves its memory."""
    for access in operation.accesses:
        size = sizes[access.place.memory]
        if access.place.last >= size:
            verb = "writes" if access.writes else "reads"
            raise operation.fault(
                f"{verb} {access.place}, but {access.place.memory} has {size} words",
                "the program and the sizes it was compiled for do not belong together; compile the model again",
            )
