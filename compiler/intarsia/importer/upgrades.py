"""Old forms of ops, rewritten to that of opset 18, and defaults written out: later rooms know one form of each op.

An upgrade changes the draft in place; where it needs constants or nodes in front, the workshop makes them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intarsia.dtypes import numpy_dtype
from intarsia.importer.draft import Draft, Workshop
from intarsia.importer.windows import explicit_window
from intarsia.ir.graph import Value

FORM = 18
"""The opset whose forms the rewritten ops have; a later model keeps its own, which is the same form."""


def upgrade(shop: Workshop, draft: Draft) -> None:
    """Bring a draft to the form that the rest of the compiler knows."""
    if draft.domain == "":
        rewrite = _UPGRADES.get(draft.op)
        if rewrite is not None:
            rewrite(shop, draft)


def _done(draft: Draft) -> None:
    draft.opset = max(draft.opset, FORM)


def _to_input(shop: Workshop, draft: Draft, name: str, index: int, dtype: str = "int64") -> None:
    """Move an attribute to the input at `index`, as later opsets have it."""
    if name in draft.attributes:
        data = np.array(draft.attributes.pop(name), numpy_dtype(dtype))
        draft.set_input(index, shop.constant(f"{draft.name}_{name}", data))


def _clip(shop: Workshop, draft: Draft) -> None:
    if draft.opset < 11:
        x = draft.input(0)
        assert x is not None
        for index, name in ((1, "min"), (2, "max")):
            limit = draft.attributes.get(name)
            if limit is not None and abs(float(limit)) >= float(np.finfo(np.float32).max):
                del draft.attributes[name]  # the default of opset 6, which bounds nothing
            _to_input(shop, draft, name, index, x.dtype)
    _done(draft)


def _pad(shop: Workshop, draft: Draft) -> None:
    if draft.opset < 11:
        x = draft.input(0)
        assert x is not None
        _to_input(shop, draft, "pads", 1)
        _to_input(shop, draft, "value", 2, x.dtype)
    _done(draft)


def _slice(shop: Workshop, draft: Draft) -> None:
    if draft.opset < 10:
        for index, name in ((1, "starts"), (2, "ends"), (3, "axes")):
            _to_input(shop, draft, name, index)
    _done(draft)


def _axes_to_input(shop: Workshop, draft: Draft) -> None:
    """Axes always as an input, and always as a list: some exporters write one axis as a number."""
    _to_input(shop, draft, "axes", 1)
    axes = draft.input(1)
    if axes is not None and axes.type.shape == ():
        draft.inputs[1] = _of_shape(shop, draft, axes, f"{draft.name}_axes", (1,))
    _done(draft)


def _split(shop: Workshop, draft: Draft) -> None:
    """Sizes always as an input, also where the parts are to be equal."""
    _to_input(shop, draft, "split", 1)
    x, count = draft.input(0), len(draft.outputs)
    assert x is not None
    parts = draft.attributes.pop("num_outputs", count)
    if draft.input(1) is None and x.type.shape is not None:
        axis, rank = draft.attributes.get("axis", 0), len(x.type.shape)
        if not -rank <= axis < rank:
            raise draft.refuse(f"its axis {axis} is not one of the {rank} axes of {x.type}", "export the model again")
        size = x.type.shape[axis]
        if parts != count:
            raise draft.refuse(f"num_outputs is {parts}, but {count} outputs are named", "export the model again")
        if size is not None:
            if draft.opset < FORM and size % parts:
                raise draft.refuse(f"{size} does not divide into {parts} equal parts", "give the sizes of the parts")
            each = -(-size // parts)
            sizes = [each] * (parts - 1) + [size - each * (parts - 1)]
            draft.set_input(1, shop.constant(f"{draft.name}_split", np.array(sizes, np.int64)))
    if draft.input(1) is None:
        draft.attributes["num_outputs"] = parts
    _done(draft)


def _dropout(shop: Workshop, draft: Draft) -> None:
    """Without training mode it passes its input through; the flag goes, where it is known to be off."""
    if draft.opset < 12:
        _to_input(shop, draft, "ratio", 1, "float32")
    for index, title in ((1, "ratio"), (2, "training flag")):
        value = draft.input(index)
        if value is not None and value.type.is_static and value.type.elements != 1:
            raise draft.refuse(f"its {title} '{value.name}' is {value.type}, not one number", "export the model again")
    flag = shop.inference.elements(draft.input(2))
    if flag is not None and not flag.any():
        del draft.inputs[2:]
    _done(draft)


def _top_k(shop: Workshop, draft: Draft) -> None:
    if "k" in draft.attributes:
        draft.attributes["k"] = (draft.attributes["k"],)
        _to_input(shop, draft, "k", 1)
    _done(draft)


def _upsample(shop: Workshop, draft: Draft) -> None:
    """Upsample, and Resize before opset 11: asymmetric coordinates.

    The nearest pixel is the one before, along an axis that shrinks the one behind: so onnxruntime has it.
    """
    scales: Value | None
    if "scales" in draft.attributes:
        data = np.array(draft.attributes.pop("scales"), np.float32)
        scales = shop.constant(f"{draft.name}_scales", data)
    else:
        scales = draft.input(1)
    mode = draft.attributes.get("mode", "nearest")
    linear = mode in ("linear", "bilinear")
    attributes = {"mode": "linear" if linear else mode, "coordinate_transformation_mode": "asymmetric"}
    known = shop.inference.elements(scales)
    if mode == "nearest" and draft.op == "Resize":
        if known is None:
            raise draft.refuse(
                "its scales are computed at run time, and before opset 11 the nearest pixel depends on them",
                "export it for opset 11 or newer",
            )
        grown = np.maximum(known, 1).astype(np.float32)
        if (known < 1).any() and (grown > 1).any():
            first = shop.constant(f"{draft.name}_scales", grown)
            inputs = [draft.input(0), None, first]
            larger = Draft(
                "Resize", f"{draft.name}_larger", "", FORM, inputs, [], {**attributes, "nearest_mode": "floor"}
            )
            draft.inputs[0] = shop.emit(larger)
            scales = shop.constant(f"{draft.name}_scales", np.minimum(known, 1).astype(np.float32))
    if mode == "nearest":
        attributes["nearest_mode"] = "ceil" if known is not None and (known < 1).any() else "floor"
    draft.op, draft.attributes = "Resize", attributes
    draft.inputs = [draft.input(0), None, scales]
    _done(draft)


def _resize(shop: Workshop, draft: Draft) -> None:
    if draft.opset < 11:
        _upsample(shop, draft)
        return
    for index in (1, 2, 3):  # opset 11 wants empty tensors where later ones leave inputs out
        elements = shop.inference.elements(draft.input(index))
        if elements is not None and elements.size == 0:
            draft.inputs[index] = None
    while draft.inputs and draft.inputs[-1] is None:
        draft.inputs.pop()
    if draft.attributes.get("coordinate_transformation_mode") != "tf_half_pixel_for_nn":  # gone since opset 13
        _done(draft)


def _batch_normalization(shop: Workshop, draft: Draft) -> None:
    """Inference form: one output, epsilon alone."""
    training = bool(draft.attributes.get("training_mode", 0))
    if draft.opset < 14 and any(draft.outputs[1:]):
        raise draft.refuse(
            "it asks for the running mean and variance, as in training",
            "export the model for inference: model.eval() in PyTorch",
        )
    if not training:
        draft.outputs = draft.outputs[:1]
        draft.attributes = {name: value for name, value in draft.attributes.items() if name == "epsilon"}
    _done(draft)


def _softmax(shop: Workshop, draft: Draft) -> None:
    """Before opset 13 all axes from `axis` on were taken as one; the same as now only for the last axis."""
    x = draft.input(0)
    assert x is not None
    if draft.opset >= 13:
        return
    axis = draft.attributes.get("axis", 1)
    if x.type.shape is None:
        return
    rank = len(x.type.shape)
    if not -rank <= axis <= rank:
        raise draft.refuse(f"its axis {axis} is not one of the {rank} axes of {x.type}", "export the model again")
    axis = axis + rank if axis < 0 else axis
    if axis < rank - 1 and x.type.is_static and all(size == 1 for size in x.type.dims[axis + 1 :]):
        draft.attributes["axis"] = axis
    elif axis == rank - 1:
        draft.attributes["axis"] = -1
    elif x.type.is_static:
        _flattened_softmax(shop, draft, x, axis)
    else:
        return
    _done(draft)


def _flattened_softmax(shop: Workshop, draft: Draft, x: Value, axis: int) -> None:
    def reshape(name: str, value: Value, shape: tuple[int, ...]) -> list[Value | None]:
        return [value, shop.constant(f"{draft.name}_{name}_shape", np.array(shape, np.int64))]

    rows = int(np.prod(x.shape[:axis], dtype=np.int64))
    columns = int(np.prod(x.shape[axis:], dtype=np.int64))
    flat = Draft("Reshape", f"{draft.name}_flat", "", FORM, reshape("flat", x, (rows, columns)), [])
    middle = Draft(draft.op, f"{draft.name}_rows", "", FORM, [shop.emit(flat)], [], {"axis": -1})
    draft.op, draft.attributes = "Reshape", {}
    draft.inputs = reshape("back", shop.emit(middle), x.shape)


def _scatter(shop: Workshop, draft: Draft) -> None:
    draft.op = "ScatterElements"
    _done(draft)


def _range(shop: Workshop, draft: Draft) -> None:
    """ONNX wants scalars; exporters write [1] too, and every engine reads it."""
    for index, value in enumerate(draft.inputs):
        if value is not None and value.type.shape is not None and value.type.shape == (1,):
            squeeze = Draft("Squeeze", f"{draft.name}_scalar", "", max(draft.opset, FORM), [value], [])
            draft.inputs[index] = shop.emit(squeeze)


def _roi_align(shop: Workshop, draft: Draft) -> None:
    """Opset 16 added a half-pixel shift and made it the default; before, there was none."""
    if draft.opset < 16:
        draft.attributes["coordinate_transformation_mode"] = "output_half_pixel"
    _done(draft)


def _grid_sample(shop: Workshop, draft: Draft) -> None:
    """Opset 20 calls the modes linear and cubic also in two dimensions."""
    mode = draft.attributes.get("mode", "linear")
    draft.attributes["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    draft.opset = max(draft.opset, 20)


def _stft(shop: Workshop, draft: Draft) -> None:
    """One side is the default; onnx's own shape rule (of 1.23) takes a missing attribute for both sides."""
    draft.attributes.setdefault("onesided", 1)


def _quantization(shop: Workshop, draft: Draft) -> None:
    """One scale and one zero point, the one a scalar and the other [1]: the zero point takes the scale's shape."""
    scale, zero = draft.input(1), draft.input(2)
    if scale is None or zero is None or not scale.type.is_static or not zero.type.is_static:
        return
    if scale.shape != zero.shape and scale.type.elements == zero.type.elements == 1:
        draft.inputs[2] = _of_shape(shop, draft, zero, f"{draft.name}_zero_point", scale.shape)


def _of_shape(shop: Workshop, draft: Draft, value: Value, wish: str, shape: tuple[int, ...]) -> Value:
    """The same elements in another shape: a constant where they are known, else a Reshape in front of the node."""
    data = shop.inference.elements(value)
    if data is not None:
        return shop.constant(wish, data.reshape(shape))
    wanted = shop.constant(f"{wish}_shape", np.array(shape, np.int64))
    return shop.emit(Draft("Reshape", wish, "", FORM, [value, wanted], []))


def _group_normalization(shop: Workshop, draft: Draft) -> None:
    """Before opset 21, scale and bias have an entry for each group; now they have one for each channel."""
    x, groups = draft.input(0), draft.attributes.get("num_groups")
    if draft.opset >= 21 or x is None or x.type.shape is None or len(x.type.shape) < 2:
        return
    channels = x.type.shape[1]
    if channels is None or not isinstance(groups, int) or groups < 1 or channels % groups:
        return  # the shape rule says what is wrong
    for index, title in ((1, "scale"), (2, "bias")):
        value = draft.input(index)
        if value is None or value.type.shape is None or value.type.shape != (groups,):
            raise draft.refuse(
                f"its {title} is {'missing' if value is None else value.type}, not of {groups} entries: before opset "
                "21 each group has one",
                "export it for opset 21, where each channel has one, or give one for each group",
            )
        data = shop.inference.elements(value)
        wish = f"{draft.name}_{title}"
        if data is not None:
            draft.inputs[index] = shop.constant(wish, np.repeat(data, channels // groups))
            continue
        column = _of_shape(shop, draft, value, f"{wish}_column", (groups, 1))
        sizes = shop.constant(f"{wish}_sizes", np.array([groups, channels // groups], np.int64))
        each = shop.emit(Draft("Expand", f"{wish}_each", "", FORM, [column, sizes], []))
        draft.inputs[index] = _of_shape(shop, draft, each, wish, (channels,))
    draft.opset = 21


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_WINDOWS = (
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "QLinearConv",
    "DeformConv",
    "MaxPool",
    "AveragePool",
    "LpPool",
    "MaxUnpool",
)

Upgrade = Callable[[Workshop, Draft], None]

_UPGRADES: dict[str, Upgrade] = {
    "Clip": _clip,
    "Pad": _pad,
    "Slice": _slice,
    "Squeeze": _axes_to_input,
    "Unsqueeze": _axes_to_input,
    "Split": _split,
    "Dropout": _dropout,
    "TopK": _top_k,
    "Upsample": _upsample,
    "Resize": _resize,
    "BatchNormalization": _batch_normalization,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Hardmax": _softmax,
    "Scatter": _scatter,
    "Range": _range,
    "RoiAlign": _roi_align,
    "GridSample": _grid_sample,
    "STFT": _stft,
    "GroupNormalization": _group_normalization,
    "QuantizeLinear": _quantization,
    "DequantizeLinear": _quantization,
    **{f"Reduce{name}": _axes_to_input for name in _REDUCTIONS},
    **{name: explicit_window for name in _WINDOWS},
}
