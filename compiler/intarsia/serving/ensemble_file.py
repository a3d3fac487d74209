"""The description of an ensemble: a JSON file that names models, steps between them, and what goes where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from intarsia.errors import RunError
from intarsia.serving.endpoint import Endpoint
from intarsia.serving.ensemble_steps import Op, Shape, StepError, make
from intarsia.serving.model_settings import json_object
from intarsia.serving.tensors import DATATYPES, ServedTensor

Look = Callable[[str, str], Endpoint]
"""The model of a name and a version, "" for the usual one; RunError where there is none."""


@dataclass(frozen=True)
class Step:
    """One step: a model or an op.

    model, version   of a model; "" for an op, and for the version that is usual
    op, options      of an op
    inputs, outputs  for a model by its own names; for an op one each, under the name ""
    """

    number: int
    model: str
    version: str
    op: str
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """Steps that fit the models that there are.

    ops      by number of the step
    outputs  of the ensemble, in order
    """

    ops: Mapping[int, Op]
    outputs: tuple[ServedTensor, ...]


class Description:
    """What a file says, before models are looked at.

    inputs   in order, with types and shapes
    outputs  names, in order
    steps    in an order in which each has what it takes
    models   names of those that steps run
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            data = json_object(path.read_text(encoding="utf-8"), path)
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(where=f"file {path}", what=f"it cannot be read: {error}", help="make it JSON") from error
        unknown = sorted(set(data) - {"inputs", "outputs", "steps"})
        if unknown:
            self._bad(f"'{unknown[0]}' is no part of an ensemble", "inputs, outputs and steps are")
        self.inputs = tuple(self._input(item) for item in self._list(data, "inputs"))
        self.outputs: tuple[str, ...] = tuple(self._text(item, "an output") for item in self._list(data, "outputs"))
        self.steps = self._sorted([self._step(index, item) for index, item in enumerate(self._list(data, "steps"), 1)])
        self.models = tuple(dict.fromkeys(step.model for step in self.steps if step.model))

    def plan(self, look: Look) -> Plan:
        """Fit the steps to the models. Raises RunError, about this file, where they do not fit."""
        values = {tensor.name: tensor for tensor in self.inputs}
        ops: dict[int, Op] = {}
        for step in self.steps:
            if step.model:
                self._fit(step, look(step.model, step.version), values)
                continue
            try:
                op = make(step.op, step.options, values[step.inputs[""]])
            except StepError as error:
                self._bad(f"step {step.number}: {error}", "correct the step")
            ops[step.number] = op
            values[step.outputs[""]] = ServedTensor(step.outputs[""], op.dtype, op.shape)
        return Plan(ops, tuple(values[name] for name in self.outputs))

    def _fit(self, step: Step, model: Endpoint, values: dict[str, ServedTensor]) -> None:
        where = f"step {step.number}, model '{step.model}'"
        inputs = {tensor.name: tensor for tensor in model.inputs}
        outputs = {tensor.name: tensor for tensor in model.outputs}
        for kind, named, there in (("input", step.inputs, inputs), ("output", step.outputs, outputs)):
            unknown = [name for name in named if name not in there]
            if unknown:
                self._bad(f"{where}: it has no {kind} '{unknown[0]}'", f"its {kind}s are {', '.join(there)}")
        missing = [name for name in inputs if name not in step.inputs]
        if missing:
            self._bad(f"{where}: nothing is given for its input '{missing[0]}'", "name a value for every input")
        for name, value in step.inputs.items():
            given, wanted = values[value], inputs[name]
            if given.dtype != wanted.dtype or not _agree(given.shape, wanted.shape):
                self._bad(f"{where}: '{value}' is {given}, its input '{name}' is {wanted}", "put a step between them")
        for name, value in step.outputs.items():
            values[value] = ServedTensor(value, outputs[name].dtype, outputs[name].shape)

    # ---- reading

    def _sorted(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        made = [tensor.name for tensor in self.inputs]
        for step in steps:
            made.extend(step.outputs.values())
        twice = [name for name in made if made.count(name) > 1]
        if twice:
            self._bad(f"'{twice[0]}' is made twice", "give every value a name of its own")
        for name, user in (
            *((name, f"step {step.number}") for step in steps for name in step.inputs.values()),
            *((name, "an output") for name in self.outputs),
        ):
            if name not in made:
                self._bad(f"{user} takes '{name}', which nothing makes", "name an input or what a step makes")
        known = {tensor.name for tensor in self.inputs}
        left, order = list(steps), []
        while left:
            able = [step for step in left if known.issuperset(step.inputs.values())]
            if not able:
                self._bad(f"step {left[0].number} waits for what comes of itself", "take the circle apart")
            for step in able:
                left.remove(step)
                known.update(step.outputs.values())
            order.extend(able)
        return tuple(order)

    def _step(self, number: int, item: object) -> Step:
        if not isinstance(item, dict) or ("model" in item) == ("op" in item):
            self._bad(f"step {number} has not just one of 'model' and 'op'", "name a model or an op")
        inputs, outputs = item.get("inputs"), item.get("outputs")
        if "op" in item:
            for kind, value in (("inputs", inputs), ("outputs", outputs)):
                if not isinstance(value, str):
                    self._bad(f"step {number}: {kind} is {value!r}", "an op takes one value and makes one: name it")
            options = {name: value for name, value in item.items() if name not in ("op", "inputs", "outputs")}
            op = self._text(item["op"], f"the op of step {number}")
            return Step(number, "", "", op, options, {"": str(inputs)}, {"": str(outputs)})
        unknown = sorted(set(item) - {"model", "version", "inputs", "outputs"})
        if unknown:
            self._bad(f"step {number}: '{unknown[0]}' is no part of it", "model, version, inputs and outputs are")
        model = self._text(item["model"], f"the model of step {number}")
        maps = [
            self._map(value, f"{kind} of step {number}") for kind, value in (("inputs", inputs), ("outputs", outputs))
        ]
        return Step(number, model, str(item.get("version", "")), "", {}, maps[0], maps[1])

    def _map(self, value: object, what: str) -> dict[str, str]:
        if not isinstance(value, dict) or not value:
            self._bad(f"{what} is {value!r}", "give an object: the model's own name, and the ensemble's")
        return {name: self._text(item, what) for name, item in value.items()}

    def _input(self, item: object) -> ServedTensor:
        if not isinstance(item, dict) or set(item) != {"name", "datatype", "shape"}:
            self._bad("an input has not just name, datatype and shape", "give these three")
        dtype = next((dtype for dtype, datatype in DATATYPES.items() if datatype == item["datatype"]), None)
        if dtype is None:
            self._bad(f"an input's datatype is {item['datatype']!r}", f"there are {', '.join(DATATYPES.values())}")
        sizes = item["shape"]
        if not isinstance(sizes, list) or any(not _is_whole(size) or size < -1 for size in sizes):
            self._bad(f"an input's shape is {sizes!r}", "give a list of sizes, -1 for any")
        shape: Shape = tuple(None if size == -1 else size for size in sizes)
        return ServedTensor(self._text(item["name"], "an input's name"), dtype, shape)

    def _list(self, data: Mapping[str, Any], name: str) -> list[Any]:
        value = data.get(name)
        if not isinstance(value, list) or not value:
            self._bad(f"{name} is no list, or an empty one", f"name the {name}")
        return value

    def _text(self, value: object, what: str) -> str:
        if not isinstance(value, str) or not value:
            self._bad(f"{what} is {value!r}", "give a text")
        return value

    def _bad(self, what: str, advice: str) -> NoReturn:
        raise RunError(where=f"ensemble {self._path}", what=what, help=advice)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _agree(given: Shape | None, wanted: Shape | None) -> bool:
    """Whether values of one shape may be of the other; where either has any size, a request shows."""
    if given is None or wanted is None:
        return True
    return len(given) == len(wanted) and all(None in pair or pair[0] == pair[1] for pair in zip(given, wanted))
