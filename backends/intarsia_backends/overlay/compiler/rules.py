"""What the overlay takes: one rule after the other, each with the value found, the limit and a way out."""

from __future__ import annotations

from collections.abc import Callable

from intarsia.ir.facts import is_border
from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support, no
from intarsia_backends.overlay.compiler.convolve import KERNEL_MAX
from intarsia_backends.overlay.compiler.lowering import conv_window, pool_window
from intarsia_backends.overlay.compiler.shapes import canonical, is_flat, planes_of, reshaped
from intarsia_backends.overlay.compiler.tensors import Window
from intarsia_backends.overlay.machine.config import LANES, OverlayConfig
from intarsia_backends.overlay.machine.isa import ConvSource, ConvWindow, LoadShape, VecWindow

STRIDE_MAX = ConvWindow.most("stride_y")
DILATION_MAX = ConvWindow.most("dilation_y")
REACH_MAX = ConvSource.most("pad_top")
SIZE_MAX = ConvWindow.most("rows")
POOL_MAX = VecWindow.most("kernel_height")
POOL_STRIDE_MAX = VecWindow.most("stride_y")
PLANE_MAX = LoadShape.most("dram_block_pitch")  # words from a channel block to the next in DRAM
CHANNELS_MAX = LoadShape.most("blocks") * LANES

Rule = Callable[[Node, OverlayConfig], Support]

_BORDER = {
    "quantize": (
        "the model takes float32, and the CPU makes integers of it",
        "nothing: it is the way onto the overlay",
    ),
    "dequantize": (
        "the model gives float32, and the CPU makes it of integers",
        "nothing: it is the way off the overlay",
    ),
}


def check(node: Node, config: OverlayConfig) -> Support:
    """Whether the overlay runs a node of the partitioned stage."""
    rule = RULES.get(node.op) if node.domain == "" else None
    if rule is None:
        if any(value is not None and value.dtype == "float32" for value in (*node.inputs, *node.outputs)):
            if is_border(node):
                return no("border", *_BORDER[node.op])
            return no(
                "integer-only",
                f"{node.op} works on float32",
                "what stays float runs on the CPU; the notes say why it does",
            )
        return no("op", f"{node.op} has no form on the overlay", f"ops it has: {', '.join(sorted(RULES))}")
    for value in (*node.inputs, *node.outputs):
        answer = YES if value is None or _is_weight(node, value) else _check_value(value)
        if not answer.ok:
            return answer
    return rule(node, config)


def _is_weight(node: Node, value: Value) -> bool:
    return value.is_constant and node.op not in ("qadd", "qmul")


def _check_value(value: Value) -> Support:
    if value.dtype not in ("int8", "uint8"):
        return no(
            "integer-only",
            f"'{value.name}' is {value.dtype}",
            "what stays float runs on the CPU; the notes say why it does",
        )
    if not value.type.is_static:
        return no("static-shape", f"'{value.name}' is {value.type}", "give the sizes with --shape")
    if value.is_constant:
        return YES
    planes = planes_of(value)
    if planes is None:
        shape = value.shape
        if len(shape) in (3, 4) and shape[0] != 1:
            return no("batch", f"'{value.name}' holds {shape[0]} images, at most 1", "compile with batch 1")
        return no(
            "shape",
            f"'{value.name}' is {value.type}: neither [rows,C], [1,C,W] nor [1,C,H,W]",
            "reshape to 2 to 4 axes with the batch first",
        )
    if max(planes.height, planes.width) > SIZE_MAX:
        return no(
            "size",
            f"'{value.name}' is {planes.height}x{planes.width}, at most {SIZE_MAX}x{SIZE_MAX}",
            "cut the input into pieces",
        )
    if planes.pixels > PLANE_MAX:
        return no("size", f"'{value.name}' has {planes.pixels} pixels, at most {PLANE_MAX}", "use a smaller input")
    if planes.channels > CHANNELS_MAX:
        return no(
            "channels", f"'{value.name}' has {planes.channels} channels, at most {CHANNELS_MAX}", "split the channels"
        )
    return YES


def _check_window(window: Window, what: str) -> Support:
    for name, values, limit in (
        ("stride", window.strides, STRIDE_MAX),
        ("dilation", window.dilations, DILATION_MAX),
    ):
        if max(values) > limit:
            found = "x".join(str(value) for value in values)
            return no(name, f"{what} {name.split('-')[0]} {found}, at most {limit}x{limit}", f"use a smaller {name}")
    return YES


def _qconv(node: Node, config: OverlayConfig) -> Support:
    if len(node.input(1).shape) not in (3, 4):
        return no(
            "axes",
            f"a convolution over {len(node.input(1).shape) - 2} axes, at most 2",
            "use a convolution over 1 or 2",
        )
    flat = _flat_refusal(node)
    if not flat.ok:
        return flat
    window = conv_window(node)
    answer = _check_window(window, "convolution")
    if not answer.ok:
        return answer
    depthwise = node.attributes.get("group", 1) > 1 and node.input(1).shape[1] == 1
    taps_max = min(config.weight_rows, _window_words(config))
    if depthwise and (max(window.kernel) > KERNEL_MAX or window.taps > taps_max):
        kernel = "x".join(str(size) for size in window.kernel)
        limit = f"at most {KERNEL_MAX}x{KERNEL_MAX} and {taps_max} taps"
        return no("kernel-size", f"depthwise kernel of {kernel}, {limit}", "use a smaller kernel")
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(window.kernel, window.dilations)]
    if max(*window.pads, *reach) > REACH_MAX:
        return no(
            "reach", f"kernel and dilation reach {max(reach)} pixels, at most {REACH_MAX}", "use a smaller dilation"
        )
    return YES


def _window_words(config: OverlayConfig) -> int:
    """Pixels of a window that a tile can always hold, whatever else stands on chip."""
    return config.bank_words * max(config.activation_banks // 8, 1)


def _flat_refusal(node: Node) -> Support:
    """Refuse a row [1, K] that stands as planes, for all ops but those that can read it there."""
    for value in node.inputs:
        if value is not None and not value.is_constant and is_flat(value):
            return no(
                "flattened",
                f"'{value.name}' is a flattened image, which only a matrix product reads in place",
                "flatten after this op",
            )
    return YES


def _qmatmul(node: Node, config: OverlayConfig) -> Support:
    x = node.input(0)
    if len(x.shape) != 2:
        return no("axes", f"'{x.name}' is {x.type}, not [rows,K]", "reshape to two axes before the product")
    planes = planes_of(x)
    assert planes is not None
    if max(planes.height, planes.width) > REACH_MAX and is_flat(x):
        return no(
            "reach",
            f"the product reads {planes.height}x{planes.width} pixels, at most {REACH_MAX}x{REACH_MAX}",
            "pool before the product",
        )
    return YES


def _binary(node: Node, config: OverlayConfig) -> Support:
    first, second = node.input(0), node.input(1)
    out = planes_of(node.output)
    if first.is_constant and second.is_constant:
        return no("constant", "both operands are constants", "run the passes that fold constants")
    full = [value for value in (first, second) if value.shape == node.output.shape and not value.is_constant]
    if not full or out is None:
        return no(
            "broadcast",
            f"{first.type} and {second.type}: neither is a computed value of the output's shape",
            "expand one operand in the model",
        )
    other = second if full[0] is first else first
    if other.shape == node.output.shape:
        planes = canonical(other.shape) if other.is_constant else planes_of(other)
        if planes is None or planes_of(full[0]) != planes:
            return no(
                "layout",
                f"'{first.name}' and '{second.name}' stand in memory in different orders",
                "flatten both, or neither, before this op",
            )
        return YES
    shape = (1,) * (len(node.output.shape) - len(other.shape)) + other.shape
    wanted = (1, node.output.shape[1], *(1 for _ in node.output.shape[2:]))
    if len(shape) < 3 or shape != wanted or is_flat(full[0]):
        return no(
            "broadcast",
            f"operand of shape {list(other.shape)} beside {list(node.output.shape)}; one value a channel is possible",
            "expand the operand in the model",
        )
    return YES


def _maxpool(node: Node, config: OverlayConfig) -> Support:
    attributes = node.attributes
    if node.output.dtype != "int8":
        return no("signed", f"it compares {node.output.dtype}, and the vector engine int8", "give its input a scale")
    if len(node.outputs) > 1 and node.outputs[1] is not None:
        return no("outputs", "the second output (indices) is asked for", "leave out the indices")
    if any(size != 1 for size in attributes.get("dilations") or ()):
        return no("dilation", f"pool dilations {list(attributes['dilations'])}, at most 1", "use dilations of 1")
    if "activation" in attributes:
        return no("activation", f"an activation {attributes['activation']} is fused", "quantize before fusing")
    answer = _pool(node)
    if not answer.ok:
        return answer
    window = pool_window(node)
    limit = _window_words(config)
    if window.taps > limit:
        return no("kernel-size", f"max pool window of {window.taps} pixels, at most {limit}", "pool in two steps")
    return YES


def _average(node: Node, config: OverlayConfig) -> Support:
    return _pool(node)


def _pool(node: Node) -> Support:
    if len(node.attributes["kernel_shape"]) not in (1, 2):
        return no("axes", f"a window over {len(node.attributes['kernel_shape'])} axes, at most 2", "use 1 or 2 axes")
    flat = _flat_refusal(node)
    if not flat.ok:
        return flat
    window = pool_window(node)
    for name, values, limit in (
        ("kernel-size", window.kernel, POOL_MAX),
        ("stride", window.strides, POOL_STRIDE_MAX),
    ):
        if max(values) > limit:
            return no(name, f"pool {name.split('-')[0]} {max(values)}, at most {limit}", "pool in two steps")
    if max(window.pads) > REACH_MAX:
        return no("pads", f"pool pads of {max(window.pads)}, at most {REACH_MAX}", "use smaller pads")
    return YES


def _always(node: Node, config: OverlayConfig) -> Support:
    return YES


def _concat(node: Node, config: OverlayConfig) -> Support:
    rank = len(node.output.shape)
    axis = node.attributes["axis"] % rank
    if axis != 1 or canonical(node.output.shape) is None or (rank == 2 and node.output.shape[0] != 1):
        return no("axis", f"concatenation along axis {axis} of {node.output.type}, not channels", "put channels second")
    if any(value is not None and value.is_constant for value in node.inputs):
        return no("constant", "an input is a constant", "add the constant channels to the next layer's bias")
    return _flat_refusal(node)


def _reshape(node: Node, config: OverlayConfig) -> Support:
    x = node.input(0)
    planes = planes_of(x)
    if planes is None or x.is_constant or reshaped(planes, node.output.shape) is None:
        return no(
            "layout",
            f"{x.type} to {node.output.type} moves bytes: channels would no longer be channels",
            "reshape outside of the convolutional part",
        )
    return YES


def _resize(node: Node, config: OverlayConfig) -> Support:
    x, out, attributes = node.input(0), node.output, node.attributes
    flat = _flat_refusal(node)
    if not flat.ok:
        return flat
    if len(x.shape) != 4 or out.shape != (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]):
        return no("scale", f"resize of {x.type} to {out.type}, not to twice height and width", "resize by 2 and 2")
    mode = attributes.get("mode", "nearest")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode != "nearest":
        return no("mode", f"resize mode {mode}, not nearest", "use nearest")
    kind, rounding = (
        value.decode() if isinstance(value, bytes) else value
        for value in (
            attributes.get("coordinate_transformation_mode", "half_pixel"),
            attributes.get("nearest_mode", "round_prefer_floor"),
        )
    )
    repeats = {
        "asymmetric": ("floor", "round_prefer_floor"),
        "half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
        "pytorch_half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
        "half_pixel_symmetric": ("round_prefer_floor", "round_prefer_ceil"),
    }
    if rounding not in repeats.get(kind, ()):
        return no("mode", f"nearest with {kind} and {rounding} is no repetition of pixels", "use asymmetric and floor")
    return YES


RULES: dict[str, Rule] = {
    "qconv": _qconv,
    "qmatmul": _qmatmul,
    "qadd": _binary,
    "qmul": _binary,
    "qaveragepool": _average,
    "MaxPool": _maxpool,
    "requantize": _always,
    "lookup": _always,
    "Concat": _concat,
    "Resize": _resize,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Identity": _reshape,
}
