"""Convolutions and pools with everything written out: kernel_shape, strides, pads, dilations, group; never auto_pad."""

from __future__ import annotations

from intarsia.importer.draft import Draft, Workshop
from intarsia.ir.graph import Value

_WEIGHT = {"Conv": 1, "ConvInteger": 1, "ConvTranspose": 1, "DeformConv": 1, "QLinearConv": 3}
"""Where convolutions have their weight, whose shape is the kernel's."""

_AGAIN = "export the model again"


def explicit_window(shop: Workshop, draft: Draft) -> None:
    """Write out the defaults of a window op, and turn auto_pad and output_shape into pads."""
    x = draft.input(0)
    assert x is not None
    kernel = _kernel(draft, x)
    if kernel is None:
        return
    spatial, has_dilations = len(kernel), draft.op != "MaxUnpool" and not _old_pool(draft)
    given = draft.attributes
    ones = (1,) * spatial
    given["kernel_shape"] = kernel
    given["strides"] = _sizes(draft, "strides", ones, 1)
    dilations = _sizes(draft, "dilations", ones, 1) if has_dilations else ones
    if has_dilations:
        given["dilations"] = dilations
    if draft.op in _WEIGHT:
        given.setdefault("group", 1)
        if given["group"] < 1:
            raise draft.refuse(f"its group is {given['group']}", "a group count is 1 or more; " + _AGAIN)
    reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel)]
    if draft.op == "ConvTranspose":
        _transpose_pads(draft, x, reach)
    else:
        _pads(draft, x, reach)


def _old_pool(draft: Draft) -> bool:
    """Pools before the opset that gave them dilations; that form is brought to the later one where it exists."""
    first = {"AveragePool": 19, "LpPool": 18, "MaxPool": 10}.get(draft.op, 0)
    if draft.op in ("MaxPool", "LpPool", "AveragePool") and draft.opset < first:
        draft.opset = first  # earlier forms are this one with dilations of 1
    return False


def _kernel(draft: Draft, x: Value) -> tuple[int, ...] | None:
    """The spatial size of the window; None where nothing says it."""
    given = draft.attributes.get("kernel_shape")
    weight = draft.input(_WEIGHT[draft.op]) if draft.op in _WEIGHT else None
    if weight is not None and weight.type.shape is not None:
        sizes = weight.type.shape[2:]
        if len(weight.type.shape) < 3:
            raise draft.refuse(f"its weight '{weight.name}' is {weight.type}", "a weight has 3 axes or more; " + _AGAIN)
        if given is not None and (
            len(given) != len(sizes) or any(b is not None and a != b for a, b in zip(given, sizes))
        ):
            raise draft.refuse(
                f"its kernel_shape {list(given)} is not that of its weight '{weight.name}', {weight.type}", _AGAIN
            )
        if None not in sizes:
            given = tuple(size for size in sizes if size is not None)
    if given is None:
        return None
    if any(size < 1 for size in given):
        raise draft.refuse(f"its kernel_shape {list(given)} holds a size below 1", _AGAIN)
    if x.type.shape is not None and len(x.type.shape) != len(given) + 2:
        raise draft.refuse(
            f"its input '{x.name}' is {x.type}, which does not go with a window of {len(given)} axes",
            "the input has a batch axis, a channel axis, and one axis for each axis of the window",
        )
    return tuple(given)


def _sizes(draft: Draft, name: str, default: tuple[int, ...], least: int) -> tuple[int, ...]:
    found: tuple[int, ...] = draft.attributes.get(name) or default
    if len(found) != len(default):
        raise draft.refuse(f"its {name} {list(found)} do not have {len(default)} entries", _AGAIN)
    if any(size < least for size in found):
        raise draft.refuse(f"its {name} {list(found)} hold a value below {least}", _AGAIN)
    return found


def _auto_pad(draft: Draft) -> str:
    mode: str = draft.attributes.get("auto_pad", "NOTSET") or "NOTSET"
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise draft.refuse(f"its auto_pad is {mode!r}", "it is one of NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    if mode != "NOTSET" and any(draft.attributes.get("pads", ())):
        raise draft.refuse(f"it has auto_pad {mode} and pads {list(draft.attributes['pads'])}", "remove one of them")
    return mode


def _explicit_pads(draft: Draft, spatial: int) -> None:
    """Negative pads crop, which convolutions of ONNX may not do."""
    draft.attributes["pads"] = _sizes(draft, "pads", (0,) * (2 * spatial), 0)
    draft.attributes.pop("auto_pad", None)


def _pads(draft: Draft, x: Value, reach: list[int]) -> None:
    mode, given = _auto_pad(draft), draft.attributes
    if mode == "NOTSET":
        _explicit_pads(draft, len(reach))
        return
    befores, afters = [], []
    for index, (size, stride) in enumerate(zip(reach, given["strides"])):
        total = 0
        if mode != "VALID":
            length = x.type.shape[2 + index] if x.type.shape is not None else None
            if length is None and stride != 1:
                return  # the padding depends on a size that only the run brings; auto_pad stays
            total = size - 1 if length is None else max((-(-length // stride) - 1) * stride + size - length, 0)
        small = total // 2
        befores.append(total - small if mode == "SAME_LOWER" else small)
        afters.append(small if mode == "SAME_LOWER" else total - small)
    given["pads"] = (*befores, *afters)
    del given["auto_pad"]
    if "ceil_mode" in given:
        given["ceil_mode"] = 0  # auto_pad says the output size by itself


def _transpose_pads(draft: Draft, x: Value, reach: list[int]) -> None:
    """ConvTranspose: pads that give the wanted output size."""
    mode, given, spatial = _auto_pad(draft), draft.attributes, len(reach)
    extra = given["output_padding"] = _sizes(draft, "output_padding", (0,) * spatial, 0)
    wanted = given.get("output_shape")
    if wanted is None and mode in ("NOTSET", "VALID"):
        given.pop("pads" if mode == "VALID" else "auto_pad", None)
        _explicit_pads(draft, spatial)
        return
    if x.type.shape is None or None in x.type.shape[2:]:
        return
    lengths = [size for size in x.type.shape[2:] if size is not None]
    if wanted is None:
        wanted = tuple(length * stride for length, stride in zip(lengths, given["strides"]))
    if len(wanted) not in (spatial, spatial + 2) or any(size < 0 for size in wanted):
        raise draft.refuse(f"its output_shape {list(wanted)} is no size for {spatial} axes", _AGAIN)
    wanted = tuple(wanted[-spatial:])
    befores, afters = [], []
    for index, (size, stride) in enumerate(zip(reach, given["strides"])):
        full = stride * (lengths[index] - 1) + extra[index] + size
        total = full - wanted[index]
        if total < 0:
            given["output_padding"] = tuple(
                value - min(total, 0) if axis == index else value for axis, value in enumerate(given["output_padding"])
            )
            total = 0
        small = total // 2
        befores.append(small if mode == "SAME_UPPER" else total - small)
        afters.append(total - small if mode == "SAME_UPPER" else small)
    given["pads"] = (*befores, *afters)
    given.pop("auto_pad", None)
    given.pop("output_shape", None)
