"""Elementwise ops that become part of the kernel that makes their input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from intarsia.ir.graph import Value
from intarsia_backends.lowering.builder import Builder, Pending, element
from intarsia_backends.lowering.expressions import (
    Apply,
    Cast,
    Constant,
    Expression,
    Input,
)
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.layouts import images_result
from intarsia_backends.lowering.requantize import is_clamped
from intarsia_backends.lowering.views import View

_SIZE_MAX = 150
"""Parts of an expression, above which a value goes through memory: what is used twice is written twice."""

_OPERANDS_MAX = 8


def map_values(
    builder: Builder, values: Sequence[Value], output: Value, body: Expression, tables: Sequence[View] = ()
) -> None:
    """`output` is `body` for every element; the inputs, `Input(k)`, broadcast to it.

    tables  further operands, whose walks stand still; `body` reads them by `Gather(k, ..)`
    """
    host = _host(builder, values, output)
    if host is not None and _joins(builder, host, values, output, body, tables):
        return
    if host is not None:
        builder.view(host)
    operands: list[View] = []
    views = [*(_operand(builder, value, output) for value in values), *tables]
    expression = body.substituted({index: _added(operands, view) for index, view in enumerate(views)}, _simplified)
    builder.defer(
        output,
        Pending(
            shape=output.shape, expression=expression, operands=tuple(operands), takes=anything, emit=_emit_map(builder)
        ),
    )


def _joins(
    builder: Builder,
    host: Value,
    values: Sequence[Value],
    output: Value,
    body: Expression,
    tables: Sequence[View],
) -> bool:
    """Make `output` the pending value instead of `host`, where the host's kernel can read the other inputs."""
    pending = builder.pending(host)
    assert pending is not None
    others = {index: _operand(builder, value, output) for index, value in enumerate(values) if value is not host}
    if not all(map(pending.takes, others.values())):
        return False
    operands = list(pending.operands)
    replacements = {index: pending.expression for index in range(len(values))}
    for index, view in (*others.items(), *enumerate(tables, len(values))):
        replacements[index] = _added(operands, view)
    expression = body.substituted(replacements, _simplified)
    if expression.size > _SIZE_MAX or len(operands) > _OPERANDS_MAX:
        return False
    builder.defer(
        output,
        Pending(
            shape=output.shape, expression=expression, operands=tuple(operands), takes=pending.takes, emit=pending.emit
        ),
    )
    return True


def _added(operands: list[View], view: View) -> Expression:
    """The element of a view, which becomes an operand where it is none yet."""
    if view not in operands:
        operands.append(view)
    return element(view, operands.index(view))


def anything(view: View) -> bool:
    """For kernels that read operands however they lie."""
    return True


def _host(builder: Builder, values: Sequence[Value], output: Value) -> Value | None:
    """The input whose kernel is to go on with this op: of the shape of the output, and not yet made."""
    found = [value for value in values if value.shape == output.shape and builder.pending(value) is not None]
    kernels = [value for value in found if _has_accumulator(builder, value)]
    best = kernels or found
    return best[-1] if best else None


def _has_accumulator(builder: Builder, value: Value) -> bool:
    pending = builder.pending(value)
    return pending is not None and pending.expression.accumulates


def _operand(builder: Builder, value: Value, output: Value) -> View:
    view = builder.view(value)
    for other, images in builder.images(value):
        if images.channels > 1:
            view = other
    return view.broadcast(value.shape, output.shape)


def _emit_map(builder: Builder) -> Callable[[Value, Expression, Sequence[View]], None]:
    def emit(value: Value, expression: Expression, operands: Sequence[View]) -> None:
        shape = value.shape
        beside = any(_is_channels_last(view, shape) for view in operands)
        if value.dtype in ("float32", "int8") and builder.makes_images(value, beside):
            target = images_result(builder, value, as_bytes=True)
        else:
            builder.result(value)
            target = builder.view(value)
        kernel = nest(shape, [view.access for view in operands], target.access, stored(expression, target))
        builder.call(kernel, [view.buffer for view in operands], target.buffer)

    return emit


def _is_channels_last(view: View, shape: Sequence[int]) -> bool:
    """Whether a walk over all elements of a value goes over its channels first."""
    if len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1 or view.strides[1] != 1:
        return False
    return all(stride != 0 for stride, extent in zip(view.strides, shape) if extent > 1)


def stored(expression: Expression, target: View) -> Expression:
    """The expression of a value as `target` holds it."""
    if target.zero is None:
        return expression
    return stored_number(expression, target.zero, target.dtype)


def stored_number(expression: Expression, zero: int, dtype: str = "int16") -> Expression:
    """An int8 as the number of another type that is stored: without its zero point, or what stands for that."""
    return Cast(dtype, _difference(whole(expression), Constant("int32", zero)))


def whole(expression: Expression) -> Expression:
    """An int8 element as an int32, without the way through eight bits where its number is known to fit."""
    match expression:
        case Cast("int8", inner) if _fits_eight_bits(inner):
            return inner
    return Cast("int32", expression)


def _fits_eight_bits(expression: Expression) -> bool:
    match expression:
        case Apply("add", (Cast("int32", Input()), Constant())):
            return True
        case Apply("add", (first, Constant())):
            return is_clamped(first)
    return False


def _difference(expression: Expression, zero: Constant) -> Expression:
    match expression:
        case Apply("add", (first, second)) if second == zero:
            return first
    return expression - zero


def _simplified(expression: Expression) -> Expression:
    """Numbers of eight bits stay in an int32 from one function to the next, and zero points cancel out."""
    match expression:
        case Cast("int32", Cast() as inner):
            return whole(inner)
        case Apply("sub", (first, Constant("int32") as zero)):
            return _difference(first, zero)
    return expression
