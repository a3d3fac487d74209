"""Faults of intarsia as letters: what goes wrong inside reaches a caller as an InternalError that says what to do."""

from __future__ import annotations

import functools
import sysconfig
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from intarsia.errors import CompileError, IntarsiaError, InternalError, either, said

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

HELP = "this is a fault of intarsia, not of yours: please report it with the model; "

_OURS = ("intarsia", "intarsia_backends", "intarsia_hw")
_LIBRARIES = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))


def tells_faults(function: AnyFunction) -> AnyFunction:
    """A function of the public interface whose unforeseen errors become InternalError, with the error as its cause.

    What the caller's own code raises, as a hook or an iterator of calibration data, goes through as it is, and so do
    arguments that the function does not have and packages that are not installed.
    """

    @functools.wraps(function)
    def telling(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except (IntarsiaError, ModuleNotFoundError):
            raise
        except Exception as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is None or _is_callers(error.__traceback__):
                raise
            raise letter_of(error, _place(arguments, named)) from error

    return cast(AnyFunction, telling)


def letter_of(error: Exception, where: str) -> CompileError:
    """The letter about an error that nobody foresaw; one about memory where that was short."""
    if isinstance(error, MemoryError):
        return CompileError(where=where, what=said(error), help="compile it where there is more memory")
    return InternalError(
        where=where,
        what=f"{type(error).__name__}: {said(error)}",
        help=HELP + either("-v, and --dump FOLDER of compile, tell more", "compile_model(dump=FOLDER) tells more"),
    )


def _place(arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    model = arguments[0] if arguments else named.get("model")
    return f"model file '{model}'" if isinstance(model, str) else "the model"


def _is_callers(trace: TracebackType) -> bool:
    """Whether code that is neither ours nor a library's is among what was called."""
    part = trace.tb_next
    while part is not None:
        frame = part.tb_frame
        file = frame.f_code.co_filename
        ours = str(frame.f_globals.get("__name__", "")).partition(".")[0] in _OURS
        if not (ours or file.startswith(("<", *_LIBRARIES))):
            return True
        part = part.tb_next
    return False
