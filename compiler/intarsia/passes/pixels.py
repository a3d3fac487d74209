"""A model that takes numbers becomes one that takes the bytes of pictures, or of whole frames of a camera.

No pass: passes keep what a graph means, and this gives it another input. It runs once, behind the import.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from intarsia.dtypes import ELEMENT_NUMBERS, FLOATING, Array
from intarsia.errors import CompileError, either
from intarsia.images import ImageOptions, check_options
from intarsia.images.fitting import fitting
from intarsia.images.options import CHANNELS, check_fits, colour_of, layout_of
from intarsia.images.presets import Preprocess
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType

_OPSET = 18
_WHERE = ("--preprocess", "preprocess")


def take_pixels(graph: Graph, preprocess: Preprocess) -> Preprocess:
    """Put what makes numbers of pixels before the model, in place; its input becomes uint8 [N, H, W, C].

    returns  what was asked for, with the input's name and what was left to be chosen from its shape

    Raises CompileError where no input takes pictures, or several do and none is named, or the options do not fit it.
    """
    options = preprocess.images
    check_options(options)
    old = _chosen(graph, preprocess.input)
    shape = old.shape
    layout = layout_of(options, shape[1:])
    channels, height, width = shape[1:] if layout == "NCHW" else (shape[3], shape[1], shape[2])
    colour = colour_of(options, channels)
    check_fits(options, colour, channels, "float32" if old.dtype in FLOATING else old.dtype)
    frame = preprocess.frame or (height, width)
    place, name = graph.inputs.index(old), old.name
    x = graph.add_input(graph.fresh_name(f"{name}_pixels"), TensorType("uint8", (shape[0], *frame, channels)))
    x.name, old.name = old.name, x.name
    graph.inputs.insert(place, graph.inputs.pop())
    made = x if preprocess.frame is None else _fitted(graph, x, (height, width), options)
    made = _numbers(graph, made, options, channels, old.dtype)
    if layout == "NCHW":
        type = TensorType(made.dtype, shape)
        made = graph.add_node("Transpose", [made], [type], {"perm": (0, 3, 1, 2)}, opset=_OPSET).output
    graph.replace_uses(old, made)
    graph.inputs.remove(old)
    graph.sort()
    return replace(preprocess, input=name, images=replace(options, colour=colour))


def _chosen(graph: Graph, name: str) -> Value:
    """The input that takes pictures."""
    where = either(*_WHERE)
    listed = ", ".join(f"'{value.name}' {value.type}" for value in graph.inputs) or "none"
    found = [value for value in graph.inputs if _takes_pictures(value)]
    if name:
        found = [value for value in found if value.name == name]
        if not found:
            what = f"'{name}' is no input that takes pictures; inputs: {listed}"
            raise CompileError(where=where, what=what, help="name one of shape [N, C, H, W] or [N, H, W, C]")
    if not found:
        what = f"no input takes pictures: {listed}"
        help = "it is for inputs of shape [N, C, H, W] or [N, H, W, C] with 1 or 3 channels; give sizes with --shape"
        raise CompileError(where=where, what=what, help=help)
    if len(found) > 1:
        help = 'say which one: a .json file, or preprocess={"like": "imagenet", "input": "name"}'
        raise CompileError(where=where, what=f"several inputs take pictures: {listed}", help=help)
    return found[0]


def _takes_pictures(value: Value) -> bool:
    shape = value.type.shape
    if shape is None or len(shape) != 4 or not all(shape) or value.dtype not in ("float32", "float16", "uint8"):
        return False
    return shape[1] in CHANNELS.values() or shape[3] in CHANNELS.values()


def _fitted(graph: Graph, x: Value, canvas: tuple[int, int], options: ImageOptions) -> Value:
    """Whole frames to the size that the model takes."""
    how = fitting((x.shape[1], x.shape[2]), canvas, options)
    sampling = how.resampling
    attributes = {
        "size": sampling.size,
        "filter": sampling.filter,
        "box": tuple(float(edge) for edge in sampling.box),
        "window": sampling.window,
    }
    batch, channels = x.shape[0], x.shape[3]
    type = TensorType("uint8", (batch, *sampling.window[2:], channels))
    made = graph.add_node("resample", [x], [type], attributes).output
    if how.is_whole:
        return made
    top, left = how.place
    bottom, right = (whole - at - size for whole, at, size in zip(canvas, how.place, made.shape[1:3]))
    pads = _constant(graph, "pads", np.array([0, top, left, 0, 0, bottom, right, 0], np.int64))
    fill = _constant(graph, "fill", np.array(how.fill, np.uint8))
    whole = TensorType("uint8", (batch, *canvas, channels))
    return graph.add_node("Pad", [made, pads, fill], [whole], {"mode": "constant"}, opset=_OPSET).output


def _numbers(graph: Graph, x: Value, options: ImageOptions, channels: int, dtype: str) -> Value:
    if dtype == "uint8":
        return x
    tables = [
        _constant(graph, name, np.broadcast_to(np.asarray(numbers, np.float32), (channels,)).copy())
        for name, numbers in (("mean", options.mean), ("scale", options.scale))
    ]
    made = graph.add_node("pixels", [x, *tables], [TensorType("float32", x.shape)]).output
    if dtype == "float32":
        return made
    to = {"to": ELEMENT_NUMBERS[dtype]}
    return graph.add_node("Cast", [made], [TensorType(dtype, x.shape)], to, opset=_OPSET).output


def _constant(graph: Graph, name: str, data: Array) -> Value:
    return graph.add_constant(graph.fresh_name(f"picture_{name}"), data)
