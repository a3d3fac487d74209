"""From float to int8: calibration, scales, the integer form of each op; and models that bring their own scales."""

from __future__ import annotations

from intarsia.passes.quantize.calibrate import Ranges, assumed_ranges, calibrate
from intarsia.passes.quantize.images import ImageOptions
from intarsia.passes.quantize.lower import Outcome, Quantize, quantize, require_measured
from intarsia.passes.quantize.qdq import LowerQdq, is_prequantized, lower_qdq
from intarsia.passes.quantize.samples import Samples, read_samples

__all__ = [
    "ImageOptions",
    "LowerQdq",
    "Outcome",
    "Quantize",
    "Ranges",
    "Samples",
    "assumed_ranges",
    "calibrate",
    "is_prequantized",
    "lower_qdq",
    "quantize",
    "read_samples",
    "require_measured",
]
