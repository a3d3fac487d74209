"""Programs of XLA: modules checked, compiled, and run. The one room that runs jax, and imports it when it must.

A client of XLA's own is made for the CPU, so that nothing of jax's settings and devices in this process is touched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError, either, said
from intarsia.runtime.device import LoadedRegion, RegionResult
from intarsia_backends.tpu.blob import CODE, Region
from intarsia_backends.tpu.portable import keep_quiet, to_module

_WRITTEN = (
    "abs", "add", "and", "bitcast_convert", "broadcast_in_dim", "ceil", "clamp", "compare", "concatenate",
    "constant", "convert", "convolution", "cosine", "divide", "dot_general", "exponential",
    "exponential_minus_one", "floor", "gather", "iota", "log", "log_plus_one", "logistic", "maximum", "minimum",
    "multiply", "negate", "not", "or", "pad", "power", "reduce", "reduce_window", "reshape", "return",
    "reverse", "round_nearest_even", "select", "shift_right_arithmetic", "sign", "sine", "slice", "sqrt",
    "subtract", "tan", "tanh", "transpose", "xor",
)  # fmt: skip

OPS = frozenset(("builtin.module", "func.func", "func.return", *(f"stablehlo.{name}" for name in _WRITTEN)))
"""All that we write. What else a file may hold, such as calls of the host's functions, is refused."""

_AGAIN = "compile the model again"
_lock = threading.Lock()
_cpu: list[Any] = []


def cpu_client() -> Any:
    """This process's client for its own processor."""
    keep_quiet()
    from jaxlib import xla_client

    with _lock:
        if not _cpu:
            _cpu.append(xla_client.make_cpu_client())
        return _cpu[0]


def tpu_client() -> Any:
    """jax's client of the TPUs of this machine, which one process may have. RuntimeError where there are none."""
    from jax.extend.backend import get_backend

    return get_backend("tpu")


def checked_module(region: Region) -> Any:
    """The module of a region: of ops that we write, and with the types that the manifest says. Raises RunError."""
    where = f"{region.where}, file '{CODE}'"
    try:
        module = to_module(region.code)
    except (ValueError, RuntimeError) as error:
        raise RunError(
            where=where,
            what=f"it is no StableHLO that this jaxlib reads: {said(error)[:200]}",
            help=f"{_AGAIN}, or install a newer jaxlib",
        ) from None
    strangers: set[str] = set()

    def look(operation: Any) -> Any:
        from jaxlib.mlir import ir

        strangers.update({operation.name} - OPS)
        return ir.WalkResult.ADVANCE

    module.operation.walk(look)
    if strangers:
        raise RunError(
            where=where,
            what=f"it has ops that intarsia never writes: {', '.join(sorted(strangers))[:200]}",
            help="it was not written by intarsia: do not run it",
        )
    functions = [operation.operation for operation in module.body.operations]
    if [str(function.attributes["sym_name"]) for function in functions] != ['"main"']:
        raise RunError(where=where, what="it is not one function, main", help=_AGAIN)
    types = functions[0].opview.type
    for what, found, wanted in (("takes", types.inputs, region.takes), ("gives", types.results, region.gives)):
        told = tuple(map(str, found))
        if told != wanted:
            raise RunError(
                where=where,
                what=f"main {what} {_listed(told)}, and manifest.json says {_listed(wanted)}",
                help=_AGAIN,
            )
    return module


def _listed(types: Sequence[str]) -> str:
    return ", ".join(types)[:200] or "nothing"


class XlaRegion(LoadedRegion):
    """A region compiled for a device of a client; weights lie on the device."""

    def __init__(self, region: Region, client: Any) -> None:
        from jaxlib import xla_client

        self._where, self._guards, self._device = region.where, region.guards, client.local_devices()[0]
        module = checked_module(region)
        self._text = str(module)
        try:
            devices = xla_client.DeviceList((self._device,))
            self._program = client.compile_and_load(module, devices, xla_client.CompileOptions())
            self._weights = self._put(region.weights)
        except RuntimeError as error:
            raise RunError(
                where=region.where,
                what=f"XLA cannot make it ready: {said(error)[:200]}",
                help=f"load it with {either('--no-native', 'native=False')}, or look for memory to free",
            ) from error

    def _put(self, arrays: Sequence[Array]) -> list[Any]:
        import jax

        with jax.enable_x64(True):
            return [jax.device_put(array, self._device) for array in arrays]

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        started = time.perf_counter()
        try:
            results = [np.array(result) for result in self._program.execute([*self._put(inputs), *self._weights])]
        except RuntimeError as error:
            raise RunError(
                where=self._where, what=f"XLA ended the run: {said(error)[:200]}", help="look for memory to free"
            ) from error
        for whole, what in zip(results[len(results) - len(self._guards) :], self._guards):
            if not whole:
                raise RunError(
                    where=self._where, what=what, help="look at the values that reach it, which are made at run time"
                )
        outputs = results[: len(results) - len(self._guards)]
        return RegionResult(outputs, {"seconds": time.perf_counter() - started})

    def listing(self) -> str:
        return self._text
