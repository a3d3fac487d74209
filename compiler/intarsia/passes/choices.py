"""Arguments of a compilation that choose passes and what these do, held against what is meant."""

from __future__ import annotations

import math
from collections.abc import Sequence

from intarsia.arguments import check_number, check_text, shown
from intarsia.errors import CompileError
from intarsia.ir.stages import STAGES
from intarsia.passes.base import Hook, Pass
from intarsia.passes.quantize.images import ImageOptions


def check_tune(tune: float | None) -> None:
    """Raise CompileError for what is no budget of tuning."""
    help = "give a budget in seconds above 0, such as 20.0"
    if tune is not None and not 0 < check_number(CompileError, "tune", tune, help) < math.inf:
        raise CompileError(where="tune", what=f"{tune} is no number of seconds above 0", help=help)


def check_choices(
    calibrator: str,
    percentile: float,
    images: ImageOptions | None,
    pipeline: str | Sequence[Pass] | None,
    hook: Hook | None,
    progress: object,
    until: str,
) -> None:
    """Raise CompileError for arguments of other types than are meant."""
    check_text(CompileError, "calibrator", calibrator, "choose minmax or percentile")
    check_number(CompileError, "percentile", percentile, "give per cent of the numbers, such as 99.99")
    for name, value, kind, help in (
        ("images", images, ImageOptions, "make them: intarsia.ImageOptions(mean=..., scale=...)"),
        ("hook", hook, Hook, "give an instrument, such as passes.instruments.Timing()"),
    ):
        if value is not None and not isinstance(value, kind):
            raise CompileError(where=name, what=f"{shown(value)} is no {kind.__name__}", help=help)
    if pipeline is not None and not isinstance(pipeline, str):
        listed = isinstance(pipeline, Sequence) and not isinstance(pipeline, (bytes, bytearray))
        if not listed or not all(isinstance(step, Pass) for step in pipeline):
            help = "give text such as default_passes make, with commas between, or a list of passes"
            raise CompileError(where="pipeline", what=f"{shown(pipeline)} is no list of passes", help=help)
    if progress is not None and not callable(progress):
        help = "give a function of (what, done, total)"
        raise CompileError(where="progress", what=f"{shown(progress)} cannot be called", help=help)
    if not isinstance(until, str) or until not in STAGES:
        raise CompileError(where="until", what=f"{shown(until)} is no stage", help=f"choose of {', '.join(STAGES)}")
