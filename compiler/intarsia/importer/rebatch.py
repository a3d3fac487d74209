"""A batch for models that are written for one image, and what stands in the way of one.

Sizes of 1 at the front of all inputs become those of the batch, and so do those at the front of constant shapes.
Whether the model then still means the same for each row is not assumed: every op that reads rows must make rows, as its
shapes tell, and what the model gives for a batch is compared with what it gives for each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.errors import CompileError, RunError
from intarsia.importer.draft import Draft, Workshop
from intarsia.ir.evaluate import evaluate
from intarsia.ir.facts import is_random
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.op import bodies_of

_DRIFT = 1e-3
"""Of the largest magnitude of an output: what its elements may differ by on average, by the order of sums."""

_HELP = (
    "export the model with a dynamic first axis, or compile it with batch 1: an artifact whose outputs all hold rows "
    "then runs any number of them, one after the other"
)


class Batch:
    """A batch on its way through an import.

    size     how many rows were asked for
    assumed  whether the model is written for one row, so that sizes of 1 were changed
    fixing   nodes that may fix a first size of 1, the first of them first, with their shapes
    """

    def __init__(self, size: int, assumed: bool) -> None:
        self.size = size
        self.assumed = assumed
        self.fixing: list[tuple[str, list[int]]] = []
        self._carrying: set[Value] = set()

    def given(self, value: Value) -> None:
        """An input of the graph: rows stand along its first axis."""
        self._carrying.add(value)

    def made(self, node: Node) -> None:
        """A node of the graph: what it makes of rows may hold rows."""
        if any(value in self._carrying for value in node.inputs):
            self._carrying.update(value for value in node.outputs if value is not None)

    def reshape(self, shop: Workshop, draft: Draft) -> None:
        """Look at a Reshape that is about to be added: a constant shape that begins with 1 fixes the batch."""
        x, shape = draft.input(0), shop.inference.elements(draft.input(1))
        if self.size == 1 or draft.op != "Reshape" or draft.domain or x not in self._carrying or shape is None:
            return
        if shop.inference.elements(x) is not None:
            return  # sizes that are computed of a shape hold no rows
        sizes = [int(size) for size in shape.reshape(-1)]
        if not sizes or sizes[0] != 1:
            return
        if self.assumed:
            wanted = np.array([self.size, *sizes[1:]], np.int64)
            draft.inputs[1] = shop.constant(f"{draft.name}_batch_shape", wanted)
        else:
            self.fixing.append((draft.where, sizes))

    def explained(self, error: CompileError, is_sound: bool) -> CompileError:
        """A better letter than the one that came of a batch.

        is_sound  whether the model is read with a batch of 1
        """
        if not is_sound:
            return error
        if self.assumed:
            return CompileError(
                where=error.where,
                what=f"the model is written for one row, and with {self.size} of them {error.what}",
                help=_HELP,
            )
        if not self.fixing:
            return CompileError(
                where=error.where, what=f"with a batch of {self.size}, {error.what}", help=f"{error.help}; or: {_HELP}"
            )
        where, sizes = self.fixing[0]
        return CompileError(
            where=where,
            what=f"its shape {sizes} fixes a first size of 1, and a batch of {self.size} was asked for; "
            f"{error.where} then finds {error.what}",
            help="export the model so that it keeps the first axis, as x.flatten(1) and x.reshape(x.shape[0], -1) do; "
            "or compile it with batch 1: an artifact whose outputs all hold rows then runs any number of them, one "
            "after the other",
        )


def check_rows(graph: Graph, single: Graph, size: int) -> None:
    """Raise CompileError unless a graph for a batch gives for its rows what the graph for one row gives for each.

    size  how many rows the first graph takes
    """
    _check_shapes(graph, single, size)
    random = next((node for node in graph.nodes if is_random(node)), None)
    if random is not None:
        raise _unlike(random.where, size, "it gives other numbers every time, so that rows cannot be compared")
    rows = [_row(single, index) for index in range(size)]
    try:
        together = evaluate(graph, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
        alone = [evaluate(single, row) for row in rows]
    except RunError as error:
        raise _unlike(error.where, size, f"it could not be run to find out: {error.what}") from error
    for index, value in enumerate(graph.outputs):
        if not _is_alike(together[index], [outputs[index] for outputs in alone]):
            what = "its rows are not those that the model gives for one row after the other"
            raise _unlike(f"output '{value.name}'", size, what)


def _check_shapes(graph: Graph, single: Graph, size: int) -> None:
    """Raise CompileError for an op that puts rows together: it reads rows, and does not make `size` times as many.

    Running the model would not show it where what the rows have in common matters for some inputs alone.
    """
    rows = set(graph.inputs)
    if [node.op for node in graph.nodes] != [node.op for node in single.nodes]:
        raise _unlike("the model", size, "it has other ops for a batch than for one row")
    for node, alone in zip(graph.nodes, single.nodes):
        if node.op in _SIZES or not any(value in rows for value in node.inputs):
            continue
        if bodies_of(node):
            raise _unlike(node.where, size, "rows go into its graphs, which are not looked into")
        for value, other in zip(node.outputs, alone.outputs):
            if value is None or other is None or not (value.user_count or graph.is_output(value)):
                continue
            if not value.type.is_static or not other.type.is_static:
                raise _unlike(node.where, size, f"how large '{value.name}' is depends on what the rows hold")
            if not _holds_rows(value.shape, other.shape, size):
                what = f"it makes {value.type} of {size} rows and {other.type} of one, so that rows are put together"
                raise _unlike(node.where, size, what)
            rows.add(value)


_SIZES = ("Shape", "Size")
"""Ops that tell of what they read its sizes alone."""


def _holds_rows(shape: Sequence[int], alone: Sequence[int], size: int) -> bool:
    """Whether one axis, and no other, is `size` times as long as for one row."""
    if len(shape) != len(alone):
        return False
    changed = [(found, one) for found, one in zip(shape, alone) if found != one]
    return len(changed) == 1 and changed[0][0] == size * changed[0][1]


def _unlike(where: str, size: int, what: str) -> CompileError:
    return CompileError(
        where=where, what=f"the model is written for one row, and a batch of {size} was asked for: {what}", help=_HELP
    )


def _row(graph: Graph, index: int) -> Mapping[str, Array]:
    """Made-up inputs: floats of a normal distribution, bytes over their range, else 0 and 1."""
    rng, made = np.random.default_rng(index), {}
    for value in graph.inputs:
        dtype = numpy_dtype(value.dtype)
        data: Any = rng.integers(0, 2, value.shape)
        if value.dtype in ("int8", "uint8"):
            data = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, value.shape)
        elif dtype.kind in "fV":
            data = rng.standard_normal(value.shape)
        made[value.name] = np.asarray(data).astype(dtype)
    return made


def _is_alike(together: Any, alone: Sequence[Any]) -> bool:
    if not all(isinstance(item, np.ndarray) and item.ndim for item in (together, *alone)):
        return False
    if len({item.shape[1:] for item in (together, *alone)}) > 1:
        return False
    wanted = np.concatenate(alone)
    if wanted.shape != together.shape:
        return False
    if wanted.dtype.kind not in "fV" or not wanted.size:
        return bool(np.array_equal(wanted, together))
    first, second = wanted.astype(np.float64), together.astype(np.float64)
    fine = np.isfinite(first)
    if not np.array_equal(first[~fine], second[~fine], equal_nan=True):
        return False
    largest = float(np.abs(first[fine]).max(initial=0.0))
    return not fine.any() or float(np.abs(first[fine] - second[fine]).mean()) <= _DRIFT * largest
