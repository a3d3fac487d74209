"""If, Loop and Scan whose graphs the importer has read: what each means, by a function that runs a graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.errors import RunError
from intarsia.ir import rounds
from intarsia.ir.budget import pay_step
from intarsia.ir.deadline import check
from intarsia.ir.graph import Graph, Node
from intarsia.ir.op import CAPTURED, Op, Run
from intarsia.ir.ops.rules import given, given_or_none

_HELP = "look at what feeds it; ONNX wants one truth value, one number of rounds, and scanned tensors of one length"


def _split(node: Node, inputs: Sequence[Array | None]) -> tuple[list[Array | None], list[Array]]:
    """The node's own inputs, and those that its graphs read from outside."""
    count = len(inputs) - len(node.attributes.get(CAPTURED, ()))
    return list(inputs[:count]), [given(inputs, index) for index in range(count, len(inputs))]


def _one(node: Node, value: Array, title: str) -> Any:
    if np.size(value) != 1:
        raise RunError(where=node.where, what=f"its {title} has {np.size(value)} elements, not one", help=_HELP)
    return np.asarray(value).reshape(-1)[0]


def _run_if(node: Node, inputs: Sequence[Array | None], run: Run) -> list[Array]:
    own, captured = _split(node, inputs)
    name = "then_branch" if bool(_one(node, given(own, 0), "condition")) else "else_branch"
    return run(node.attributes[name], captured)


def _run_loop(node: Node, inputs: Sequence[Array | None], run: Run) -> list[Array]:
    own, captured = _split(node, inputs)
    body: Graph = node.attributes["body"]
    limit, condition = given_or_none(own, 0), given_or_none(own, 1)
    state = [given(own, index) for index in range(2, len(own))]

    def step(count: int, state: Sequence[Array]) -> tuple[bool, list[Array]]:
        _begin(node, body)
        go_on, *results = run(body, [np.array(count, np.int64), np.array(True), *state, *captured])
        return bool(_one(node, go_on, "condition")), results

    first = 1 + len(state)
    return rounds.loop(
        step,
        state,
        None if limit is None else int(_one(node, limit, "number of rounds")),
        condition is None or bool(_one(node, condition, "condition")),
        len(body.outputs) - first,
        lambda items, index: _stacked(items, body, first + index),
    )


def _run_scan(node: Node, inputs: Sequence[Array | None], run: Run) -> list[Array]:
    own, captured = _split(node, inputs)
    body: Graph = node.attributes["body"]
    states = len(own) - int(node.attributes["num_scan_inputs"])
    entry = partial(_entry, node)
    sources = rounds.scanned([given(own, index) for index in range(states, len(own))], entry)
    lengths = {len(source) for source in sources}
    if len(lengths) != 1:
        raise RunError(where=node.where, what=f"the tensors that it scans have {sorted(lengths)} entries", help=_HELP)

    def step(count: int, state: Sequence[Array]) -> list[Array]:
        _begin(node, body)
        return run(body, [*state, *(np.asarray(source[count]) for source in sources), *captured])

    return rounds.scan(
        step,
        [given(own, index) for index in range(states)],
        lengths.pop(),
        len(body.outputs) - states,
        lambda items, index: _stacked(items, body, states + index),
        entry,
    )


def _begin(node: Node, body: Graph) -> None:
    """A round of a loop: it may do nothing, and there may be any number of them."""
    check()
    pay_step(node.where, 1 + len(body.nodes))


def _entry(node: Node, name: str, index: int) -> int:
    """An entry of an optional list of ints, 0 where it is not given."""
    found = node.attributes.get(name, ())
    return int(found[index]) if index < len(found) else 0


def _stacked(items: Sequence[Array], body: Graph, output: int) -> Array:
    """Results of all rounds along a new first axis; of no round, an empty array of the declared element type."""
    if items:
        return np.stack(items)
    type = body.outputs[output].type
    return np.empty((0, *(size or 0 for size in type.shape or ())), numpy_dtype(type.dtype))


OPS = (
    Op("If", None, None, control=_run_if),
    Op("Loop", None, None, grows=True, control=_run_loop),
    Op("Scan", None, None, grows=True, control=_run_scan),
)
