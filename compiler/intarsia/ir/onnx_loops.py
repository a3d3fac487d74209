"""Loop and Scan for onnx.reference, as ONNX defines them.

The versions that come with onnx stack the results of a Loop wrongly unless they are 1-D, and know neither the axes and
directions of a Scan nor its form of opset 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from intarsia.dtypes import ELEMENT_TYPES, Array, numpy_dtype
from intarsia.ir import rounds
from intarsia.ir.budget import pay_step
from intarsia.ir.deadline import check


class Loop(OpRun):  # type: ignore[misc]  # onnx has no types
    """Inputs M, cond, then the carried values; outputs the carried values, then what each round gave, stacked."""

    def need_context(self) -> bool:
        return True

    def _run(
        self, limit: Any, condition: Any, *carried: Any, context: Any = None, **attributes: Any
    ) -> tuple[Any, ...]:
        body = attributes["body"]
        names, first = body.input_names, 1 + len(carried)

        def step(count: int, state: Sequence[Any]) -> tuple[bool, Sequence[Any]]:
            _begin("a round of Loop")
            feed = {**(context or {}), names[0]: np.array(count, np.int64), names[1]: np.array(True)}
            feed.update(zip(names[2:], state))
            go_on, *results = body.run(None, feed)
            return bool(np.asarray(go_on).item()), results

        found = rounds.loop(
            step,
            carried,
            None if limit is None else int(np.asarray(limit).item()),
            condition is None or bool(np.asarray(condition).item()),
            len(body.output_names) - first,
            lambda items, index: _stacked(items, body, first + index),
        )
        return tuple(found)


class Scan(OpRun):  # type: ignore[misc]  # onnx has no types
    """Inputs the state, then the scanned tensors; outputs the state, then what each round gave, stacked."""

    def need_context(self) -> bool:
        return True

    def _run(self, *inputs: Any, context: Any = None, **attributes: Any) -> tuple[Any, ...]:
        if self.run_params["opsets"][""] == 8:
            return self._run_batch(inputs, context or {}, attributes)
        return self._run_one(inputs, context or {}, attributes)

    def _run_one(self, inputs: Sequence[Any], context: Any, attributes: Any) -> tuple[Any, ...]:
        body = attributes["body"]
        states = len(inputs) - attributes["num_scan_inputs"]
        entry = partial(_entry, attributes)
        sources = rounds.scanned(inputs[states:], entry)

        def step(count: int, state: Sequence[Any]) -> Sequence[Any]:
            _begin("a round of Scan")
            feed = {**context, **dict(zip(body.input_names, [*state, *(source[count] for source in sources)]))}
            found: Sequence[Any] = body.run(None, feed)
            return found

        found = rounds.scan(
            step,
            inputs[:states],
            len(sources[0]),
            len(body.output_names) - states,
            lambda items, index: _stacked(items, body, states + index),
            entry,
        )
        return tuple(found)

    def _run_batch(self, inputs: Sequence[Any], context: Any, attributes: Any) -> tuple[Any, ...]:
        """Opset 8: a first input of lengths, a batch axis in front of all others, results padded with zeros."""
        lengths, *rest = inputs
        scanned = attributes["num_scan_inputs"]
        states = len(rest) - scanned
        longest = rest[states].shape[1]
        one = {"body": attributes["body"], "num_scan_inputs": scanned}
        one["scan_input_directions"] = attributes.get("directions")
        runs = []
        for row in range(rest[states].shape[0]):
            length = longest if lengths is None else int(lengths[row])
            cut = [value[row] for value in rest[:states]] + [value[row][:length] for value in rest[states:]]
            results = list(self._run_one(cut, context, one))
            for index in range(states, len(results)):
                tail = ((0, longest - length),) + ((0, 0),) * (results[index].ndim - 1)
                results[index] = np.pad(results[index], tail)
            runs.append(results)
        return tuple(np.stack(column) for column in zip(*runs))


def _begin(where: str) -> None:
    check()
    pay_step(where)


def _entry(attributes: Any, name: str, index: int) -> int:
    """An entry of an optional list of ints, 0 where it is not given."""
    found = attributes.get(name)
    return int(found[index]) if found is not None and len(found) else 0


def _stacked(items: Sequence[Array], body: Any, output: int) -> Array:
    """Results of all rounds along a new first axis; of no round, an empty array of the declared element type."""
    if items:
        return np.stack(items)
    declared = body.output_types[output].tensor_type
    sizes = [size.dim_value for size in declared.shape.dim]
    return np.empty((0, *sizes), numpy_dtype(ELEMENT_TYPES[declared.elem_type]))
