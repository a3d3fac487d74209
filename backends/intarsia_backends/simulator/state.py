"""The memories of one machine: on chip and in DRAM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import TABLE_BYTES, WEIGHT_ROW_BYTES, OverlayConfig


class State:
    """Memories as int8 arrays, one row a word.

    act         [activation_words, 16]
    wgt         [weight_rows, 64]
    par         [parameter_groups, 128]
    tab         [tables, 256]
    dram        [words, 16] for each segment
    sums        accumulators that a Conv or Vec with finish = 0 left: float64 whole numbers, by queue
    """

    def __init__(self, config: OverlayConfig, constants: Array, segments: Mapping[isa.Segment, int]) -> None:
        """
        constants  int8 [words, 16], shared between machines, never written
        segments   bytes of the other segments
        """
        self.act = np.zeros((config.activation_words, isa.WORD_BYTES), np.int8)
        self.wgt = np.zeros((config.weight_rows, WEIGHT_ROW_BYTES), np.int8)
        self.par = np.zeros((config.parameter_groups, 128), np.int8)
        self.tab = np.zeros((config.tables, TABLE_BYTES), np.int8)
        self.dram = {
            segment: constants
            if segment == isa.Segment.CONSTANTS
            else np.zeros((segments.get(segment, 0) // isa.WORD_BYTES, isa.WORD_BYTES), np.int8)
            for segment in isa.Segment
        }
        self.sums: dict[isa.Queue, Array] = {}

    def segment(self, name: str) -> Array:
        """A DRAM segment by the name that rectangles use."""
        return self.dram[isa.Segment[name]]
