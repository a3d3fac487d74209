"""StableHLO between text and the bytes of an artifact: the one room, beside `xla`, that imports jaxlib."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

VERSION = "1.13.0"
"""Of StableHLO, as bytes are written: read by every jaxlib from 0.8 on."""


def installed(package: str) -> str | None:
    """The version of a package that is installed here, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def keep_quiet() -> None:
    """XLA logs what it does unless this is set before any of jaxlib is loaded, as jax sets it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


def context() -> Any:
    """An MLIR context that knows what we write, and nothing else."""
    keep_quiet()
    from jaxlib.mlir import ir
    from jaxlib.mlir._mlir_libs import _jax_mlir_ext
    from jaxlib.mlir.dialects import stablehlo

    made, registry = ir.Context(), ir.DialectRegistry()
    _jax_mlir_ext.register_dialects(registry)
    made.append_dialect_registry(registry)
    made.load_all_available_dialects()
    stablehlo.register_dialect(made)
    return made


def to_bytes(text: str) -> bytes:
    """The portable artifact of a module's text; equal texts give equal bytes."""
    made = context()
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import stablehlo

    module = ir.Module.parse(text, made)
    return bytes(stablehlo.serialize_portable_artifact(module, VERSION))


def to_module(data: bytes) -> Any:
    """The module of a portable artifact. Whatever MLIR raises where the bytes are none."""
    made = context()
    from jaxlib.mlir.dialects import stablehlo

    return stablehlo.deserialize_portable_artifact(made, data)
