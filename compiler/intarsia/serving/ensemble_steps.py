"""Steps between the models of an ensemble that need no model: what they take, what they give, and NumPy for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intarsia.dtypes import FLOATING, Array, numpy_dtype
from intarsia.serving.tensors import DATATYPES, ServedTensor

Shape = tuple[int | None, ...]

_NUMBERS = tuple(dtype for dtype in DATATYPES if dtype not in ("bool", "string", "bfloat16"))


class StepError(Exception):
    """A step that cannot be, in words."""


@dataclass(frozen=True)
class Op:
    """A step with all that it needs to know.

    dtype, shape  of what it gives
    run           makes it
    """

    dtype: str
    shape: Shape | None
    run: Callable[[Array], Array]


def make(kind: str, options: Mapping[str, Any], taken: ServedTensor) -> Op:
    """The op that a step names, for what it takes. Raises StepError where there is none, or it does not fit."""
    maker = _MAKERS.get(kind)
    if maker is None:
        raise StepError(f"there is no op '{kind}': {', '.join(_MAKERS)}")
    names, made = maker
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise StepError(f"the op {kind} has no option '{unknown[0]}': {', '.join(names)}")
    if taken.dtype not in _NUMBERS:
        raise StepError(f"the op {kind} takes numbers, '{taken.name}' is {taken.datatype}")
    return made(options, taken)


def _cast(options: Mapping[str, Any], taken: ServedTensor) -> Op:
    wanted = options.get("to")
    dtype = next((dtype for dtype in _NUMBERS if DATATYPES[dtype] == wanted), None)
    if dtype is None:
        raise StepError(f"to is {wanted!r}: {', '.join(DATATYPES[dtype] for dtype in _NUMBERS)}")
    kind = numpy_dtype(dtype)
    if taken.dtype not in FLOATING or dtype in FLOATING:
        return Op(dtype, taken.shape, lambda array: array.astype(kind))
    limits = np.iinfo(kind)

    def rounded(array: Array) -> Array:
        # The largest float64 that the type holds: of 64 bits the last number itself is none.
        top = np.nextafter(float(limits.max), 0.0) if limits.bits == 64 else float(limits.max)
        made: Array = np.clip(np.nan_to_num(np.rint(array.astype(np.float64)), nan=0.0), float(limits.min), top).astype(
            kind
        )
        return made

    return Op(dtype, taken.shape, rounded)


def _scale(options: Mapping[str, Any], taken: ServedTensor) -> Op:
    factor, offset = (_numbers(options, name, usual) for name, usual in (("factor", 1.0), ("offset", 0.0)))
    for name, array in (("factor", factor), ("offset", offset)):
        last = None if taken.shape is None or not taken.shape else taken.shape[-1]
        if array.ndim and len(array) != last:
            raise StepError(f"{name} has {len(array)} numbers, the last axis of '{taken.name}' has {last}")
    return Op("float32", taken.shape, lambda array: array.astype(np.float32) * factor + offset)


def _transpose(options: Mapping[str, Any], taken: ServedTensor) -> Op:
    axes, shape = options.get("axes"), taken.shape
    if shape is None or not isinstance(axes, list) or sorted(map(str, axes)) != sorted(map(str, range(len(shape)))):
        rank = "an unknown number of" if shape is None else len(shape)
        raise StepError(f"axes is {axes!r}, '{taken.name}' has {rank} axes, and each stands there once")
    return Op(
        taken.dtype, tuple(shape[axis] for axis in axes), lambda array: np.ascontiguousarray(array.transpose(axes))
    )


def _softmax(options: Mapping[str, Any], taken: ServedTensor) -> Op:
    axis = _axis(options, taken)
    if taken.dtype not in FLOATING:
        raise StepError(f"the op softmax takes floats, '{taken.name}' is {taken.datatype}")

    def softmax(array: Array) -> Array:
        shifted = np.exp(array.astype(np.float32) - array.max(axis=axis, keepdims=True).astype(np.float32))
        made: Array = (shifted / shifted.sum(axis=axis, keepdims=True, dtype=np.float32)).astype(array.dtype)
        return made

    return Op(taken.dtype, taken.shape, softmax)


def _argmax(options: Mapping[str, Any], taken: ServedTensor) -> Op:
    axis = _axis(options, taken)
    assert taken.shape is not None
    shape = list(taken.shape)
    del shape[axis]
    return Op("int64", tuple(shape), lambda array: np.asarray(array.argmax(axis=axis), np.int64))


def _axis(options: Mapping[str, Any], taken: ServedTensor) -> int:
    axis, shape = options.get("axis", -1), taken.shape
    if shape is None or not isinstance(axis, int) or isinstance(axis, bool) or not -len(shape) <= axis < len(shape):
        rank = "an unknown number of" if shape is None else len(shape)
        raise StepError(f"axis is {axis!r}, '{taken.name}' has {rank} axes")
    if shape[axis] == 0:
        raise StepError(f"axis {axis} of '{taken.name}' is empty")
    return axis


def _numbers(options: Mapping[str, Any], name: str, usual: float) -> Array:
    value = options.get(name, usual)
    listed: Sequence[object] = value if isinstance(value, list) else [value]
    if not listed or any(isinstance(item, bool) or not isinstance(item, (int, float)) for item in listed):
        raise StepError(f"{name} is {value!r}, it is a number, or one for each of the last axis")
    array: Array = np.array(value, np.float32)
    return array


_MAKERS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any], ServedTensor], Op]]] = {
    "cast": (("to",), _cast),
    "scale": (("factor", "offset"), _scale),
    "transpose": (("axes",), _transpose),
    "softmax": (("axis",), _softmax),
    "argmax": (("axis",), _argmax),
}
