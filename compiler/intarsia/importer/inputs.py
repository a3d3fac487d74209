"""Sizes for the symbolic dimensions of a model's inputs, and elements for inputs that are to be constants."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import ArrayLike

from intarsia.arguments import near
from intarsia.dtypes import Array, numpy_dtype
from intarsia.errors import CompileError, either
from intarsia.importer.names import listed
from intarsia.importer.types import tensor_type
from intarsia.ir.types import TensorType, agree


class InputShapes:
    """Binds symbolic sizes: a first axis to the batch, others as the caller says.

    batch       for symbolic first axes
    shapes      whole shapes by input name
    dimensions  sizes by symbolic name
    values      elements by input name
    rebatched   True once sizes of 1 that the model writes at the front of its inputs were made those of the batch
    rows        the size that open first axes have got, by the batch, a name or a shape
    overrules   True once a given shape contradicts a declared one, so that sizes declared further on are stale
    """

    def __init__(
        self,
        batch: int,
        shapes: Mapping[str, Sequence[int]],
        dimensions: Mapping[str, int],
        values: Mapping[str, ArrayLike],
    ) -> None:
        self.batch = batch
        self.values = values
        self.shapes = shapes
        self.dimensions = dict(dimensions)
        self.overrules = False
        self.rebatched = False
        self.rows = batch
        self._bound = False

    def constants(self, inputs: Sequence[onnx.ValueInfoProto]) -> dict[str, Array]:
        """The inputs that are given elements, as arrays of the declared types."""
        declared = {value.name: tensor_type(value.type, f"input '{value.name}'") for value in inputs}
        found = {}
        for name, given in self.values.items():
            where = f"values['{name}']"
            _check_name(name, declared, where)
            type = declared[name]
            try:
                if type is None or type.dtype.endswith(")"):
                    raise ValueError("the input is not a tensor")
                raw = np.asarray(given)
                data = raw.astype(numpy_dtype(type.dtype))
                if raw.dtype.kind in "iufb" and not np.array_equal(raw, data):
                    raise ValueError(f"the elements do not fit {type.dtype}")
            except (ValueError, TypeError, OverflowError) as error:
                raise CompileError(
                    where=where, what=f"it cannot be made {type}: {error}", help="give what the input takes"
                ) from None
            if not agree(TensorType(type.dtype, data.shape), type):
                raise CompileError(
                    where=where, what=f"its shape {list(data.shape)} is not that of {type}", help="give the whole input"
                )
            found[name] = data
        return found

    def types(self, inputs: Sequence[onnx.ValueInfoProto]) -> list[TensorType]:
        """A static type for each tensor among the inputs."""
        self._check_arguments(inputs)
        for value in inputs:
            self._bind_first_axis(value)
        types = [self._type(value) for value in inputs]
        rows = {type.shape[0] for value, type in zip(inputs, types) if type.shape and _is_open_first(value)}
        self.rows = next(iter(rows)) or 1 if len(rows) == 1 else self.batch
        if self.batch == 1 or self._bound or self.shapes:
            return types
        other = next((index for index, type in enumerate(types) if not type.shape or type.shape[0] != 1), None)
        if other is not None or not types:
            found = f"; input '{inputs[other].name}' is {types[other]}" if other is not None else ""
            raise CompileError(
                where="the model's inputs",
                what=f"a batch of {self.batch} was asked for, but no input leaves its first size open, and not all of "
                f"them are written for one row{found}",
                help=f"export the model with a dynamic first axis, or compile it with {either('--batch 1', 'batch=1')}",
            )
        self.rebatched = self.overrules = True
        return [TensorType(type.dtype, (self.batch, *(type.shape or ())[1:])) for type in types]

    def of_one_row(self, inputs: Sequence[onnx.ValueInfoProto]) -> InputShapes:
        """The same, with a size of 1 for first axes that are open."""
        first = {value.name: _sizes(value)[0].dim_param for value in inputs if _is_open_first(value)}
        shapes = {name: (1, *shape[1:]) if name in first else shape for name, shape in self.shapes.items()}
        dimensions = {name: size for name, size in self.dimensions.items() if name not in first.values()}
        return InputShapes(1, shapes, dimensions, self.values)

    def _check_arguments(self, inputs: Sequence[onnx.ValueInfoProto]) -> None:
        if self.batch < 1:
            raise CompileError(where="batch", what=f"{self.batch} is not positive", help="pass batch=1 or more")
        for name in self.shapes:
            _check_name(name, [value.name for value in inputs], _shape_of(name))
        symbols = sorted({size.dim_param for value in inputs for size in _sizes(value) if size.dim_param})
        for name, size in self.dimensions.items():
            if name not in symbols:
                raise CompileError(
                    where=_dimension_of(name),
                    what="no input has a dimension of that name",
                    help=f"the symbolic dimensions are {listed(symbols) or 'none'}{near(name, symbols)}",
                )
            if size < 0:
                raise CompileError(where=_dimension_of(name), what=f"{size} is negative", help="pass a size")

    def _bind_first_axis(self, value: onnx.ValueInfoProto) -> None:
        sizes = _sizes(value)
        if _is_open_first(value) and value.name not in self.shapes:
            self._bound = True
            if sizes[0].dim_param:
                self.dimensions.setdefault(sizes[0].dim_param, self.batch)

    def _type(self, value: onnx.ValueInfoProto) -> TensorType:
        where = f"input '{value.name}'"
        declared = tensor_type(value.type, where)
        if declared is None:
            raise CompileError(where=where, what="it declares no type", help="export the model again with typed inputs")
        if declared.dtype.endswith(")"):
            return declared
        if value.name in self.shapes:
            return self._given(value.name, declared)
        if declared.shape is None:
            raise CompileError(
                where=where,
                what="it declares no shape",
                help=f"say it: {either(f'--shape {value.name}=1,...', _said(value.name, '1, ...'))}",
            )
        shape = tuple(self._size(value.name, axis, size) for axis, size in enumerate(_sizes(value)))
        return TensorType(declared.dtype, shape)

    def _given(self, name: str, declared: TensorType) -> TensorType:
        shape = tuple(int(size) for size in self.shapes[name])
        if any(size < 0 for size in shape) or (declared.shape is not None and len(shape) != len(declared.shape)):
            raise CompileError(
                where=_shape_of(name),
                what=f"{list(shape)} does not fit the declared {declared}",
                help="give every size, outermost first",
            )
        if declared.shape is not None and any(b is not None and a != b for a, b in zip(shape, declared.shape)):
            self.overrules = True
        return TensorType(declared.dtype, shape)

    def _size(self, name: str, axis: int, size: onnx.TensorShapeProto.Dimension) -> int:
        if not _is_open(size):
            return int(size.dim_value)
        symbol = size.dim_param
        if symbol in self.dimensions:
            return self.dimensions[symbol]
        if axis == 0:
            return self.batch
        called = f"the symbol '{symbol}'" if symbol else "open"
        say = f"{either(f'--dimension {symbol}=64', _dimension(symbol))} or " if symbol else ""
        raise CompileError(
            where=f"input '{name}'",
            what=f"the size of axis {axis} is {called}; shapes are fixed when a model is compiled",
            help=f"say it, for example {say}{either(f'--shape {name}=...', _said(name, '...'))}",
        )


def _shape_of(name: str) -> str:
    return either(f"--shape {name}", f"shapes['{name}']")


def _dimension_of(name: str) -> str:
    return either(f"--dimension {name}", f"dimensions['{name}']")


def _said(name: str, sizes: str) -> str:
    return f"shapes={{'{name}': ({sizes})}}"


def _dimension(symbol: str) -> str:
    return f"dimensions={{'{symbol}': 64}}"


def _check_name(name: str, names: Collection[str], where: str) -> None:
    if name not in names:
        raise CompileError(
            where=where,
            what="the model has no such input",
            help=f"its inputs are {listed(list(names))}{near(name, names)}",
        )


def _is_open(size: onnx.TensorShapeProto.Dimension) -> bool:
    """True for a symbol, for nothing, and for a negative number, which some exporters write instead."""
    return not size.HasField("dim_value") or size.dim_value < 0


def _is_open_first(value: onnx.ValueInfoProto) -> bool:
    """Whether an input has a first size, and leaves it open."""
    sizes = _sizes(value)
    return len(sizes) > 0 and _is_open(sizes[0])


def _sizes(value: onnx.ValueInfoProto) -> Sequence[onnx.TensorShapeProto.Dimension]:
    if value.type.WhichOneof("value") != "tensor_type":
        return ()
    sizes: Sequence[onnx.TensorShapeProto.Dimension] = value.type.tensor_type.shape.dim
    return sizes
