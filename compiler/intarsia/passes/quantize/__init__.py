"""From float to int8: calibration, scales, the integer form of each op; and models that bring their own scales."""

from __future__ import annotations

from intarsia.passes.quantize.calibrate import Ranges, assumed_ranges, calibrate
from intarsia.passes.quantize.lower import Outcome, Quantize, quantize, require_measured
from intarsia.passes.quantize.qdq import LowerQdq, is_prequantized, lower_qdq

__all__ = [
    "LowerQdq",
    "Outcome",
    "Quantize",
    "Ranges",
    "assumed_ranges",
    "calibrate",
    "is_prequantized",
    "lower_qdq",
    "quantize",
    "require_measured",
]
