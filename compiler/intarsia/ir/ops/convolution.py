"""Convolution of floats, and the summation that integer convolutions share with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.geometry import Window, spatial_shape, window_of
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    Types,
    fitting,
    given,
    given_or_none,
    of_rank,
    optional,
    same_dtype,
    tensor,
    wide,
)
from intarsia.ir.ops.windows import pad_spatial, windows
from intarsia.ir.products import matrix_product
from intarsia.ir.types import Dimension, TensorType

_COLUMNS_BYTES = 32 << 20
"""Bound of the matrix of unfolded windows; larger inputs are convolved in bands of rows."""


def each_tap(kernel: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Positions in a kernel, row by row."""
    return product(*(range(size) for size in kernel))


def at_tap(x: Array, tap: Sequence[int], positions: Sequence[int], window: Window) -> Array:
    """What one tap of every window reads, as a view.

    x        [N, C, *spatial], already padded
    returns  [N, C, *positions]
    """
    cuts = [
        slice(offset * dilation, offset * dilation + (count - 1) * stride + 1, stride)
        for offset, dilation, stride, count in zip(tap, window.dilations, window.strides, positions)
    ]
    return np.asarray(x[(slice(None), slice(None), *cuts)])


def sum_windows(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], group: int) -> Array:
    """Convolution of padded floats: sum over channels of a group and taps of weight * x.

    x        [N, C, *spatial], already padded
    w        [M, C / group, *kernel], the element type of x
    returns  [N, M, *positions], the element type of x; exact where all partial sums are exact in that type
    """
    kernel = w.shape[2:]
    window = Window(kernel, tuple(strides), tuple(dilations), (0,) * (2 * len(kernel)))
    positions = [window.positions(axis, size, 0, 0) for axis, size in enumerate(x.shape[2:])]
    if w.shape[1] == 1 and group > 1:
        return _sum_depthwise(x, w, window, positions)
    if math.prod(kernel) == 1:
        return _product(at_tap(x, (0,) * len(kernel), positions, window), w, group, positions)
    out = np.empty((x.shape[0], w.shape[0], *positions), x.dtype)
    row_bytes = x.shape[1] * math.prod(kernel) * math.prod(positions[1:]) * x.itemsize
    rows = max(_COLUMNS_BYTES // max(row_bytes, 1), 1)
    for image in range(x.shape[0]):
        for first in range(0, positions[0], rows):
            last = min(first + rows, positions[0])
            top = first * window.strides[0]
            band = x[image : image + 1, :, top : top + (last - first - 1) * window.strides[0] + window.reach(0)]
            view = windows(band, kernel, strides, dilations)
            taps = tuple(range(2 + len(kernel), 2 + 2 * len(kernel)))
            spatial = tuple(range(2, 2 + len(kernel)))
            columns = view.transpose((0, 1, *taps, *spatial)).reshape(1, -1, math.prod(view.shape[2 : 2 + len(kernel)]))
            out[image : image + 1, :, first:last] = _product(columns, w, group, (last - first, *positions[1:]))
    return out


def _product(columns: Array, w: Array, group: int, positions: Sequence[int]) -> Array:
    """columns [N, group * depth, positions...] by weights [M, depth...]: [N, M, *positions]."""
    depth = math.prod(w.shape[1:])
    matrix = w.reshape(group, w.shape[0] // group, depth)
    flat = columns.reshape(columns.shape[0], group, depth, math.prod(positions))
    if group == 1:
        result = np.stack([matrix_product(matrix[0], image[0]) for image in flat])
    else:
        result = np.matmul(matrix, flat)
    return np.asarray(result).reshape(columns.shape[0], w.shape[0], *positions)


def _sum_depthwise(x: Array, w: Array, window: Window, positions: Sequence[int]) -> Array:
    """One input channel a group: tap by tap, without unfolding."""
    if w.shape[0] != x.shape[1]:
        x = np.repeat(x, w.shape[0] // x.shape[1], axis=1)
    total = np.zeros((x.shape[0], w.shape[0], *positions), x.dtype)
    part = np.empty_like(total)
    for tap in each_tap(window.kernel):
        weight = _tap_of(w, tap).reshape((1, -1) + (1,) * window.rank)
        np.multiply(at_tap(x, tap, positions, window), weight, out=part)
        total += part
    return total


def _tap_of(w: Array, tap: Sequence[int]) -> Array:
    """[M, C] of the weights [M, C, *kernel], at one position in the kernel."""
    return np.asarray(w.reshape(*w.shape[:2], -1)[:, :, np.ravel_multi_index(tuple(tap), w.shape[2:])])


def along_channels(data: Array, rank: int) -> Array:
    """[C] shaped to broadcast along axis 1 of a tensor of that rank."""
    return data.reshape((1, -1) + (1,) * (rank - 2))


# ---- Conv


def check_conv(
    node: Node, x: TensorType, w: TensorType, bias: TensorType | None, group: int
) -> tuple[Window, tuple[Dimension, ...]] | None:
    """The window and output shape of a convolution; None where a rank is not known."""
    of_rank(node, x, 3)
    of_rank(node, w, 3)
    if x.shape is None or w.shape is None:
        return None
    if len(x.shape) != len(w.shape):
        raise refuse(node, f"input {x} and weight {w} have different numbers of dimensions", BAD_MODEL)
    channels, outputs, depth = x.shape[1], w.shape[0], w.shape[1]
    depthwise = "check the exporter's group attribute; a depthwise Conv has group == channels"
    if group < 1:
        raise refuse(node, f"group is {group}", depthwise)
    if channels is not None and channels % group:
        raise refuse(node, f"{channels} input channels do not divide into {group} groups", depthwise)
    if outputs is not None and outputs % group:
        raise refuse(node, f"{outputs} output channels do not divide into {group} groups", depthwise)
    if channels is not None and depth is not None and channels != depth * group:
        raise refuse(
            node,
            f"input {x} has {channels} channels; weight {w} in {group} groups reads {depth * group}",
            depthwise,
        )
    check_bias(node, bias, outputs)
    window = window_of(node, len(x.shape) - 2, w.shape[2:])
    return window, (x.shape[0], outputs, *spatial_shape(node, window, x.shape[2:]))


def check_bias(node: Node, bias: TensorType | None, outputs: Dimension) -> None:
    """A bias has one entry an output channel."""
    if bias is None or bias.shape is None:
        return
    if len(bias.shape) != 1 or not fitting(bias.shape[0], outputs):
        raise refuse(node, f"bias {bias} does not fit {outputs} output channels", "give one bias a channel, as [M]")


def _infer_conv(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, w, bias = tensor(node, types, 0, FLOATING), tensor(node, types, 1, FLOATING), optional(types, 2)
    same_dtype(node, x, w, bias)
    found = check_conv(node, x, w, bias, attribute(node, CONV, "group"))
    return [TensorType(x.dtype, None if found is None else found[1])]


def _evaluate_conv(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, w, bias = given(inputs, 0), given(inputs, 1), given_or_none(inputs, 2)
    window = window_of(node, x.ndim - 2, w.shape[2:])
    padded = pad_spatial(wide(x), window.pads_for(x.shape[2:]), 0)
    total = sum_windows(padded, wide(w), window.strides, window.dilations, attribute(node, CONV, "group"))
    if bias is not None:
        total += along_channels(wide(bias), x.ndim)
    return [total.astype(x.dtype, copy=False)]


_WINDOW = {"kernel_shape": (), "strides": (), "pads": (), "dilations": (), "auto_pad": "NOTSET"}


def conv_macs(weight: int) -> Callable[[Node], int]:
    """For the row of a convolution with its weight, [M, C / group, ...], at that input: a filter an output element."""
    return lambda node: node.output.type.elements * math.prod(node.input(weight).shape[1:])


CONV = Op(
    "Conv", _infer_conv, _evaluate_conv, {**_WINDOW, "group": 1}, macs=conv_macs(weight=1), carries_activation=True
)


# ---- ConvTranspose


def _transposed(node: Node, window: Window, sizes: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads and output sizes for an input of those spatial sizes."""
    extra = node.attributes.get("output_padding", (0,) * window.rank)
    full = [(size - 1) * window.strides[a] + window.reach(a) + extra[a] for a, size in enumerate(sizes)]
    wanted = node.attributes.get("output_shape")
    if wanted is None and window.auto_pad == "NOTSET":
        pads = window.pads
        return pads, tuple(full[a] - pads[a] - pads[window.rank + a] for a in range(window.rank))
    if wanted is None:
        wanted = [size * window.strides[a] for a, size in enumerate(sizes)]
    wanted = tuple(int(size) for size in wanted)[-window.rank :]
    befores, afters = [], []
    for axis in range(window.rank):
        total = max(full[axis] - wanted[axis], 0)
        smaller, larger = total // 2, total - total // 2
        upper = window.auto_pad == "SAME_UPPER"
        befores.append(smaller if upper else larger)
        afters.append(larger if upper else smaller)
    return (*befores, *afters), wanted


def _infer_conv_transpose(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, w, bias = tensor(node, types, 0, FLOATING), tensor(node, types, 1, FLOATING), optional(types, 2)
    same_dtype(node, x, w, bias)
    of_rank(node, x, 3)
    of_rank(node, w, 3)
    if x.shape is None or w.shape is None:
        return [TensorType(x.dtype, None)]
    group = attribute(node, CONV_TRANSPOSE, "group")
    if len(x.shape) != len(w.shape):
        raise refuse(node, f"input {x} and weight {w} have different numbers of dimensions", BAD_MODEL)
    if group < 1 or (x.shape[1] is not None and x.shape[1] % group):
        raise refuse(node, f"{x.shape[1]} input channels do not divide into {group} groups", BAD_MODEL)
    if not fitting(x.shape[1], w.shape[0]):
        raise refuse(
            node,
            f"input {x} has {x.shape[1]} channels and weight {w} reads {w.shape[0]}",
            "a ConvTranspose weight is [C, M / group, ...]: input channels stand first",
        )
    outputs = None if w.shape[1] is None else w.shape[1] * group
    check_bias(node, bias, outputs)
    window = window_of(node, len(x.shape) - 2, w.shape[2:])
    _check_output_padding(node, window)
    spatial: list[Dimension] = []
    for axis, size in enumerate(x.shape[2:]):
        sizes = [1 if other is None else other for other in x.shape[2:]]
        found = None if size is None else _transposed(node, window, sizes)[1][axis]
        if found is not None and found < 1:
            raise refuse(node, f"pads {list(window.pads)} leave nothing on spatial axis {axis}", BAD_MODEL)
        spatial.append(found)
    return [TensorType(x.dtype, (x.shape[0], outputs, *spatial))]


def _check_output_padding(node: Node, window: Window) -> None:
    for name in ("output_padding", "output_shape"):
        sizes = node.attributes.get(name)
        if sizes is not None and (len(sizes) < window.rank or min(sizes) < 0):
            raise refuse(node, f"{name} {list(sizes)} does not fit {window.rank} spatial axes", BAD_MODEL)


def _evaluate_conv_transpose(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, w, bias = given(inputs, 0), given(inputs, 1), given_or_none(inputs, 2)
    group, window = attribute(node, CONV_TRANSPOSE, "group"), window_of(node, x.ndim - 2, w.shape[2:])
    pads, sizes = _transposed(node, window, x.shape[2:])
    channels, outputs, rank = x.shape[1], w.shape[1] * group, window.rank
    full = [
        max((size - 1) * window.strides[a] + window.reach(a), sizes[a] + pads[a]) for a, size in enumerate(x.shape[2:])
    ]
    columns = wide(x).reshape(x.shape[0], group, channels // group, -1)
    total = np.zeros((x.shape[0], outputs, *full), columns.dtype)
    for tap in each_tap(window.kernel):
        matrix = _tap_of(wide(w), tap).reshape(group, channels // group, outputs // group)
        part = np.matmul(matrix.transpose(0, 2, 1), columns).reshape(x.shape[0], outputs, *x.shape[2:])
        at_tap(total, tap, x.shape[2:], window)[...] += part
    cuts = tuple(slice(pads[axis], pads[axis] + sizes[axis]) for axis in range(rank))
    result = total[(slice(None), slice(None), *cuts)]
    if bias is not None:
        result = result + along_channels(wide(bias), x.ndim)
    return [np.ascontiguousarray(result).astype(x.dtype, copy=False)]


def _conv_transpose_macs(node: Node) -> int:
    """Each input element goes once through its filter of the weight, [C, M / group, ...]."""
    return node.input(0).type.elements * math.prod(node.input(1).shape[1:])


CONV_TRANSPOSE = Op(
    "ConvTranspose",
    _infer_conv_transpose,
    _evaluate_conv_transpose,
    {**_WINDOW, "group": 1},
    macs=_conv_transpose_macs,
    carries_activation=True,
)


OPS = (CONV, CONV_TRANSPOSE)
