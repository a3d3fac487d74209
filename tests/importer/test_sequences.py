"""Sequences of tensors, as exporters write Python's lists: what they mean, without the package onnx."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import assert_like_onnxruntime, model_of

from intarsia.errors import RunError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.facts import needs_onnx


@pytest.mark.parametrize(
    "line",
    [
        "y = SequenceAt (s, one)",
        "y = SequenceAt (s, last)",
        "t = SequenceInsert (s, a)  y = SequenceAt (t, last)",
        "t = SequenceInsert (s, a, one)  y = SequenceAt (t, one)",
        "t = SequenceErase (s)  y = SequenceAt (t, last)",
        "t = SequenceErase (s, one)  y = SequenceAt (t, one)",
        "y = SequenceLength (s)",
        "y = ConcatFromSequence <axis = 1> (s)",
        "y = ConcatFromSequence <axis = -1, new_axis = 1> (s)",
        "t = SplitToSequence <axis = 1> (a, sizes)  y = SequenceAt (t, last)",
        "t = SplitToSequence <axis = 1> (a, two)  y = SequenceAt (t, last)",
        "t = SplitToSequence <axis = 0, keepdims = 0> (a)  y = SequenceAt (t, one)",
        "e = SequenceEmpty ()  t = SequenceInsert (e, a)  y = SequenceAt (t, last)",
    ],
)
def test_sequences(line: str) -> None:
    model = model_of(
        f"g (float[2,5] a, float[2,5] b) => (y) {{ s = SequenceConstruct (a, b, a)  {line} }}",
        one=np.array(1),
        last=np.array(-1),
        two=np.array(2),
        sizes=np.array([2, 3]),
    )
    assert not any(needs_onnx(node) for node in assert_like_onnxruntime(model).nodes)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("y = SequenceAt (s, five)", "entry 5 of a sequence of 2"),
        ("t = SequenceErase (s, five)  y = SequenceLength (t)", "entry 5 of a sequence of 2"),
        ("e = SequenceEmpty ()  y = ConcatFromSequence <axis = 0> (e)", "the sequence is empty"),
        ("p = Add (a, a)  n = Cast <to = 7> (p)  t = SplitToSequence (a, n)  y = SequenceLength (t)", "parts of"),
    ],
)
def test_sequences_that_go_wrong(line: str, wrong: str) -> None:
    model = model_of(
        f"g (float[2] a) => (y) {{ s = SequenceConstruct (a, a)  {line} }}",
        five=np.array(5),
    )
    with pytest.raises(RunError, match=wrong):
        evaluate(import_model(model), {"a": np.ones(2, np.float32)})
