"""The types of kernel expressions: what the check refuses, and that tables of functions and of their meaning agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expression_types import FUNCTIONS, MOVED, ExpressionError, dtype_of
from intarsia_backends.lowering.expressions import (
    Accumulator,
    Cast,
    Constant,
    Expression,
    Gather,
    Input,
    apply,
    equal,
    select,
)
from intarsia_backends.lowering.kernels import Nest, Scatter, nest

a, b = Input(0), Input(1)
ONE = Constant("int32", 1)

FITTING = [
    (a, ["float16"], "float16"),
    (Gather(1, a), ["int64", "bool"], "bool"),
    (Accumulator() + Cast("int32", a), ["int8"], "int32"),
    (select(a < b, a, b), ["uint8", "uint8"], "uint8"),
    (apply("to_half", apply("from_half", a)), ["float16"], "float16"),
    (apply("scaled_rint", Accumulator(), a), ["float32"], "int32"),
    (equal(a, Constant("bool", True)), ["bool"], "bool"),
    (Constant("uint64", (1 << 64) - 1), [], "uint64"),
]


@pytest.mark.parametrize(("expression", "operands", "dtype"), FITTING, ids=lambda value: str(value))
def test_types_of_expressions(expression: Expression, operands: list[str], dtype: str) -> None:
    assert dtype_of(expression, operands, "int32") == dtype


REFUSED = {
    "operand": (b + ONE, "in1: there are 1 operand alone"),
    "table": (Gather(3, ONE), r"in3\[1\]: there are 1 operand alone"),
    "place": (Gather(0, a), r"in0\[in0\]: the place is float32"),
    "accumulator": (Accumulator(), "acc: there is no accumulator here"),
    "type": (Constant("complex64", 1.0), "1:complex64: there is no type complex64"),
    "range": (Constant("int8", 128), "128:int8: it is no int8"),
    "negative": (Constant("uint8", -1), "-1:uint8: it is no uint8"),
    "cast-half": (Cast("float16", a), "there is no cast from float32 to float16"),
    "cast-bool": (Cast("bool", a), "there is no cast from float32 to bool"),
    "cast-from-bool": (Cast("int32", a < a), "there is no cast from bool to int32"),
    "name": (apply("cosine", a), "there is no function cosine"),
    "arity": (apply("add", a), r"add\(in0\): add takes 2 arguments, not 1"),
    "too-many": (apply("sqrt", a, a), "sqrt takes 1 argument, not 2"),
    "mixed": (a * ONE + ONE, r"in0 \* 1: mul takes one type throughout, not \(float32, int32\)"),
    "kind": (a & a, "bit_and is not defined for float32"),
    "whole": (apply("sqrt", ONE), "sqrt is not defined for int32"),
    "fixed": (apply("scaled_rint", a, a), r"scaled_rint takes \(int32, float32\), not \(float32, float32\)"),
    "condition": (select(a, a, a), r"select takes \(bool, T, T\), not \(float32, float32, float32\)"),
    "branches": (select(a < a, a, ONE), "select takes one type throughout"),
    "kind-of-tree": (Expression(), "is no kind of expression"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str) -> None:
    expression, words = REFUSED[case]
    with pytest.raises(ExpressionError, match=words):
        dtype_of(expression, ["float32"])


# ---- kernels

X = Access("float32", (1,))
SUM = Nest(
    kept=(4,),
    reduced=(3,),
    operands=(Access("float32", (3, 1)),),
    output=X,
    combine="add",
    initial=Constant("float32", 0.0),
    body=a,
    epilogue=Accumulator(),
)
PUT = Scatter(
    kept=(4,),
    operands=(X, Access("int32", (1,))),
    output=X,
    elements=9,
    place=b,
    body=a,
    combine="",
)


def test_a_kernel_is_told_which_expression_does_not_fit() -> None:
    with pytest.raises(ExpressionError) as caught:
        nest((4,), [X], Access("int8", (1,)), a + a)
    assert str(caught.value) == (
        "body in0 + in0 of Nest(kept=(4,), reduced=(), "
        "operands=(Access(dtype='float32', strides=(1,), offset=0),), "
        "output=Access(dtype='int8', strides=(1,), offset=0), combine='', initial=acc, body=in0 + in0, epilogue=acc): "
        "it is float32 where int8 is wanted"
    )
    assert isinstance(caught.value, AssertionError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"initial": Accumulator()}, "initial acc of Nest.*there is no accumulator"),
        ({"initial": ONE}, r"step acc \+ in0 of Nest.*one type throughout, not \(int32, float32\)"),
        ({"combine": "eq"}, "step acc == in0 of Nest.*it is bool where float32 is wanted"),
        ({"epilogue": Cast("int32", Accumulator())}, "epilogue cast<int32>.acc. of Nest.*int32 where float32"),
        ({"combine": ""}, None),
    ],
)
def test_reductions_keep_to_the_type_of_their_accumulator(change: dict[str, object], words: str | None) -> None:
    if words is None:
        replace(SUM, **change)  # type: ignore[arg-type]
        return
    with pytest.raises(ExpressionError, match=words):
        replace(SUM, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"place": a}, "place in0 of Scatter.*it is float32 where int32 is wanted"),
        ({"body": b}, "body in1 of Scatter.*it is int32 where float32 is wanted"),
        ({"combine": "and"}, r"step and\(acc, in0\) of Scatter"),
    ],
)
def test_scattered_elements_fit_the_output(change: dict[str, object], words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        replace(PUT, **change)  # type: ignore[arg-type]


# ---- the meaning of functions


def test_every_function_has_a_meaning_and_types() -> None:
    pytest.importorskip("tvm", reason="needs TVM, which makes code")
    from intarsia_backends.tir import expressions

    assert set(expressions.FUNCTIONS) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_code_of_a_function_has_the_type_that_the_table_says(name: str) -> None:
    pytest.importorskip("tvm", reason="needs TVM, which makes code")
    from tvm import tirx

    from intarsia_backends.tir.expressions import term
    from intarsia_backends.tir.functions import function, parameter
    from intarsia_backends.tir.nests import stored

    signature = FUNCTIONS[name]
    for dtype in signature.types or MOVED[:1]:
        given = [dtype if argument == "T" else argument for argument in signature.arguments]
        expression = apply(name, *map(Input, range(len(given))))
        found: list[str] = []

        def body() -> None:
            buffers = [parameter(f"x{index}", 1, stored(own)) for index, own in enumerate(given)]  # noqa: B023

            def load(index: int, further: object) -> object:
                element = buffers[index][0]
                return tirx.NE(element, tirx.const(0, "uint8")) if given[index] == "bool" else element  # noqa: B023

            found.append(str(term(expression, load).ty.dtype))  # noqa: B023

        function(body)
        wanted = dtype_of(expression, given)
        assert found == [wanted if wanted == "bool" else stored(wanted)], f"{name} of {given}"
