"""A softmax between two matrix products as one kernel, so that the matrix of scores never is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from intarsia.ir.graph import Node, Value
from intarsia_backends.gpu.kernels import Attention, AttentionTile, attention_tile
from intarsia_backends.gpu.lower.builder import GpuBuilder
from intarsia_backends.lowering.access import row_major
from intarsia_backends.lowering.builder import Pending
from intarsia_backends.lowering.expressions import Accumulator, Expression
from intarsia_backends.lowering.ops import dense, reduction
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.products import Product
from intarsia_backends.lowering.ops.table import axis_of
from intarsia_backends.lowering.views import View

_LEAST = 2
"""Keys from which on there is a softmax to speak of."""


@dataclass(frozen=True)
class _Weights:
    """The pending value of a softmax whose rows one product alone reads: what its scores are made of."""

    scores: Product
    expression: Expression
    operands: tuple[View, ...]
    tile: AttentionTile

    def __call__(self, value: Value, expression: Expression, operands: Sequence[View]) -> None:
        raise AssertionError(f"'{value.name}' is read by one product alone")


@dataclass(frozen=True)
class _Weighted(Product):
    """A product whose left side is a softmax that is made along with it."""

    weights: _Weights

    def __call__(self, value: Value, expression: Expression, operands: Sequence[View]) -> None:
        builder, scores, weights = self.builder, self.scores, self.weights
        result = builder.result(value)
        *batch, rows, columns = self.extents
        assert isinstance(scores.w, View) and isinstance(self.w, View)
        ends = [replace(view, strides=self.walk(view.strides)) for view in operands]
        views = [scores.x, scores.w, self.w, *weights.operands, *ends]
        kernel = Attention(
            batch=tuple(batch),
            rows=rows,
            keys=self.depth,
            depth=scores.depth,
            columns=columns,
            operands=tuple(view.access for view in views),
            read=len(weights.operands),
            output=View(result, value.dtype, self.walk(row_major(value.shape))).access,
            score=weights.expression.shifted(3),
            end=expression.shifted(3 + len(weights.operands)),
            tile=weights.tile,
        )
        builder.call(kernel, [view.buffer for view in views], result)

    @property
    def scores(self) -> Product:
        return self.weights.scores


def _lower_softmax(builder: GpuBuilder, node: Node) -> None:
    weights = _weights(builder, node)
    if weights is None:
        reduction.LOWERINGS["Softmax"].lower(builder, node)
        return
    pending = Pending(shape=node.output.shape, expression=Accumulator(), operands=(), takes=_nothing, emit=weights)
    builder.defer(node.output, pending)


def _nothing(view: View) -> bool:
    return False


def _weights(builder: GpuBuilder, node: Node) -> _Weights | None:
    """What a softmax is made of, where it stands between two products that one kernel can make."""
    scores, weights = node.input(0), node.output
    pending, last = builder.pending(scores), scores.type.rank - 1
    if pending is None or not isinstance(pending.emit, Product) or not builder.is_alone(weights):
        return None
    product, (user,) = pending.emit, weights.users
    along = axis_of(node, last + 1, -1 if node.opset >= 13 or node.opset == 0 else 1) == last
    whole = product.products == "float32" and product.bias is None and isinstance(product.w, View)
    plain = product.axes == tuple(range(last + 1)) and last >= 1
    if not (along and whole and plain) or scores.shape[last] < _LEAST or 0 in product.extents or not product.depth:
        return None
    if user.op != "MatMul" or user.domain or user.inputs[0] is not weights or user.inputs[1] is weights:
        return None
    v = user.input(1)
    if v.type.rank < 2 or user.output.shape[:-1] != weights.shape[:-1] or user.output.type.elements == 0:
        return None
    if v.data is not None and v.type.rank == 2:
        return None
    tile = attention_tile(scores.shape[-2], product.depth, v.shape[-1], builder.machine.shared_bytes)
    return None if tile is None else _Weights(product, pending.expression, pending.operands, tile)


def _lower_matmul(builder: GpuBuilder, node: Node) -> None:
    weights = node.input(0)
    pending = builder.pending(weights)
    if pending is None or not isinstance(pending.emit, _Weights):
        dense.LOWERINGS["MatMul"].lower(builder, node)
        return
    v, shape = node.input(1), node.output.shape
    keys = weights.shape[-1]
    w = builder.view(v).broadcast(v.shape, (*shape[:-2], keys, shape[-1]))
    product = _Weighted(
        builder=builder,
        extents=tuple(shape),
        depth=keys,
        products="float32",
        x=pending.emit.scores.x,
        w=w,
        bias=None,
        axes=tuple(range(len(shape))),
        weights=pending.emit,
    )
    product.defer(node.output, activated(node, Accumulator()))


LOWERINGS = {
    "Softmax": reduction.LOWERINGS["Softmax"].made_by(_lower_softmax),
    "MatMul": dense.LOWERINGS["MatMul"].made_by(_lower_matmul),
}
