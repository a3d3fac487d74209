"""One region of a session, ready to run: it reads values by name, checks what the device gives, lets go of old values.

This is on the path of every run, so that whatever can be known before is worked out when the session is made.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from intarsia.artifact.manifest import Region, Tensor
from intarsia.dtypes import NATIVE, dtype_name, numpy_dtype
from intarsia.errors import CompileError, RunError, said
from intarsia.runtime.device import HomeResult, LoadedRegion, RegionResult, Resident
from intarsia.runtime.limits import Limit

Exact = tuple[Any, tuple[int, ...]]
"""NumPy dtype and shape of an array that needs no further look."""


def exact(dtype: str, shape: Sequence[int | None] | None) -> Exact | None:
    """What an array of a static tensor type has; None for types that need a closer look."""
    if dtype not in NATIVE or shape is None:
        return None
    sizes = tuple(size for size in shape if size is not None)
    return (numpy_dtype(dtype), sizes) if len(sizes) == len(shape) else None


def is_exact(array: Any, wanted: Exact | None) -> bool:
    """True for an array of just that type, row by row in memory; False where it needs a closer look."""
    return (
        wanted is not None
        and type(array) is np.ndarray
        and array.dtype == wanted[0]
        and array.shape == wanted[1]
        and bool(array.flags.c_contiguous)
    )


class Step:
    """A loaded region and the names of the values that it reads, makes and is the last to read.

    drops  values that nobody reads after it
    kept   for each output whether it stays on the device; None where it gives and takes arrays alone
    """

    def __init__(
        self,
        region: Region,
        loaded: LoadedRegion,
        device: str,
        drops: Sequence[str],
        kept: Sequence[bool] | None = None,
    ) -> None:
        self.region = region
        self.loaded = loaded
        self.device = device
        self.drops = tuple(drops)
        self.kept = None if kept is None else tuple(kept)
        self._inputs = tuple(item.name for item in region.inputs)
        self._outputs = tuple((item, exact(item.dtype, item.shape)) for item in region.outputs)

    def run(self, live: dict[str, Any], limit: Limit | None = None) -> Mapping[str, Any]:
        """Run once on the values in `live`, put those that it makes there, and give what the device counted.

        Raises RunError where the device gives something other than the artifact says, RunStopped where the limit is
        reached before.
        """
        result: RegionResult | HomeResult
        if self.kept is None:
            result = self.outputs_of([_contiguous(live[name]) for name in self._inputs], limit)
        else:
            result = self._at_home([live[name] for name in self._inputs], self.kept, limit)
        for (item, _), array in zip(self._outputs, result.outputs):
            live[item.name] = array
        for name in self.drops:
            release(live.pop(name))
        return result.counters

    def outputs_of(self, inputs: Sequence[Any], limit: Limit | None = None) -> RegionResult:
        """Run once on arrays that are row by row in memory. RunError as from `run`."""
        try:
            if limit is None:
                result = self.loaded.run(inputs)
            else:
                limit.check(self.region.name)
                seconds = limit.remaining()
                result = self.loaded.run(inputs) if seconds is None else self.loaded.run_within(inputs, seconds)
        except CompileError as error:  # a rule of shapes, asked about sizes that are made at run time
            raise RunError(where=error.where, what=error.what, help=error.help) from error
        except (MemoryError, RecursionError) as error:
            raise self._too_large(error) from error
        self._check_all(result.outputs)
        return result

    def _at_home(self, values: Sequence[Any], kept: Sequence[bool], limit: Limit | None) -> HomeResult:
        """Run once on arrays and on what earlier regions of the same home have kept."""
        if limit is not None:
            limit.check(self.region.name)
        home = self.loaded.home
        near = [isinstance(value, Resident) and value.home == home for value in values]
        try:
            inputs = [value if stays else _contiguous(value) for value, stays in zip(values, near)]
            result = self.loaded.run_at_home(inputs, kept)
        except MemoryError as error:
            raise self._too_large(error) from error
        try:
            self._check_all(result.outputs)
        except RunError:
            for value in result.outputs:
                release(value)
            raise
        return result

    def _check_all(self, outputs: Sequence[Any]) -> None:
        if len(outputs) != len(self._outputs):
            raise self._wrong(f"{len(outputs)} outputs")
        for (item, wanted), array in zip(self._outputs, outputs):
            if not is_exact(array, wanted) and not _is_resident(array, wanted):
                self._check(item, array)

    @property
    def image_bytes(self) -> int | None:
        """Bytes of all that it reads and makes for one image; None where it runs one at a time."""
        values = [exact(item.dtype, item.shape) for item in (*self.region.inputs, *self.region.outputs)]
        known = [item for item in values if item is not None]
        if not self.loaded.images_at_once or len(known) < len(values):
            return None
        return sum(int(kind.itemsize) * math.prod(shape) for kind, shape in known)

    def run_images(self, live: dict[str, Any], images: int, limit: Limit | None = None) -> Mapping[str, Any]:
        """As `run`, on values [images, *shape]."""
        if limit is not None:
            limit.check(self.region.name)
        try:
            result = self.loaded.run_images([_contiguous(live[name]) for name in self._inputs], images)
        except MemoryError as error:
            raise self._too_large(error) from error
        live.update((item.name, array) for (item, _), array in zip(self._outputs, result.outputs))
        for name in self.drops:
            del live[name]
        return result.counters

    def is_all(self, inputs: Sequence[str], outputs: Sequence[str]) -> bool:
        """Whether it turns these values, in this order, into those: it is then the whole model."""
        return self._inputs == tuple(inputs) and [item.name for item, _ in self._outputs] == list(outputs)

    def _check(self, item: Tensor, array: Any) -> None:
        if isinstance(array, Resident):
            raise self._wrong(f"{array.dtype}{list(array.shape)} for '{item.name}'")
        if not isinstance(array, np.ndarray):
            if isinstance(array, (list, type(None))):
                return
            raise self._wrong(f"{type(array).__name__} for '{item.name}'")
        shape = array.shape if item.shape is None else item.shape
        fits = len(shape) == array.ndim and all(size in (None, found) for size, found in zip(shape, array.shape))
        if dtype_name(array.dtype) != item.dtype or not fits:
            raise self._wrong(f"{array.dtype}{list(array.shape)} for '{item.name}'")

    def _too_large(self, error: Exception) -> RunError:
        where = f"region '{self.region.name}' on device '{self.device}'"
        return RunError(where=where, what=said(error), help="look at the sizes that are made at run time")

    def _wrong(self, what: str) -> RunError:
        return RunError(
            where=f"region '{self.region.name}' on device '{self.device}'",
            what=f"the device gave {what}, which is not what the artifact says",
            help="this is a fault of the device's package: please report it with the artifact",
        )


def _is_resident(value: Any, wanted: Exact | None) -> bool:
    return isinstance(value, Resident) and (value.dtype, value.shape) == wanted


def as_array(value: Any) -> Any:
    """What a device kept as an array, anything else as it is."""
    return value.array() if isinstance(value, Resident) else value


def release(value: Any) -> None:
    """Nobody asks for a value any more."""
    if isinstance(value, Resident):
        value.release()


def _contiguous(array: Any) -> Any:
    if isinstance(array, Resident):
        return array.array()
    if type(array) is np.ndarray and not array.flags.c_contiguous:
        return np.ascontiguousarray(array)
    return array


def last_uses(regions: Sequence[Region], outputs: Sequence[Tensor]) -> list[list[str]]:
    """For each region the values that nobody reads after it: not a later region, not the caller."""
    kept = {item.value for item in outputs if item.file is None}
    last: dict[str, int] = {}
    for index, region in enumerate(regions):
        last.update({item.name: index for item in (*region.inputs, *region.outputs)})
    drops: list[list[str]] = [[] for _ in regions]
    for name, index in last.items():
        if name not in kept:
            drops[index].append(name)
    return drops


def kept_at_home(regions: Sequence[Region], loaded: Sequence[LoadedRegion]) -> list[tuple[bool, ...] | None]:
    """For each region which outputs stay on its device: those that a later region of the same home reads.

    None for regions that neither keep a value nor read one that is kept.
    """
    makers = {item.name: each.home for region, each in zip(regions, loaded) for item in region.outputs}
    read_at: dict[str, set[Hashable]] = {}
    for region, each in zip(regions, loaded):
        for item in region.inputs:
            read_at.setdefault(item.name, set()).add(each.home)
    plan: list[tuple[bool, ...] | None] = []
    for region, each in zip(regions, loaded):
        home = each.home
        if home is None:
            plan.append(None)
            continue
        kept = tuple(home in read_at.get(item.name, ()) for item in region.outputs)
        takes = any(makers.get(item.name) == home for item in region.inputs)
        plan.append(kept if takes or any(kept) else None)
    return plan
