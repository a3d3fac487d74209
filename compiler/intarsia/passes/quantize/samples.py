"""Calibration data: arrays, files and folders, read one sample at a time.

What may be given:
  an array [N, ...]                   for a model with one input
  a mapping from name to array        [N, ...] each; keys that name no input (labels, say) are left alone
  an iterable of such mappings        one sample each; arrays of the input's shape, or without its first axis
  the path of a .npy file             like an array
  the path of a .npz file             like a mapping; for a model with one input its only array, or the one called
                                      'x', 'images', 'data' or 'input', may stand for it
  the path of a folder of images      for a model with one image input, with `ImageOptions`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.dtypes import FLOATING, Array, is_real, numpy_dtype
from intarsia.errors import CompileError
from intarsia.images import ImageOptions, how_pixels, image_files, read_image
from intarsia.ir.graph import Graph, Value
from intarsia.passes.calibration import Calibration
from intarsia.passes.quantize.arrays import Rows, rows_of_array, rows_of_npy, rows_of_npz

WHERE = "calibration data"

_USUAL_KEYS = ("x", "images", "data", "input")

Sample = dict[str, Array]


@dataclass(frozen=True)
class Samples:
    """Inputs for runs of a model; may be iterated again where the source may.

    start  makes an iterator; each sample holds an array of exactly the type of each input, by name
    total  how many there are, 0 where that is not known beforehand
    """

    start: Callable[[], Iterator[Sample]]
    total: int

    def __iter__(self) -> Iterator[Sample]:
        return self.start()


def read_samples(graph: Graph, source: Calibration, images: ImageOptions | None = None) -> Samples:
    """Samples for the inputs of a graph.

    graph   at any stage; where the first axis of an input is a compiled batch of B, each sample takes B rows, and the
            last sample is filled up with the first rows
    source  see the head of this module
    images  how pixels become numbers, for a folder of images

    Numbers are converted to the input's type: any number to a float input, whole numbers in range to an integer input.
    Memory does not grow with the number of samples: .npy and .npz files are read piece by piece.

    Raises CompileError where the data does not fit the inputs.
    """
    inputs = graph.inputs
    if isinstance(source, (str, Path)):
        return _read_path(Path(source), inputs, images)
    if isinstance(source, Mapping):
        return _grouped({name: rows_of_array(np.asarray(array)) for name, array in source.items()}, inputs, ())
    if hasattr(source, "__array__"):
        return _grouped({"": rows_of_array(np.asarray(source))}, inputs, ("",))
    if isinstance(source, Iterable):
        total = len(source) if isinstance(source, Sequence) else 0
        return Samples(lambda: _each(source, inputs), total)
    raise CompileError(
        where=WHERE,
        what=f"an object of type {type(source).__name__} holds no samples",
        help="give an array, a mapping from input name to array, an iterable of such mappings, or a path",
    )


def _read_path(path: Path, inputs: Sequence[Value], images: ImageOptions | None) -> Samples:
    if path.is_dir():
        return _folder(path, inputs, images)
    if not path.exists():
        raise CompileError(where=WHERE, what=f"'{path}' does not exist", help="check the path given for calibration")
    if path.suffix == ".npy":
        return _grouped({"": rows_of_npy(path)}, inputs, ("",))
    if path.suffix == ".npz":
        return _grouped(rows_of_npz(path), inputs, _USUAL_KEYS)
    raise CompileError(
        where=WHERE,
        what=f"'{path}' is neither a .npy nor a .npz file nor a folder of images",
        help="save the inputs with numpy.save or numpy.savez",
    )


def _grouped(given: Mapping[str, Rows], inputs: Sequence[Value], stand_ins: Sequence[str]) -> Samples:
    """Samples out of one stack of rows for each input.

    stand_ins  keys that may stand for the input of a model with one input
    """
    chosen = {value: _choose(given, value, inputs, stand_ins) for value in inputs}
    if not chosen:
        raise CompileError(where=WHERE, what="the model has no input", help="leave the calibration data out")
    rows_a_sample = {value: _rows_a_sample(value, rows) for value, rows in chosen.items()}
    counts = {value: math.ceil(rows.count / rows_a_sample[value]) for value, rows in chosen.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"'{value.name}' {rows.count}" for value, rows in chosen.items())
        raise CompileError(
            where=WHERE, what=f"inputs have different numbers of rows: {listed}", help="give equally many"
        )

    def start() -> Iterator[Sample]:
        streams = {value: _batches(value, rows, rows_a_sample[value]) for value, rows in chosen.items()}
        for _ in range(next(iter(counts.values()))):
            yield {value.name: next(stream) for value, stream in streams.items()}

    return Samples(start, next(iter(counts.values())))


def _choose(given: Mapping[str, Rows], value: Value, inputs: Sequence[Value], stand_ins: Sequence[str]) -> Rows:
    if value.name in given:
        return given[value.name]
    if len(inputs) == 1 and stand_ins:
        if len(given) == 1:
            return next(iter(given.values()))
        for key in stand_ins:
            if key in given:
                return given[key]
    if len(inputs) > 1 and list(given) == [""]:
        what = f"one array for a model with {len(inputs)} inputs"
    else:
        others = f", only {', '.join(map(repr, given))}" if given else ": there is no array at all"
        what = f"nothing is given for the input '{value.name}'{others}"
    names = ", ".join(f"'{other.name}' {other.type}" for other in inputs)
    raise CompileError(where=WHERE, what=what, help=f"give a mapping or .npz file with an array for each of: {names}")


def _rows_a_sample(value: Value, rows: Rows) -> int:
    """How many rows make one input: its first axis where rows lack that, else one."""
    shape = value.shape
    if len(shape) >= 1 and rows.shape == shape[1:]:
        return max(shape[0], 1)
    if rows.shape == shape:
        return 1
    raise _wrong_shape(value, (rows.count, *rows.shape))


def _wrong_shape(value: Value, shape: tuple[int, ...]) -> CompileError:
    wanted = ("N", *value.shape[1:])
    help = f"give an array of shape [{', '.join(map(str, wanted))}]"
    row, want = shape[1:], value.shape[1:]
    if len(row) == len(want) == 3 and (row[2], *row[:2]) == want:
        help = "the samples have channels last (NHWC), the model takes them first: x.transpose(0, 3, 1, 2)"
    elif len(row) == len(want) == 3 and (*row[1:], row[0]) == want:
        help = "the samples have channels first (NCHW), the model takes them last: x.transpose(0, 2, 3, 1)"
    elif len(row) == len(want) - 1 and want[0] == 1 and row == want[1:]:
        help = "the axis of the one channel is missing: x[:, None]"
    elif len(row) == len(want) - 1 and want[-1] == 1 and row == want[:-1]:
        help = "the axis of the one channel is missing: x[..., None]"
    elif math.prod(row) == math.prod(want):
        help = f"the numbers of one row fit another shape: x.reshape({', '.join(map(str, (-1, *want)))})"
    what = f"an array of shape {list(shape)} does not fit the input '{value.name}' {value.type}"
    return CompileError(where=WHERE, what=what, help=help)


def _batches(value: Value, rows: Rows, size: int) -> Iterator[Array]:
    if rows.shape == value.shape and size == 1 and rows.shape != value.shape[1:]:
        yield from (converted(value, row) for row in rows.start())
        return
    stream = rows.start()
    first: list[Array] = []
    while True:
        group = list(islice(stream, size))
        if not group:
            return
        if not first:
            first = group
        while len(group) < size:
            group += first[: size - len(group)]
        yield converted(value, np.stack(group))


def converted(value: Value, array: Array) -> Array:
    """An array in the input's element type; CompileError where numbers would be lost."""
    dtype = numpy_dtype(value.dtype)
    if array.dtype == dtype:
        return array
    if value.dtype in FLOATING and is_real(array.dtype):
        return array.astype(dtype)
    if dtype.kind in "iu" and array.dtype.kind in "iub":
        limits = np.iinfo(dtype)
        if not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max):
            return array.astype(dtype)
        raise CompileError(
            where=WHERE,
            what=f"numbers from {array.min()} to {array.max()} do not fit the input '{value.name}' {value.type}",
            help=f"give {value.dtype}, quantized as the model expects it",
        )
    raise CompileError(
        where=WHERE,
        what=f"{array.dtype} does not become {value.dtype}, which the input '{value.name}' takes",
        help=f"convert it: x.astype(numpy.{value.dtype})",
    )


def _each(source: Iterable[Any], inputs: Sequence[Value]) -> Iterator[Sample]:
    for number, item in enumerate(source):
        if not isinstance(item, Mapping):
            if len(inputs) != 1 or not hasattr(item, "__array__"):
                raise CompileError(
                    where=f"{WHERE}, sample {number}",
                    what=f"an object of type {type(item).__name__} is no mapping from input name to array",
                    help=f"give mappings with the keys {', '.join(repr(value.name) for value in inputs)}",
                )
            item = {inputs[0].name: item}
        sample = {}
        for value in inputs:
            if value.name not in item:
                raise CompileError(
                    where=f"{WHERE}, sample {number}",
                    what=f"it has no array for the input '{value.name}'",
                    help=f"give mappings with the keys {', '.join(repr(other.name) for other in inputs)}",
                )
            array = np.asarray(item[value.name])
            if array.shape == value.shape[1:] and value.shape[:1] == (1,):
                array = array[None]
            if array.shape != value.shape:
                raise _wrong_shape(value, array.shape)
            sample[value.name] = converted(value, array)
        yield sample


def _folder(path: Path, inputs: Sequence[Value], options: ImageOptions | None) -> Samples:
    if len(inputs) != 1 or inputs[0].type.rank != 4:
        shapes = ", ".join(f"'{value.name}' {value.type}" for value in inputs)
        raise CompileError(
            where=WHERE,
            what=f"a folder of images does not fit the inputs {shapes}",
            help="images serve models with one input of shape [N, C, H, W] or [N, H, W, C]; give a .npz file",
        )
    if options is None:
        raise CompileError(
            where=WHERE,
            what=f"nothing says how the pixels in '{path}' become the numbers that the model takes",
            help=how_pixels(),
        )
    files, value = image_files(path), inputs[0]
    if not files:
        raise CompileError(where=WHERE, what=f"there is no image in '{path}'", help="put .jpg or .png files there")
    read = partial(read_image, shape=value.shape[1:], options=options, dtype=value.dtype)
    rows = Rows(value.shape[1:], len(files), lambda: map(read, files))
    return _grouped({"": rows}, inputs, ("",))
