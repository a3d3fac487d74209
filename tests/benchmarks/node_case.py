"""One of the ONNX backend's node cases through `compile_model(target="cpu")` and `Session.run`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.runner import Runner

import intarsia
from intarsia.artifact.parts import EVALUATOR
from intarsia.errors import CompileError, RunError

PASSED = ("native", "partly", "evaluator", "folded")
"""How a case passes: all nodes in compiled code; some; none; or nothing was left to run."""

STATUSES = (*PASSED, "refused", "failed", "crashed")


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    status     one of STATUSES; refused: intarsia said why not; failed: other outputs, or an error of another kind
    reason     why it did not pass; for a case that passed, the ops that the evaluator ran
    given      names of inputs whose elements were given to the compiler
    evaluated  ops that the evaluator ran, with the reason why no code was made
    """

    name: str
    status: str
    reason: str = ""
    given: tuple[str, ...] = ()
    evaluated: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.status in PASSED


def load_cases() -> list[Any]:
    """All node cases that the installed onnx package generates."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the generators of some cases divide by zero on purpose
        return list(load_model_tests(kind="node"))


def plain(data: Any) -> Any:
    """A tensor, sequence or optional of a case, as NumPy has it; types that NumPy lacks come as TensorProto."""
    if isinstance(data, TensorProto):
        return numpy_helper.to_array(data)
    if isinstance(data, (list, tuple)):
        return [plain(item) for item in data]
    return np.asarray(data) if isinstance(data, np.generic) else data


# fmt: off
WEIGHTS = {
    "BatchNormalization": (1, 2, 3, 4), "Conv": (1, 2), "ConvInteger": (1, 2, 3), "ConvTranspose": (1, 2),
    "DeformConv": (1,), "Gemm": (1, 2), "GRU": (1, 2, 3), "GroupNormalization": (1, 2), "LSTM": (1, 2, 3, 7),
    "MatMulInteger": (1, 2, 3), "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8), "QLinearMatMul": (1, 2, 3, 4, 5, 6, 7),
    "RNN": (1, 2, 3), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "RoiAlign": (), "Resize": (1, 2, 3),
    "Range": (0, 1, 2), "ConstantOfShape": (0,),
}
# fmt: on
"""Inputs that real models hold as constants, beside whole numbers of at most one dimension."""


def parameters(case: Any) -> tuple[str, ...]:
    """Names of the inputs that real models hold as constants: shapes, axes, counts, and the weights of some ops."""
    names = [value.name for value in case.model.graph.input]
    found = set()
    for node in case.model.graph.node:
        for index, name in enumerate(node.input):
            if name in names and index in WEIGHTS.get(node.op_type, ()):
                found.add(name)
    for name, data in list(zip(names, case.data_sets[0][0]))[1:]:
        array = plain(data)
        if isinstance(array, np.ndarray) and array.ndim <= 1 and array.dtype.kind in "iub":
            found.add(name)
    return tuple(name for name in names if name in found)


RANDOM = ("Bernoulli", "RandomUniformLike")
"""Ops whose cases hold the random numbers of one generator, which no other gives."""


def compare(wanted: Sequence[Any], found: Sequence[Any], rtol: float, atol: float, shapes_only: bool = False) -> None:
    """Compare as onnx's own runner does; sequences item by item, where that runner looks into the arrays."""
    assert len(wanted) == len(found), f"{len(found)} outputs or items, wanted {len(wanted)}"
    for one, other in zip(wanted, found):
        if isinstance(one, list) or one is None:
            assert isinstance(other, type(one)), f"{type(other).__name__}, wanted {type(one).__name__}"
            compare(one or (), other or (), rtol, atol, shapes_only)
        elif shapes_only:
            assert one.shape == other.shape and one.dtype == other.dtype
        else:
            Runner.assert_similar_outputs([one], [other], rtol, atol)


def run_case(case: Any, given: tuple[str, ...] = ()) -> Outcome:
    """Compile a case and run all its data sets.

    given  names of inputs whose elements the compiler is told; the others come at run time
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _run(case, given)
    except (CompileError, RunError) as error:
        return Outcome(case.name, "refused", f"{error.where}: {error.what}", given)
    except Exception as error:  # whatever else it raises is a fault of ours
        text = re.split(" Mismatch at| First 5", " ".join(str(error).split()))[
            0
        ]  # the elements change with the machine
        return Outcome(case.name, "failed", f"{type(error).__name__}: {text[:300]}", given)


def _run(case: Any, given: tuple[str, ...]) -> Outcome:
    model: onnx.ModelProto = case.model
    names = [value.name for value in model.graph.input]
    first = dict(zip(names, map(plain, case.data_sets[0][0])))
    shapes = {
        name: array.shape
        for name, array in first.items()
        if isinstance(array, np.ndarray) and name not in given and not _is_static(model, name)
    }
    values = {name: first[name] for name in given}
    random = any(node.op_type in RANDOM for node in model.graph.node)
    artifact = intarsia.compile_model(model, target="cpu", values=values, shapes=shapes)
    session = intarsia.load(artifact)
    for inputs, outputs in case.data_sets:
        feed = {name: plain(data) for name, data in zip(names, inputs) if name not in given}
        results = session.run(**feed)
        compare([plain(item) for item in outputs], results, case.rtol, case.atol, shapes_only=random)
    if random:
        raise AssertionError("its outputs are random numbers: types and shapes are right, elements cannot be compared")
    rows = artifact.manifest["placements"]
    places = {row["place"] for row in rows}
    status = "folded" if not places else "evaluator" if places == {EVALUATOR} else "native"
    if status == "native" and EVALUATOR in places:
        status = "partly"
    evaluated = tuple(f"{row['op']}: {_why(row)}" for row in rows if row["place"] == EVALUATOR)
    return Outcome(case.name, status, "", given, evaluated)


def _is_static(model: onnx.ModelProto, name: str) -> bool:
    type = next(value.type for value in model.graph.input if value.name == name)
    if type.WhichOneof("value") != "tensor_type":
        return True
    shape = type.tensor_type.shape
    return type.tensor_type.HasField("shape") and all(size.HasField("dim_value") for size in shape.dim)


def _why(row: Any) -> str:
    return "; ".join(f"{item['rule']}: {item['reason']}" for item in row["reasons"])
