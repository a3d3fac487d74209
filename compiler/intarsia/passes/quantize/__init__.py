"""From float to int8: calibration, scales, the integer form of each op; and models that bring their own scales."""

from __future__ import annotations

from intarsia.images import ImageOptions
from intarsia.passes.base import Outcome, Pass
from intarsia.passes.calibration import Ranges
from intarsia.passes.quantize.calibrate import AssumeRanges, Calibrate, assumed_ranges, calibrate
from intarsia.passes.quantize.lower import Quantize, quantize, require_measured
from intarsia.passes.quantize.pads import FuseIntegerPad
from intarsia.passes.quantize.pixels import FusePixels
from intarsia.passes.quantize.qdq import CalibrateEdges, LowerQdq, is_prequantized, lower_qdq
from intarsia.passes.quantize.samples import Samples, read_samples

__all__ = [
    "PASSES",
    "AssumeRanges",
    "Calibrate",
    "CalibrateEdges",
    "FuseIntegerPad",
    "FusePixels",
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
    "passes",
    "quantize",
    "read_samples",
    "require_measured",
]

PASSES: tuple[type[Pass], ...] = (
    Calibrate,
    AssumeRanges,
    Quantize,
    CalibrateEdges,
    LowerQdq,
    FuseIntegerPad,
    FusePixels,
)


def passes(prequantized: bool, calibrate: Calibrate | None = None) -> tuple[Pass, ...]:
    """The order in which they run.

    prequantized  the model has scales of its own
    calibrate     how ranges are measured; None where they are assumed
    """
    if prequantized:
        measured = () if calibrate is None else (CalibrateEdges(calibrate.method, calibrate.percentile),)
        return (*measured, LowerQdq(), FuseIntegerPad(), FusePixels())
    return (calibrate or AssumeRanges(), Quantize(), FusePixels())
