"""DFT and STFT as matrix products with tables of cosines and sines: the transforms of audio models are short."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.budget import pay_for
from intarsia.ir.graph import Value
from intarsia.passes.decompose.parts import Expansion, Parts
from intarsia.passes.matching import integers


def _tables(parts: Parts, given: int, length: int, bins: int) -> tuple[Array, Array]:
    """Cosines and sines [given, bins] of a transform over `length`, of whose inputs the rest are zeros."""
    pay_for(parts.node.where, 512 * given * bins, 40 * given * bins)
    angles = 2 * np.pi / length * (np.outer(np.arange(given), np.arange(bins)) % length)
    return np.cos(angles), np.sin(angles)


def _transform(parts: Parts, real: Value, imaginary: Value | None, length: int, bins: int) -> tuple[Value, Value]:
    """Real and imaginary part of the transform along the last axis."""
    even, odd = (parts.constant(table, real.dtype) for table in _tables(parts, real.shape[-1], length, bins))
    first, second = parts.add("MatMul", real, even), parts.add("Neg", parts.add("MatMul", real, odd))
    if imaginary is not None:
        first = parts.add("Add", first, parts.add("MatMul", imaginary, odd))
        second = parts.add("Add", second, parts.add("MatMul", imaginary, even))
    return first, second


def _components(parts: Parts, x: Value) -> list[Value]:
    """The real and, where there is one, the imaginary part of [.., 1] or [.., 2]."""
    last = x.type.rank - 1
    return [parts.reshape(parts.slice(x, last, part, part + 1), *x.shape[:-1]) for part in range(x.shape[-1])]


def _joined(parts: Parts, real: Value, imaginary: Value) -> Value:
    shape = (*real.shape, 1)
    return parts.add("Concat", parts.reshape(real, *shape), parts.reshape(imaginary, *shape), axis=-1)


def _constant(parts: Parts, index: int, default: int) -> int:
    """A number that must be known at compile time."""
    value = parts.node.optional_input(index)
    if value is None:
        return default
    if value.data is None:
        raise parts.refuse("constant-input", f"input {index} is not known at compile time")
    return (integers(value) or (default,))[0]


def _dft(parts: Parts) -> Sequence[Value]:
    x, node = parts.input(0), parts.node
    old = node.opset < 20
    rank = x.type.rank
    axis = int(node.attributes.get("axis", 1)) if old else _constant(parts, 2, -2)
    axis = axis % rank
    length = _constant(parts, 1, x.shape[axis])
    if node.attributes.get("inverse", 0):
        raise parts.refuse("mode", "an inverse transform")
    order = [*(other for other in range(rank - 1) if other != axis), axis]
    back = [order.index(other) for other in range(rank - 1)]
    pieces = []
    for piece in _components(parts, parts.slice(x, axis, 0, min(length, x.shape[axis]))):
        pieces.append(parts.transpose(piece, *order))
    imaginary = pieces[1] if len(pieces) > 1 else None
    found = _transform(parts, pieces[0], imaginary, length, node.output.shape[axis])
    return [_joined(parts, *(parts.transpose(piece, *back) for piece in found))]


def _stft(parts: Parts) -> Sequence[Value]:
    """Frames are picked by a table of places, times the window; then the transform of each."""
    x, node = parts.input(0), parts.node
    window = parts.optional_input(2)
    step = _constant(parts, 1, 1)
    length = _constant(parts, 3, x.shape[1] if window is None else window.shape[0])
    _, frames, bins, _ = node.output.shape
    pay_for(node.where, 16 * frames * length, 8 * frames * length)
    places = parts.constant(np.arange(frames)[:, None] * step + np.arange(length), "int64")
    pieces = []
    for piece in _components(parts, x):
        framed = parts.add("Gather", piece, places, axis=1)
        pieces.append(framed if window is None else parts.add("Mul", framed, window))
    found = _transform(parts, pieces[0], pieces[1] if len(pieces) > 1 else None, length, bins)
    return [_joined(parts, *found)]


EXPANSIONS: dict[str, Expansion] = {"DFT": _dft, "STFT": _stft}
