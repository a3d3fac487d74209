"""Arguments of a compilation that choose passes and what these do, held against what is meant."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path

from intarsia.arguments import check_number, check_text, shown
from intarsia.errors import CompileError, either
from intarsia.images import ImageOptions, check_options
from intarsia.ir.stages import STAGES
from intarsia.passes.base import Hook, Pass
from intarsia.passes.calibration import METHODS, Calibration, Ranges
from intarsia.passes.context import Context
from intarsia.passes.quantize import Calibrate, LowerQdq, Quantize


def check_tune(tune: float | None) -> None:
    """Raise CompileError for what is no budget of tuning."""
    help = "give a budget in seconds above 0, such as 20.0"
    if tune is not None and not 0 < check_number(CompileError, "tune", tune, help) < math.inf:
        raise CompileError(where="tune", what=f"{tune} is no number of seconds above 0", help=help)


def choose_precision(target: str, precisions: Sequence[str], wish: str | None, calibrated: bool) -> str:
    """The precision of a compilation: what is wished for; else int8 where there is calibration data, or the first.

    precisions  those of the target, the one that it needs first
    """
    if wish is None:
        return "int8" if calibrated and "int8" in precisions else precisions[0]
    precision = check_text(CompileError, "precision", wish, "leave it out to get what the target needs")
    if precision not in precisions:
        raise CompileError(
            where=either(f"--precision {precision}", f"precision '{precision}'"),
            what=f"target '{target}' computes in {' or '.join(precisions)}",
            help=f"leave {either('--precision', 'precision')} out to get what the target needs",
        )
    return precision


def check_used(
    precision: str,
    calibration: Calibration | None,
    images: ImageOptions | None,
    calibrator: str,
    percentile: float | None,
) -> None:
    """Raise CompileError for what was given and would be left aside.

    precision  of the compilation; int8 where passes that the user names decide that
    """
    options = "--calibration", "--calibrator", "--percentile", "--mean, --scale, --colour, --fit"
    data, method, part, pixels = (either(*pair) for pair in zip(options, _ARGUMENTS))
    if precision != "int8" and calibration is not None:
        raise CompileError(
            where=data,
            what=f"it is for int8, and the model stays in {precision}",
            help="leave it out, or choose " + either("--precision int8", "precision='int8'"),
        )
    path = Path(calibration) if isinstance(calibration, (str, PathLike)) else None
    measured = isinstance(calibration, Ranges) or (path is not None and path.suffix == ".json")
    arrays = calibration is not None and not measured and not (path is not None and os.path.isdir(path))
    if images is not None and arrays:
        raise CompileError(
            where=pixels,
            what="they are for a folder of images, and the data is none: arrays are taken as they are",
            help="leave them out, and scale the arrays as in training",
        )
    if percentile is not None and calibrator != "percentile":
        raise CompileError(
            where=part,
            what=f"it is for the calibrator 'percentile', and {method} is '{calibrator}'",
            help="leave it out, or choose " + either("--calibrator percentile", "calibrator='percentile'"),
        )
    if calibrator != METHODS[0] and (measured or precision != "int8"):
        raise CompileError(
            where=method,
            what="the ranges were measured before, and are taken as they are"
            if measured
            else f"nothing is calibrated: the model stays in {precision}",
            help="leave it out, or measure again on data" if measured else "leave it out, or give calibration data",
        )


_ARGUMENTS = ("calibration", "calibrator", "percentile", "images")
"""What the options are called in Python."""


def check_choices(
    calibrator: str,
    percentile: float | None,
    images: ImageOptions | None,
    pipeline: str | Sequence[Pass] | None,
    hook: Hook | None,
    progress: object,
    until: str,
) -> None:
    """Raise CompileError for arguments of other types than are meant."""
    check_text(CompileError, "calibrator", calibrator, "choose minmax or percentile")
    if percentile is not None:
        check_number(CompileError, "percentile", percentile, "give per cent of the numbers, such as 99.99")
    for name, value, kind, help in (
        ("images", images, ImageOptions, "make them: intarsia.ImageOptions(mean=..., scale=...)"),
        ("hook", hook, Hook, "give an instrument, such as passes.instruments.Timing()"),
    ):
        if value is not None and not isinstance(value, kind):
            raise CompileError(where=name, what=f"{shown(value)} is no {kind.__name__}", help=help)
    if images is not None:
        check_options(images)
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


def keeping_float(passes: tuple[Pass, ...], names: Sequence[str], written: bool) -> tuple[Pass, ...]:
    """The passes, with the one that quantizes told what to leave in float.

    written  the pipeline is the user's
    """
    if not names:
        return passes
    help = f"leave {either('--keep-float', 'keep_float')} out"
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise CompileError(where="keep_float", what=f"{shown(names)} is no list of names", help="give names of ops")
    where = either("--keep-float", "keep_float")
    if written:
        what, help = "the pipeline is given too", "write it there: quantize{keep=('name',)}"
        raise CompileError(where=where, what=what, help=help)
    if not any(isinstance(step, Quantize) for step in passes):
        what = "nothing is quantized: the model stays in float32, or brings scales of its own"
        raise CompileError(where=where, what=what, help=help)
    return tuple(replace(step, keep=tuple(names)) if isinstance(step, Quantize) else step for step in passes)


def check_steps(
    staged: Sequence[tuple[str, Sequence[Pass]]],
    context: Context,
    precision: str | None,
    save_calibration: str | PathLike[str] | None,
) -> None:
    """Raise CompileError, before anything runs, for what cannot come to a good end.

    precision  what a pipeline that the user wrote must come to; None where that is known
    """
    steps = [step for _, passes in staged for step in passes]
    for step in steps:
        step.check(context)
    quantizes = any(isinstance(step, (Quantize, LowerQdq)) for step in steps)
    if precision is not None and quantizes != (precision == "int8"):
        raise CompileError(
            where="pipeline",
            what=f"it {'makes integers' if quantizes else 'leaves all in float32'}, and the precision is {precision}",
            help="end it with calibrate, quantize for int8, and with neither for float32; "
            f"{either('--precision', 'precision')} chooses",
        )
    if save_calibration is not None and not any(isinstance(step, Calibrate) for step in steps):
        raise CompileError(
            where=f"calibration file {fspath(save_calibration)}",
            what="nothing is calibrated: the model stays in float32, or brings scales of its own",
            help=either(
                "leave --save-calibration out, or choose --precision int8",
                "leave save_calibration out, or choose precision='int8'",
            ),
        )
