"""Einsum: a matrix product where it is one, else a nest with a loop for every letter of the equation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from operator import mul

from intarsia.ir.graph import Node
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Accumulator, Constant, Expression, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.products import Product
from intarsia_backends.lowering.ops.table import Lowering, refused, text
from intarsia_backends.lowering.views import View


@dataclass(frozen=True)
class _Equation:
    """Letters of each operand and of the output; an axis under an ellipsis is a letter "0", "1", .. from the right."""

    operands: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]


def _letters(term: str, rank: int) -> tuple[str, ...]:
    """One letter for each axis."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return (*before, *(str(hidden - 1 - index) for index in range(hidden)), *after)


def _parse(node: Node) -> _Equation:
    equation = text(node, "equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    ranks = [node.input(index).type.rank for index in range(len(node.inputs))]
    operands = tuple(_letters(term, rank) for term, rank in zip(left.split(","), ranks))
    everything = [letter for operand in operands for letter in operand]
    hidden = sorted({letter for letter in everything if letter.isdigit()}, key=int, reverse=True)
    if arrow:
        before, dots, after = right.partition("...")
        return _Equation(operands, (*before, *(hidden if dots else ()), *after))
    single = sorted(letter for letter in set(everything) if everything.count(letter) == 1 and not letter.isdigit())
    return _Equation(operands, (*hidden, *single))


def _extents(node: Node, equation: _Equation) -> dict[str, int]:
    """The size of every letter; size 1 gives way, as it does under an ellipsis."""
    sizes: dict[str, int] = {}
    for index, letters in enumerate(equation.operands):
        for letter, size in zip(letters, node.input(index).shape):
            sizes[letter] = max(sizes.get(letter, 1), size)
    return sizes


def _lower(builder: Builder, node: Node) -> None:
    equation = _parse(node)
    sizes = _extents(node, equation)
    if _lower_product(builder, node, equation, sizes):
        return
    summed = [letter for letter in sizes if letter not in equation.output]
    kept = [sizes[letter] for letter in equation.output]
    accesses, operands = [], []
    factors: list[Expression] = []
    for index, letters in enumerate(equation.operands):
        value = node.input(index)
        steps: dict[str, int] = {}
        for letter, step, size in zip(letters, row_major(value.shape), value.shape):
            steps[letter] = steps.get(letter, 0) + (step if size > 1 else 0)  # a letter twice walks the diagonal
        walk = tuple(steps.get(letter, 0) for letter in (*equation.output, *summed))
        accesses.append(Access(value.dtype, walk))
        operands.append(builder.read(value))
        factors.append(Input(index))
    body = reduce(mul, factors)
    y = Access(node.output.dtype, row_major(kept) if kept else (0,))
    if not kept:
        kept, accesses = [1], [Access(access.dtype, (0, *access.strides)) for access in accesses]
    kernel = (
        nest(
            kept,
            accesses,
            y,
            body,
            reduced=[sizes[letter] for letter in summed] or [1],
            combine="add",
            initial=Constant(node.output.dtype, 0),
        )
        if summed
        else nest(kept, accesses, y, body)
    )
    builder.call(kernel, operands, builder.result(node.output))


def _lower_product(builder: Builder, node: Node, equation: _Equation, sizes: dict[str, int]) -> bool:
    """Two operands with one letter summed are a matrix product, whose columns are the last letter of the output."""
    output, summed = equation.output, [letter for letter in sizes if letter not in equation.output]
    if len(equation.operands) != 2 or node.output.dtype != "float32" or not output or len(summed) != 1:
        return False
    column, depth = output[-1], summed[0]
    sides = sorted((0, 1), key=lambda side: column in equation.operands[side])
    x_letters, w_letters = (equation.operands[side] for side in sides)
    if column in x_letters or column not in w_letters or depth not in x_letters or depth not in w_letters:
        return False
    rows = [letter for letter in output[:-1] if letter not in w_letters]
    outer = [letter for letter in output[:-1] if letter not in rows[-1:]] + rows[-1:]
    if not rows:
        return False
    x, w = (
        _walk(builder.view(node.input(side)), letters, node.input(side).shape)
        for side, letters in zip(sides, (x_letters, w_letters))
    )
    extents = tuple(sizes[letter] for letter in (*outer, column))
    x_walk = tuple(x[1].get(letter, 0) for letter in (*outer, depth))
    w_walk = tuple(w[1].get(letter, 0) for letter in (*outer[:-1], depth, column))
    axes = tuple((*outer, column).index(letter) for letter in output)
    product = Product(
        builder=builder,
        extents=extents,
        depth=sizes[depth],
        products="float32",
        x=replace(x[0], strides=x_walk),
        w=replace(w[0], strides=w_walk),
        bias=None,
        axes=axes,
    )
    product.defer(node.output, Accumulator())
    return True


def _walk(view: View, letters: tuple[str, ...], shape: tuple[int, ...]) -> tuple[View, dict[str, int]]:
    """A view and its steps for every letter; a letter twice walks the diagonal."""
    steps: dict[str, int] = {}
    for letter, step, size in zip(letters, view.strides, shape):
        steps[letter] = steps.get(letter, 0) + (step if size > 1 else 0)
    return view, steps


def _check(node: Node) -> Support:
    equation = _parse(node)
    if len(equation.operands) != len(node.inputs) or len(set(equation.output)) != len(equation.output):
        return refused("equation", f"equation {text(node, 'equation', '')!r}")
    return YES


LOWERINGS = {"Einsum": Lowering(_lower, dtypes=("float32", "float64", "int32", "int64"), check=_check)}
