"""Loop and Scan for onnx.reference, as ONNX defines them.

The versions that come with onnx stack the results of a Loop wrongly unless they are 1-D, and know neither the axes and
directions of a Scan nor its form of opset 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from intarsia.dtypes import ELEMENT_TYPES, Array, numpy_dtype
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
        names, state = body.input_names, list(carried)
        rounds: list[list[Array]] = [[] for _ in range(len(body.output_names) - 1 - len(state))]
        count, go_on = 0, condition is None or bool(np.asarray(condition).item())
        while go_on and (limit is None or count < int(np.asarray(limit).item())):
            check()
            pay_step("a round of Loop")
            feed = {**(context or {}), names[0]: np.array(count, np.int64), names[1]: np.array(True)}
            feed.update(zip(names[2:], state))
            results = body.run(None, feed)
            go_on = bool(np.asarray(results[0]).item())
            state = results[1 : 1 + len(state)]
            for gathered, result in zip(rounds, results[1 + len(state) :]):
                gathered.append(result)
            count += 1
        return (*state, *(_stacked(items, body, 1 + len(state) + k) for k, items in enumerate(rounds)))


class Scan(OpRun):  # type: ignore[misc]  # onnx has no types
    """Inputs the state, then the scanned tensors; outputs the state, then what each round gave, stacked."""

    def need_context(self) -> bool:
        return True

    def _run(self, *inputs: Any, context: Any = None, **attributes: Any) -> tuple[Any, ...]:
        if self.run_params["opsets"][""] == 8:
            return self._run_batch(inputs, context or {}, attributes)
        return self._run_one(inputs, context or {}, attributes)

    def _run_one(self, inputs: Sequence[Any], context: Any, attributes: Any) -> tuple[Any, ...]:
        body, scanned = attributes["body"], attributes["num_scan_inputs"]
        states = len(inputs) - scanned
        outputs = len(body.output_names) - states
        state, sources = list(inputs[:states]), list(inputs[states:])
        for index in range(scanned):
            sources[index] = np.moveaxis(sources[index], _entry(attributes, "scan_input_axes", index), 0)
            if _entry(attributes, "scan_input_directions", index):
                sources[index] = sources[index][::-1]
        rounds: list[list[Array]] = [[] for _ in range(outputs)]
        for step in range(len(sources[0])):
            check()
            pay_step("a round of Scan")
            feed = {**context, **dict(zip(body.input_names, [*state, *(source[step] for source in sources)]))}
            results = body.run(None, feed)
            state = results[:states]
            for gathered, result in zip(rounds, results[states:]):
                gathered.append(result)
        stacks = []
        for index, items in enumerate(rounds):
            stack = _stacked(items, body, states + index)
            if _entry(attributes, "scan_output_directions", index):
                stack = stack[::-1]
            stacks.append(np.moveaxis(stack, 0, _entry(attributes, "scan_output_axes", index)))
        return (*state, *stacks)

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
