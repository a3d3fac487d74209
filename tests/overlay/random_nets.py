"""Random small regions of every op that the overlay takes, one for each seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from overlay_graphs import Net

from intarsia.ir.graph import Graph, Value

_CHANNELS = (1, 3, 8, 16, 20, 32, 48)
_IMAGE_OPS = (
    *("conv", "conv", "conv", "residual", "depthwise", "group", "max", "average", "global"),
    *("add", "mul", "broadcast", "lookup", "scale", "concat", "resize", "flatten"),
)
_ROW_OPS = ("matmul", "lookup", "scale", "twice")


def random_net(seed: int) -> Graph | None:
    """A region of one to five layers; None where the draw came out empty."""
    random = np.random.default_rng(seed)
    net = Net(f"random{seed}", seed)
    channels = int(random.choice(_CHANNELS))
    if random.random() < 0.1:
        values = [net.input(1, channels, int(random.integers(4, 200)))]
    else:
        values = [net.input(1, channels, *(int(size) for size in random.integers(3, 24, 2)))]
    for _ in range(int(random.integers(1, 6))):
        x = values[-1] if random.random() < 0.8 else values[int(random.integers(len(values)))]
        kind = str(random.choice(_ROW_OPS if len(x.shape) == 2 else _IMAGE_OPS))
        made = _row_layer(net, kind, x, random) if len(x.shape) == 2 else _image_layer(net, kind, x, values, random)
        if made is not None:
            values.append(made)
    if len(values) == 1:
        return None
    outputs = [values[-1]]
    if random.random() < 0.3:
        outputs.append(values[int(random.integers(1, len(values)))])
    graph = net.output(*dict.fromkeys(outputs))
    for node in reversed(list(graph.nodes)):
        if not node.output.users and not graph.is_output(node.output):
            graph.erase(node)
    return graph


def _row_layer(net: Net, kind: str, x: Value, random: np.random.Generator) -> Value:
    if kind == "matmul":
        return net.matmul(x, int(random.integers(1, 70)))
    return {"lookup": net.lookup, "scale": net.requantize, "twice": lambda value: net.add(value, value)}[kind](x)


def _image_layer(net: Net, kind: str, x: Value, values: list[Value], random: np.random.Generator) -> Value | None:
    sizes, channels = x.shape[2:], x.shape[1]
    few = min(int(random.integers(1, 4)), *sizes)
    stride, pad = int(random.integers(1, 3)), int(random.integers(0, 2))
    if kind == "conv":
        return _convolution(net, x, random)
    if kind == "residual":
        y = net.conv(x, channels, tuple(1 if size < 3 else 3 for size in sizes))
        return net.add(*((x, y) if random.random() < 0.5 else (y, x)))
    if kind == "depthwise":
        return net.conv(x, channels, tuple(min(3 + 2 * pad, size) for size in sizes), stride, pad, group=channels)
    if kind == "group":
        groups = [count for count in range(2, channels + 1) if channels % count == 0]
        if not groups:
            return None
        count = int(random.choice(groups))
        kernel = tuple(min(3, size) for size in sizes)
        return net.conv(x, count * int(random.integers(1, 5)), kernel, 1, 1, group=count)
    if kind == "max":
        return net.max_pool(x, few, stride, min(pad, few - 1))
    if kind == "average":
        return net.average_pool(x, few, stride, min(pad, few - 1))
    if kind == "broadcast":
        shape = (1, channels, *(1 for _ in sizes))
        constant = net.graph.add_constant(
            net.graph.fresh_name("constant"), random.integers(-128, 128, shape).astype(np.int8)
        )
        layer = net.add if random.random() < 0.5 else net.mul
        return layer(*((x, constant) if random.random() < 0.5 else (constant, x)))
    if kind in ("add", "mul"):
        others = [value for value in values if value.shape == x.shape]
        return (net.add if kind == "add" else net.mul)(x, others[int(random.integers(len(others)))])
    if kind == "concat":
        others = [value for value in values if value.shape[2:] == sizes and len(value.shape) == len(x.shape)]
        return net.concat(x, *(others[int(pick)] for pick in random.integers(0, len(others), random.integers(1, 4))))
    if kind == "resize":
        return net.resize(x) if len(sizes) == 2 and x.type.elements < 20_000 else None
    simple: dict[str, Callable[[Value], Value | None]] = {
        "global": net.average_pool,
        "lookup": net.lookup,
        "scale": net.requantize,
        "flatten": net.flatten,
    }
    return simple[kind](x)


def _convolution(net: Net, x: Value, random: np.random.Generator) -> Value:
    sizes = x.shape[2:]
    kernel = tuple(int(random.integers(1, min(6, size + 1))) for size in sizes)
    strides = tuple(int(random.integers(1, 4)) for _ in sizes)
    pads = tuple(int(pad) for pad in random.integers(0, 3, 2 * len(sizes)))
    wide = all(size >= 2 * (taps - 1) + 1 for size, taps in zip(sizes, kernel))
    dilation = int(random.integers(1, 3)) if wide else 1
    return net.conv(x, int(random.choice(_CHANNELS)), kernel, strides, pads, dilation)
