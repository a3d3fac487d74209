"""The ONNX backend's own cases of one op, through the whole pipeline: nothing that they show may change."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from intarsia.dtypes import ELEMENT_NUMBERS, NARROW
from intarsia.errors import CompileError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.verify import verify
from intarsia.partition.advice import advised
from intarsia.passes import fuse_passes, run_passes, simplify_passes
from intarsia.passes.decompose import Decompose
from intarsia.passes.decompose.expansions import OPS
from intarsia.passes.decompose.functions import FUNCTIONS
from intarsia.passes.instruments import relative_drift
from intarsia.passes.simplify.widen import WidenFloats
from intarsia.targets import find_target

_RANDOM = frozenset(
    (
        *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"),
        *("Bernoulli", "Multinomial", "Dropout"),
    )
)
SHARES = 8
"""Every eighth case runs; the whole lot takes two minutes."""


@functools.cache
def cases() -> list[Any]:
    from onnx.backend.test.loader import load_model_tests

    with np.errstate(all="ignore"):
        return list(load_model_tests(kind="node"))


def arrays(case: Any) -> dict[str, Any]:
    """What a case gives its model, by name."""
    feed = {}
    for value, data in zip(case.model.graph.input, case.data_sets[0][0]):
        array = numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data
        feed[value.name] = np.asarray(array) if isinstance(array, np.generic) else array
    return feed


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("constant_inputs", [False, True])
def test_cases_of_one_op_keep_their_results(constant_inputs: bool) -> None:
    done = 0
    for case in cases()[3::SHARES]:
        model, feed = copy.deepcopy(case.model), arrays(case)
        if constant_inputs:
            for value in list(model.graph.input)[1:]:
                if isinstance(feed[value.name], np.ndarray):
                    model.graph.initializer.append(numpy_helper.from_array(feed.pop(value.name), value.name))
                    model.graph.input.remove(value)
        shapes = {name: array.shape for name, array in feed.items() if isinstance(array, np.ndarray)}
        try:
            graph = import_model(model, shapes=shapes)
            before = evaluate(graph, feed)
        except CompileError:
            continue  # a case that needs its inputs at run time, or that the importer refuses
        random = any(node.op in _RANDOM for node in graph.nodes)
        names = [value.name for value in graph.outputs]
        run_passes(graph, (*simplify_passes(), *fuse_passes(integer=True)))
        verify(graph, "fused")
        assert [value.name for value in graph.outputs] == names, case.name
        for old, new in zip(before, evaluate(graph, feed)):
            if isinstance(old, np.ndarray) and old.dtype.kind in "fciub" and not random:
                assert relative_drift(old, new) <= (2e-3 if old.dtype == np.float16 else 1e-5), case.name
        done += 1
    assert done > 150


@pytest.mark.filterwarnings("ignore")
def test_half_precision_means_the_same_in_float32() -> None:
    """Types stay, integers come out the same, floats within what rounding to half precision takes away."""
    done, numbers = 0, [ELEMENT_NUMBERS[name] for name in NARROW]
    for case in cases():
        ends = (*case.model.graph.input, *case.model.graph.output)
        if not any(value.type.tensor_type.elem_type in numbers for value in ends):
            continue
        feed = arrays(case)
        try:
            graph = import_model(
                case.model, shapes={name: data.shape for name, data in feed.items() if isinstance(data, np.ndarray)}
            )
            before = evaluate(graph, feed)
        except CompileError:
            continue
        outputs = [(value.name, value.type) for value in graph.outputs]
        if any(node.op in _RANDOM for node in graph.nodes) or not WidenFloats().run(graph):
            continue
        verify(graph, "simplified")
        assert [(value.name, value.type) for value in graph.outputs] == outputs, case.name
        for old, new in zip(before, evaluate(graph, feed)):
            if isinstance(old, np.ndarray):
                assert old.dtype == new.dtype, case.name
                plain = old.dtype.kind in "fciubO"
                first, second = (data if plain else data.astype(np.float32) for data in (old, new))
                assert relative_drift(first, second) <= (1e-2 if old.dtype != np.float16 else 2e-3), case.name
        done += 1
    assert done > 50


@pytest.mark.filterwarnings("ignore")
def test_parts_mean_what_the_op_means() -> None:
    """Integers come out the same, floats within the order of sums, half precision within a unit in its last place."""
    done = 0
    targets = [find_target("cpu")]
    apart = advised(Decompose(("cpu",)), targets)
    for case in cases():
        ops = {node.op_type for node in case.model.graph.node}
        if len(case.model.graph.node) > 1 or not ops & (OPS | FUNCTIONS):
            continue
        feed = arrays(case)
        values = {name: array for name, array in feed.items() if array.ndim <= 1 and array.dtype.kind in "iu"}
        values.pop(case.model.graph.input[0].name, None)
        given = {name: array for name, array in feed.items() if name not in values}
        try:
            graph = import_model(case.model, shapes={name: array.shape for name, array in given.items()}, values=values)
        except CompileError:
            continue
        run_passes(graph, simplify_passes())
        before = evaluate(graph, given)
        if not apart.run(graph):
            continue
        verify(graph, "decomposed")
        for old, new in zip(before, evaluate(graph, given)):
            assert relative_drift(old, new) <= (1e-3 if old.dtype == np.float16 else 1e-5), case.name
        done += 1
    assert done > 100
