"""intarsia: compiles ONNX models for small FPGA boards and accelerators.

    artifact = intarsia.compile_model("model.onnx", target="pynq-z2", calibration=images)
    artifact.save("model.intarsia")
    session = intarsia.load("model.intarsia")
    outputs = session.run(images[:1])

Names are loaded when first used: on a board, where `compile_model` cannot work, `load` needs NumPy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from intarsia.errors import CompileError, IntarsiaError, IntarsiaWarning, RunError
from intarsia.version import __version__

if TYPE_CHECKING:
    from intarsia.artifact import Artifact
    from intarsia.driver import compile_model, explain
    from intarsia.images import ImageOptions
    from intarsia.importer.limits import Limits
    from intarsia.passes.calibration import Ranges
    from intarsia.runtime.limits import CancellationToken, RunCancelled, RunStopped, RunTimeout
    from intarsia.runtime.session import RunResult, Session, load
    from intarsia.targets import available_targets

__all__ = [
    "Artifact",
    "CancellationToken",
    "CompileError",
    "ImageOptions",
    "IntarsiaError",
    "IntarsiaWarning",
    "Limits",
    "Ranges",
    "RunCancelled",
    "RunError",
    "RunResult",
    "RunStopped",
    "RunTimeout",
    "Session",
    "__version__",
    "available_targets",
    "compile_model",
    "explain",
    "load",
]

_HOMES = {
    "Artifact": "intarsia.artifact",
    "CancellationToken": "intarsia.runtime.limits",
    "ImageOptions": "intarsia.images",
    "Limits": "intarsia.importer.limits",
    "Ranges": "intarsia.passes.calibration",
    "RunCancelled": "intarsia.runtime.limits",
    "RunResult": "intarsia.runtime.result",
    "RunStopped": "intarsia.runtime.limits",
    "RunTimeout": "intarsia.runtime.limits",
    "Session": "intarsia.runtime.session",
    "available_targets": "intarsia.targets",
    "compile_model": "intarsia.driver",
    "explain": "intarsia.driver",
    "load": "intarsia.runtime.session",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'intarsia' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
