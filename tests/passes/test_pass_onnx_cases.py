"""The ONNX backend's own cases of one op, through the whole pipeline: nothing that they show may change."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from intarsia.errors import CompileError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.verify import verify
from intarsia.passes import fuse_passes, run_passes, simplify_passes
from intarsia.passes.instruments import relative_drift

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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("constant_inputs", [False, True])
def test_cases_of_one_op_keep_their_results(constant_inputs):
    done = 0
    for case in cases()[3::SHARES]:
        model, feed = copy.deepcopy(case.model), {}
        for value, data in zip(case.model.graph.input, case.data_sets[0][0]):
            array = numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data
            feed[value.name] = np.asarray(array) if isinstance(array, np.generic) else array
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
