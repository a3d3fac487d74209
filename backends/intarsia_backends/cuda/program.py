"""A region's kernels and weights on a GPU, which its lanes share."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from intarsia.errors import RunError
from intarsia_backends.cuda.card import Card
from intarsia_backends.cuda.driver import Driver, DriverError, forked
from intarsia_backends.cuda.held import Current, Held
from intarsia_backends.gpu.launches import KernelFacts, Launches

_CPU = "compile the model for the target 'cpu'"
_DAMAGED = {
    "CUDA_ERROR_INVALID_IMAGE",
    "CUDA_ERROR_INVALID_PTX",
    "CUDA_ERROR_INVALID_SOURCE",
    "CUDA_ERROR_NO_BINARY_FOR_GPU",
    "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
    "CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND",
}
"""Errors that are about the image itself."""


class Program:
    """Open until it is left as often as it was entered; whoever makes it has entered it.

    images   contents of the files of machine code, by name
    weights  contents of the memory that never changes
    """

    def __init__(
        self, card: Card, region: str, launches: Launches, images: Mapping[str, bytes], weights: bytes
    ) -> None:
        self.card, self.launches = card, launches
        self.driver = Driver(f"{card}, region '{region}'")
        self._check()
        self._context, self._held = Held(self.driver), Held(self.driver)
        self._users, self._lock = 1, threading.Lock()
        try:
            self._open(images, weights)
        except BaseException:
            self._release(quietly=True)
            raise
        self._finalizer = weakref.finalize(self, _let_go, self._held, self._context)
        self._finalizer.atexit = False

    def _open(self, images: Mapping[str, bytes], weights: bytes) -> None:
        driver, handle = self.driver, self.card.handle
        context = driver("cuDevicePrimaryCtxRetain", handle)
        self._context.keep(handle, "cuDevicePrimaryCtxRelease")
        self.current = Current(driver, context)
        self._held = Held(driver, self.current)
        with self.current:
            modules = [self._module(name, image) for name, image in images.items()]
            self.functions = [self._function(modules, kernel.name, images) for kernel in self.launches.kernels]
            for function, kernel in zip(self.functions, self.launches.kernels):
                self._check_threads(function, kernel)
            self.weights = self._held.keep(driver("cuMemAlloc", max(1, len(weights))), "cuMemFree")
            if weights:
                self._upload(np.frombuffer(weights, np.uint8))

    def _check_threads(self, function: Any, kernel: KernelFacts) -> None:
        asked = self.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
        most = int(self.driver("cuFuncGetAttribute", asked, function))
        threads = math.prod(kernel.block)
        if threads > most:
            raise self._refusal(f"kernel '{kernel.name}' has {threads} threads in a block, and its code takes {most}")

    def _upload(self, weights: Any) -> None:
        """On a stream of its own, since those of lanes do not wait for the one that has no name."""
        driver = self.driver
        stream = self._held.keep(
            driver("cuStreamCreate", driver.CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamDestroy"
        )
        driver("cuMemcpyHtoDAsync", self.weights, weights.ctypes.data, weights.nbytes, stream)
        driver("cuStreamSynchronize", stream)
        self._held.drop(stream)

    def _module(self, name: str, image: bytes) -> Any:
        try:
            # PTX is text that a zero byte ends.
            return self._held.keep(self.driver("cuModuleLoadData", image + b"\0"), "cuModuleUnload")
        except DriverError as error:
            if error.code not in _DAMAGED:
                raise
            raise RunError(
                where=f"{error.where}, file '{name}'",
                what=f"the driver does not take it: {error.code}",
                help="install a newer driver of NVIDIA's; where it has the newest, compile the model again",
            ) from error

    def _function(self, modules: Sequence[Any], kernel: str, images: Mapping[str, bytes]) -> Any:
        for module in modules:
            try:
                return self.driver("cuModuleGetFunction", module, kernel.encode())
            except DriverError as error:
                if error.code != "CUDA_ERROR_NOT_FOUND":
                    raise
        raise self._refusal(f"there is no kernel '{kernel}' in {', '.join(images)}", "compile the model again")

    def _check(self) -> None:
        """What can be known before anything is asked of the driver."""
        launches, card = self.launches, self.card
        if launches.extensions:
            raise self._refusal(f"it lacks {', '.join(launches.extensions)[:200]}")
        shared_bytes = max((kernel.shared_bytes for kernel in launches.kernels), default=0)
        if shared_bytes > card.shared_bytes:
            raise self._refusal(f"a block takes {shared_bytes} bytes of shared memory of {card.shared_bytes}")
        if launches.arena_bytes + launches.weights_bytes > card.memory_bytes:
            raise self._refusal(
                f"it takes {launches.weights_bytes} bytes for weights and {launches.arena_bytes} for values, and the "
                f"GPU has {card.memory_bytes}",
                f"compile the model for a smaller batch, or {_CPU[18:]}",
            )

    def _refusal(self, what: str, help: str = _CPU) -> RunError:
        return RunError(where=self.driver.where, what=what, help=help)

    def enter(self) -> None:
        """One more user."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """One user fewer; after the last, all is given back. RunError where the driver does not take it."""
        if forked():  # by a thread that may have held the lock
            return
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self._finalizer.detach()
            self._release()

    def _release(self, quietly: bool = False) -> None:
        failed: list[RunError] = []
        for held in (self._held, self._context):
            try:
                held.release()
            except RunError as error:
                failed.append(error)
        if failed and not quietly:
            raise failed[0]


def _let_go(*all_held: Held) -> None:
    """For what nobody has closed."""
    for held in all_held:
        with suppress(RunError):
            held.release()
