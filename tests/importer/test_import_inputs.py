"""Symbolic sizes of inputs: bound to the batch, said by the caller, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx_models import model_of

from intarsia.errors import CompileError
from intarsia.importer import import_model

IMAGE = "g (float[N,3,height,width] image, float[N,7] extra) => (float[N,3,h,w] y, float[N,7] z) {{ {} }}".format(
    "y = Relu (image)  z = Relu (extra)"
)
FIXED = "g (float[1,3] x) => (float[1,3] y) { y = Relu (x) }"


def shapes_of(text: str, **options: Any) -> list[str]:
    return [str(value.type) for value in import_model(model_of(text), **options).inputs]


def test_first_axes_take_the_batch() -> None:
    sizes = {"height": 32, "width": 48}
    assert shapes_of(IMAGE, dimensions=sizes) == ["float32[1,3,32,48]", "float32[1,7]"]
    assert shapes_of(IMAGE, dimensions=sizes, batch=5) == ["float32[5,3,32,48]", "float32[5,7]"]


def test_a_symbol_means_the_same_everywhere() -> None:
    text = "g (float[N,3] x, float[2,N] state) => (y) { y = Relu (x) }"
    assert shapes_of(text, batch=4) == ["float32[4,3]", "float32[2,4]"]
    assert shapes_of(text, dimensions={"N": 6}) == ["float32[6,3]", "float32[2,6]"]


def test_shapes_say_everything() -> None:
    assert shapes_of(IMAGE, shapes={"image": (2, 3, 8, 9)}, batch=2) == ["float32[2,3,8,9]", "float32[2,7]"]


def test_a_given_shape_may_overrule_the_declared_one() -> None:
    graph = import_model(model_of(FIXED), shapes={"x": (4, 3)})
    assert str(graph.outputs[0].type) == "float32[4,3]"


def test_inputs_without_shape_may_be_given_one() -> None:
    model = model_of(FIXED)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert str(import_model(model, shapes={"x": (1, 3)}).inputs[0].type) == "float32[1,3]"


def test_minus_one_counts_as_open() -> None:
    model = model_of(FIXED)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert str(import_model(model, batch=3).inputs[0].type) == "float32[3,3]"


def test_an_input_with_a_value_is_a_constant_and_decides() -> None:
    model = model_of(
        """g (float[4] x, int64 rate) => (float[4] y) {
             fast = Greater (rate, limit)
             y = If (fast) <then_branch = t () => (float[4] a) { a = Relu (x) },
                            else_branch = e () => (float[4] b) { b = Neg (x) }>
           }""",
        limit=np.int64(8000),
    )
    graph = import_model(model, values={"rate": 16000})
    assert [value.name for value in graph.inputs] == ["x"]
    assert [node.op for node in graph.nodes] == ["Greater", "Relu", "Identity"]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (IMAGE, {}),
        (IMAGE, {"dimensions": {"height": 8}}),
        (IMAGE, {"dimensions": {"hight": 8, "width": 8}}),
        (IMAGE, {"dimensions": {"height": -8, "width": 8}}),
        (IMAGE, {"shapes": {"imgae": (1, 3, 8, 8)}}),
        (IMAGE, {"shapes": {"image": (1, 3, 8)}}),
        (IMAGE, {"batch": 0}),
        ("g (float[3,3] x) => (y) { y = Neg (x) }", {"batch": 2}),
        (FIXED, {"shapes": {"x": (1, 3, 1)}}),
        (FIXED, {"values": {"z": 1.0}}),
        (FIXED, {"values": {"x": [1.0, 2.0]}}),
        (FIXED, {"values": {"x": [["a", "b", "c"]]}}),
    ],
    ids=[
        *("open", "half", "slip", "negative", "no_such_input", "rank"),
        *("batch_0", "fixed_batch", "fixed_rank", "no_such_value", "value_shape", "value_type"),
    ],
)
def test_refused(text: str, options: dict[str, Any], golden: Callable[[str], None]) -> None:
    with pytest.raises(CompileError) as caught:
        import_model(model_of(text), **options)
    golden(str(caught.value) + "\n")
