"""Kernel expressions: their text, their equality, and what walking and substitution do."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import (
    Accumulator,
    Apply,
    Cast,
    Constant,
    Expression,
    Gather,
    Input,
    apply,
    equal,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    select,
)
from intarsia_backends.lowering.fusion import stored_number
from intarsia_backends.lowering.kernels import Nest, Recurrent, nest
from intarsia_backends.lowering.requantize import requantized

a, b, c = Input(0), Input(1), Input(2)


def int32(number: int) -> Expression:
    return Constant("int32", number)


# ---- text


def test_expressions_print_in_short(golden: Callable[[str], None]) -> None:
    zero = Constant("float32", 0.0)
    examples = [
        maximum(Cast("int32", a) - int32(5), int32(0)),
        (a + b) + c,
        a + (b + c),
        a - (b - c) * (a + b),
        a / b * c / (a * b),
        (a & int32(255)) | (b << int32(16)) ^ ~c,
        a >> (b >> c),
        select(logical_or(a < zero, logical_not(a >= b)), Gather(0, b * int32(4) + c), zero),
        logical_and(equal(a, b), equal(a < b, c)),
        minimum(Accumulator(), Constant("float32", math.inf)),
        apply("hard_sigmoid", a, Constant("float32", 0.2), Constant("float32", 0.5)),
        Constant("float32", -0.0) + Constant("float32", math.nan) + Constant("float32", -math.inf),
        Constant("int64", 7) * Constant("float64", 1e30) - Constant("uint8", 7),
        select(Constant("bool", 1), Constant("bool", 0), a),
        apply("neg", int32(-3)),
        requantized(Accumulator(), a, "float32", -5, -128, 120, centred=False),
        requantized(Accumulator(), a, "float64", -5, -128, 120, centred=True),
    ]
    golden("\n".join(map(str, examples)) + "\n")


def test_kernels_print_with_their_expressions(golden: Callable[[str], None]) -> None:
    rows = Access("float32", (4, 1))
    total = nest((3,), [rows], Access("float32", (1,)), a * a, reduced=(4,), combine="add", initial=a, epilogue=_root())
    steps = Recurrent(
        op="RNN",
        steps=2,
        batch=1,
        hidden=4,
        functions=(apply("tanh", Accumulator()), Accumulator() * Constant("float32", 2.0)),
        clip=0.0,
        linear=False,
        coupled=False,
        peepholes=False,
        backwards=False,
        lengths=False,
        y=rows,
        elements=8,
    )
    golden(f"{total}\n{steps}\n")


def _root() -> Expression:
    return apply("sqrt", Accumulator())


_NUMBERS = st.one_of(
    st.builds(int32, st.integers(-(1 << 31), (1 << 31) - 1)),
    st.builds(Constant, st.sampled_from(["int8", "uint64"]), st.integers(0, 127)),
    st.builds(Constant, st.sampled_from(["float32", "float64", "float16"]), st.floats(allow_nan=False)),
    st.builds(Constant, st.just("bool"), st.booleans()),
)
_LEAVES = st.one_of(st.builds(Input, st.integers(0, 3)), st.just(Accumulator()), _NUMBERS)
_TWO = ("add", "sub", "mul", "div", "lt", "le", "gt", "ge", "eq", "bit_and", "bit_or", "bit_xor", "shift_left")
_BINARY = (*_TWO, "shift_right", "max", "floor_at", "and", "or")
_UNARY = ("neg", "bit_not", "not", "sqrt", "is_nan")


def _nodes(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.one_of(
        st.builds(Gather, st.integers(0, 3), parts),
        st.builds(Cast, st.sampled_from(["int8", "float64"]), parts),
        st.builds(apply, st.sampled_from(_UNARY), parts),
        st.builds(apply, st.sampled_from(_BINARY), parts, parts),
        st.builds(select, parts, parts, parts),
    )


_ANY_EXPRESSION = st.recursive(_LEAVES, _nodes, max_leaves=12)

_SIGNS = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.BitAnd: "bit_and",
    ast.BitOr: "bit_or",
    ast.BitXor: "bit_xor",
    ast.LShift: "shift_left",
    ast.RShift: "shift_right",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
}


def _read(text: str) -> Expression:
    """An expression from its text, by Python's own rules of what binds tighter."""
    python = re.sub(r"cast<(\w+)>\(", r"cast_\1(", text)
    python = re.sub(r"(-?[\w.+-]+):(\w+)", r"number_\2(\1)", python)
    python = re.sub(r"\b(and|or|not)\(", r"\1_(", python)
    return _read_node(ast.parse(python, mode="eval").body)


def _read_node(node: ast.expr) -> Expression:
    match node:
        case ast.BinOp(left, sign, right) | ast.Compare(left, [sign], [right]):
            return apply(_SIGNS[type(sign)], _read_node(left), _read_node(right))
        case ast.Subscript(ast.Name(name), place):
            return Gather(int(name[2:]), _read_node(place))
        case ast.Call(ast.Name(name), [number]) if name.startswith("number_"):
            return Constant(name.removeprefix("number_"), _read_number(number))
        case ast.Call(ast.Name(name), [value]) if name.startswith("cast_"):
            return Cast(name.removeprefix("cast_"), _read_node(value))
        case ast.Call(ast.Name(name), arguments):
            return apply(name.rstrip("_"), *map(_read_node, arguments))
        case ast.Name("acc"):
            return Accumulator()
        case ast.Name(name) if name.startswith("in") and name != "inf":
            return Input(int(name[2:]))
    found = _read_number(node)
    return Constant({bool: "bool", int: "int32", float: "float32"}[type(found)], found)


def _read_number(node: ast.expr) -> float:
    match node:
        case ast.UnaryOp(ast.USub(), operand):
            return -_read_number(operand)
        case ast.Name(name):
            return {"inf": math.inf, "true": True, "false": False}[name]
        case ast.Constant(int() | float() as value):
            return value
    raise AssertionError(ast.dump(node))


@given(_ANY_EXPRESSION)
def test_text_tells_all(expression: Expression) -> None:
    assert _read(str(expression)) == expression


# ---- equality


def test_equal_trees_are_equal_and_hash_alike() -> None:
    one, other = (maximum(Cast("int32", a) * int32(3), Gather(1, b)) for _ in range(2))
    assert one == other and hash(one) == hash(other) and one is not other
    assert len({one, other, one + int32(0), minimum(a, b), a, Gather(0, a), Accumulator(), Accumulator()}) == 6


def test_constants_are_equal_where_their_code_is() -> None:
    assert Constant("float32", 0.0) != Constant("float32", -0.0)
    assert Constant("float32", math.nan) == Constant("float32", float("nan"))
    assert hash(Constant("float32", math.nan)) == hash(Constant("float32", float("nan")))
    assert Constant("float32", math.inf) != Constant("float32", -math.inf)
    assert Constant("float32", 1) == Constant("float32", 1.0) != Constant("float64", 1.0)
    assert Constant("int32", 1) == Constant("int32", 1.0) != Constant("float32", 1.0)
    assert Constant("bool", 1) == Constant("bool", True) != Constant("uint8", 1)
    assert repr(Constant("int64", 2.0)) == "Constant(dtype='int64', value=2)"
    with pytest.raises(AssertionError, match="is no int32"):
        Constant("int32", 0.5)


def test_kernels_whose_zeros_have_other_signs_are_two() -> None:
    access = Access("float32", (1,))
    made = {nest((4,), [access], access, a * Constant("float32", zero)) for zero in (0.0, -0.0, 0, 0.0)}
    assert len(made) == 2


def test_an_expression_is_neither_true_nor_false() -> None:
    with pytest.raises(TypeError, match="whether in1 > in0 holds"):
        max(a, b)


# ---- walking and substitution


def test_what_an_expression_reads() -> None:
    expression = Gather(3, Cast("int32", b)) + b
    assert expression.operands == {1, 3} and expression.size == 5
    assert list(map(str, expression.walk())) == ["in3[cast<int32>(in1)] + in1", "in3[cast<int32>(in1)]",
                                                 "cast<int32>(in1)", "in1", "in1"]  # fmt: skip
    assert expression.gathers and not expression.accumulates
    assert (b + Accumulator()).accumulates and not (b + Accumulator()).gathers


def test_a_table_gives_way_to_an_operand_alone() -> None:
    expression = Gather(0, b)
    assert expression.substituted({0: Input(4), 1: a * a}) == Gather(4, a * a)
    with pytest.raises(AssertionError, match="operand 0 of in0"):
        expression.substituted({0: a * a, 1: b})


_COUNTED = ("add", "sub", "mul", "max", "min")


def _whole_nodes(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    chosen = st.builds(lambda a, b, c, d: select(a < b, c, d), parts, parts, parts, parts)
    return st.one_of(st.builds(apply, st.sampled_from(_COUNTED), parts, parts), chosen)


_WHOLE = st.recursive(
    st.one_of(st.builds(Input, st.integers(0, 2)), st.just(Accumulator()), st.builds(int32, st.integers(-9, 9))),
    _whole_nodes,
    max_leaves=10,
)


def _value(expression: Expression, inputs: Sequence[int], accumulator: int) -> int:
    match expression:
        case Input(operand):
            return inputs[operand]
        case Accumulator():
            return accumulator
        case Constant(_, value):
            return int(value)
        case Apply(name, arguments):
            values = [_value(argument, inputs, accumulator) for argument in arguments]
            if name == "select":
                return values[1] if values[0] else values[2]
            first, second = values
            meaning = {"add": first + second, "sub": first - second, "mul": first * second, "lt": first < second}
            return int({**meaning, "max": max(values), "min": min(values)}[name])
    raise AssertionError(expression)


@given(_WHOLE, st.lists(_WHOLE, min_size=3, max_size=3), st.lists(st.integers(-9, 9), min_size=3, max_size=3))
def test_substitution_is_evaluation(body: Expression, others: list[Expression], inputs: list[int]) -> None:
    replaced = body.substituted(dict(enumerate(others)))
    assert _value(replaced, inputs, 4) == _value(body, [_value(other, inputs, 4) for other in others], 4)
    reads = [part.operand for part in body.walk() if isinstance(part, Input)]
    assert replaced.size == body.size + sum(others[operand].size - 1 for operand in reads)


@given(_ANY_EXPRESSION, st.integers(0, 5), st.integers(0, 5))
def test_shifts_of_operands_add_up(expression: Expression, one: int, other: int) -> None:
    assert expression.shifted(0) == expression
    assert expression.shifted(one).shifted(other) == expression.shifted(one + other)
    assert expression.shifted(one).operands == {operand + one for operand in expression.operands}
    assert expression.shifted(one).size == expression.size


@pytest.mark.parametrize("form", ["float32", "float64", "int32", "half_up"])
def test_numbers_of_eight_bits_are_stored_without_a_way_through_them(form: str) -> None:
    factor = int32(3) if form in ("int32", "half_up") else Constant(form, 0.125)
    ended = requantized(Accumulator(), factor, form, -5, -128, 120, centred=False)
    assert stored_number(ended, -5) == requantized(Accumulator(), factor, form, -5, -128, 120, centred=True)
    assert str(stored_number(a, 7)) == "cast<int16>(cast<int32>(in0) - 7)"


def test_a_nest_says_what_one_step_does() -> None:
    kernel = Nest(
        kept=(4,),
        reduced=(3,),
        operands=(Access("int8", (3, 1)),),
        output=Access("int8", (1,)),
        combine="add",
        initial=int32(0),
        body=Cast("int32", a),
        epilogue=Cast("int8", Accumulator()),
    )
    assert str(kernel.step) == "acc + cast<int32>(in0)" and kernel.accumulator_dtype == "int32"
