"""NVIDIA's driver by its own bindings for Python: every call is checked, and what goes wrong is told as a letter.

The only module that imports them. They load the driver's library when the first call is made.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from intarsia.errors import RunError

INSTALL = "pip install 'intarsia[cuda]'"
_UPDATE = "install a newer driver of NVIDIA's, or compile the model for the target 'cpu'"
_AGAIN = "close the sessions of this process on that GPU, and load the artifact again; where that fails too, start anew"

_MEANINGS = {
    "CUDA_ERROR_NO_DEVICE": (
        "there is no NVIDIA GPU that this process may use",
        "see what `nvidia-smi` says, and the environment variable CUDA_VISIBLE_DEVICES; elsewhere, compile the model "
        "for the target 'cpu'",
    ),
    "CUDA_ERROR_OUT_OF_MEMORY": (
        "the GPU is out of memory",
        "close other programs on it, run in fewer threads, or compile the model for a smaller batch",
    ),
    "CUDA_ERROR_STUB_LIBRARY": ("libcuda.so.1 is a stub for linking, not the driver", _UPDATE),
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": (
        "the driver's library and its part in the kernel are of different versions",
        "restart the machine, as after every update of the driver",
    ),
    "CUDA_ERROR_SYSTEM_NOT_READY": (
        "the driver is not ready yet",
        "wait until the machine's services are up; see what `nvidia-smi` says",
    ),
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": (
        "the driver is too old for the PTX in the artifact, and there is no machine code for this GPU",
        _UPDATE,
    ),
}
"""What an error means, and what to do about it, where that does not depend on what was being done."""

_SPOILING = {
    "CUDA_ERROR_ILLEGAL_ADDRESS": "it reads or writes where no memory is",
    "CUDA_ERROR_LAUNCH_TIMEOUT": "it takes longer than the system allows",
    "CUDA_ERROR_ASSERT": "an assertion in it does not hold",
    "CUDA_ERROR_HARDWARE_STACK_ERROR": "its stack is damaged",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION": "it has an instruction that the GPU does not know",
    "CUDA_ERROR_MISALIGNED_ADDRESS": "it reads or writes at an address that is no multiple of the size",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE": "it takes memory of one kind for another",
    "CUDA_ERROR_INVALID_PC": "it jumps to where no code is",
    "CUDA_ERROR_LAUNCH_FAILED": "it ended in the middle",
    "CUDA_ERROR_ECC_UNCORRECTABLE": "memory of the GPU is damaged",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED": "what it stands on was destroyed",
}
"""Errors of a kernel after which the driver answers every call with the same error, until all is given back."""

_forked = False
_started = False


def _after_fork() -> None:
    global _forked
    _forked = _started


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_after_fork)


def missing() -> str | None:
    """Why the bindings cannot be used, if they are not installed. They are not imported."""
    try:
        found = importlib.util.find_spec("cuda.bindings") is not None
    except ImportError:  # a package `cuda` of another make
        found = False
    return None if found else f"the Python package cuda-bindings is not installed: {INSTALL}"


def forked() -> bool:
    """Whether this process came of one that had begun to use the driver, which does not come along."""
    return _forked


class DriverError(RunError):
    """A call that failed.

    code  the driver's name of the error; "" where there is no such call
    """

    def __init__(self, *, where: str, what: str, help: str, code: str = "") -> None:
        super().__init__(where=where, what=what, help=help)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.where, self.what, self.help, self.code))


def _rebuild(where: str, what: str, help: str, code: str) -> DriverError:
    """Pickling hook: exceptions with keyword-only arguments need one."""
    return DriverError(where=where, what=what, help=help, code=code)


class Driver:
    """The driver's functions, by their names in C: `driver("cuMemAlloc", 1024)` gives what C writes to pointers.

    where   how letters name what is being done
    broken  the error of a kernel after which nothing works any more; None where all is well
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.broken: str | None = None
        try:
            from cuda.bindings import driver
        except Exception as error:  # it loads libraries: whatever goes wrong there
            raise RunError(
                where=where, what=f"cuda-bindings cannot be imported: {type(error).__name__}: {error}", help=INSTALL
            ) from error
        self._functions = driver
        self._success = driver.CUresult.CUDA_SUCCESS

    def __getattr__(self, name: str) -> Any:
        """Types and names of numbers, as the bindings spell them."""
        return getattr(self._functions, name)

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Call a function. None, a value or a tuple, as C writes them; RunError for anything but success."""
        global _started
        if _forked:
            raise self._letter(
                "",
                "this process was forked from one that had begun to use the GPU, which the driver does not allow",
                "load artifacts in the processes that run them, or let multiprocessing start processes by 'spawn'",
            )
        _started = True
        try:
            code, *values = getattr(self._functions, name)(*arguments)
        except RuntimeError as error:  # the bindings found no library, or none of that name in it
            raise self._absent(name, error) from error
        if code != self._success:
            raise self.failure(name, str(getattr(code, "name", code)))
        return values[0] if len(values) == 1 else tuple(values) or None

    def _letter(self, code: str, what: str, help: str) -> DriverError:
        return DriverError(where=self.where, what=what, help=help, code=code)

    def _absent(self, name: str, error: RuntimeError) -> DriverError:
        if type(error).__name__ == "FunctionNotFoundError":
            return self._letter("", f"the driver is too old for cuda-bindings: it has no {name}", _UPDATE)
        return self._letter(
            "",
            f"there is no driver of NVIDIA's, libcuda.so.1: {str(error).strip().splitlines()[0][:200]}",
            "install the driver of the GPU; where there is no GPU, compile the model for the target 'cpu'",
        )

    def failure(self, name: str, code: str) -> DriverError:
        """The letter for an error that a function gave."""
        if self.broken is not None:
            return self._letter(
                code, f"an earlier kernel failed, {self.broken}, after which the GPU takes no work from here", _AGAIN
            )
        if code in _SPOILING:
            self.broken = code
            return self._letter(code, f"a kernel failed: {_SPOILING[code]} ({code}, told by {name})", _AGAIN)
        if code in _MEANINGS:
            what, help = _MEANINGS[code]
            return self._letter(code, f"{what} ({code} of {name})", help)
        return self._letter(
            code,
            f"the driver failed: {code} of {name}",
            "load the artifact again; where that fails too, the driver or the GPU is at fault",
        )
