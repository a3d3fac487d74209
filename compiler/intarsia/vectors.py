"""Test vectors: inputs for an artifact's self test, and how exactly its outputs must repeat."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from intarsia.dtypes import FLOATING, NARROW, Array, dtype_name, numpy_dtype
from intarsia.errors import CompileError, RunError
from intarsia.ir.budget import Budget, OverBudget, raising, spending
from intarsia.ir.evaluate import evaluate
from intarsia.ir.facts import is_narrowing, is_random
from intarsia.ir.graph import Graph, Value
from intarsia.ir.ops import INTEGER_OPS

FLOAT_TOLERANCE = 1e-4
"""Of the largest magnitude of an output: what compiled float code may differ from NumPy by, through another order of
sums. Integer graphs have no tolerance."""

NARROW_TOLERANCE = 5e-3
"""The same where something is rounded to float16 or bfloat16: a sum that comes out in another order may round to the
neighbour, 1e-3 or 4e-3 away, and float16 adds up along a network."""


class Vector(NamedTuple):
    """A test vector: an array for each input and output of the model, in order.

    tolerance  absolute, of every output; 0 for equal bytes
    """

    inputs: Sequence[Array]
    outputs: Sequence[Array]
    tolerance: float


def why_none(graph: Graph) -> str | None:
    """Why no test vector can be made for a graph; None where it can."""
    for value in (*graph.inputs, *graph.outputs):
        if "(" in value.dtype:
            return f"'{value.name}' is {value.dtype}, not a tensor"
    for node in graph.nodes:
        if is_random(node) and "seed" not in node.attributes:
            return f"{node.where} gives other numbers every time"
    return None


def make_vectors(
    graph: Graph, samples: Iterable[Mapping[str, Array]] | None, count: int, budget: Budget | None = None
) -> tuple[list[Vector], str | None]:
    """Inputs and the outputs that `evaluate` gives for them; and why there are fewer, or none.

    samples  real inputs to take first, as for `pick_inputs`
    budget   for evaluating, all vectors together; None for no limit
    """
    reason = why_none(graph)
    if reason is not None:
        return [], reason
    vectors: list[Vector] = []
    for inputs in pick_inputs(graph, samples, count):
        try:
            with spending(budget):
                outputs = evaluate(graph, inputs)
        except OverBudget as error:
            return vectors, f"{error.where}: {error.what}; to raise it, {raising(error.limit)}"
        except (CompileError, RunError) as error:  # made-up shapes, axes or indices need not fit
            return [], f"no inputs are known that the model runs on: {error.where}: {error.what}"
        tolerance = tolerance_of(graph, outputs)
        vectors.append(Vector([inputs[value.name] for value in graph.inputs], outputs, tolerance))
    return vectors, None


def pick_inputs(graph: Graph, samples: Iterable[Mapping[str, Array]] | None, count: int) -> list[dict[str, Array]]:
    """Inputs for `count` runs of a graph, by name.

    samples  real ones to take first; None for none. What is missing is pseudo-random and the same on every machine.
    """
    picked = [
        {value.name: np.asarray(sample[value.name]) for value in graph.inputs}
        for sample in islice(samples or (), count)
    ]
    while len(picked) < count:
        picked.append({value.name: _random(value, len(picked)) for value in graph.inputs})
    return picked


def _random(value: Value, run: int) -> Array:
    """Floats from a normal distribution, integers 0 or 1 (they may be indexes), int8 and uint8 over their range.

    Strings are digits.
    """
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(value.name.encode()) + run))
    dtype = numpy_dtype(value.dtype)
    if value.dtype in FLOATING:
        return np.asarray(generator.standard_normal(value.shape).astype(dtype))
    if value.dtype in ("int8", "uint8"):
        limits = np.iinfo(dtype)
        return np.asarray(generator.integers(limits.min, limits.max + 1, value.shape).astype(dtype))
    numbers = generator.integers(0, 2, value.shape)
    return np.asarray(numbers.astype(np.str_ if value.dtype == "string" else dtype), dtype)


def tolerance_of(graph: Graph, outputs: list[Array]) -> float:
    """Absolute tolerance of a graph's outputs: 0 where only integer ops and moves of integers make them.

    A Cast between float32 and the float16 or bfloat16 of a caller gives the same bits everywhere.
    """
    nodes = [node for node in graph.nodes if node.op not in INTEGER_OPS]
    made = [value for node in nodes for value in node.outputs if value is not None and value.dtype in FLOATING]
    if all(value.producer is not None and is_narrowing(value.producer) for value in made):
        return 0.0
    floats = [output for output in outputs if dtype_name(output.dtype) in FLOATING and output.size]
    finite = [float(np.abs(output[np.isfinite(output)]).max(initial=0.0)) for output in floats]
    share = NARROW_TOLERANCE if any(value.dtype in NARROW for value in made) else FLOAT_TOLERANCE
    return share * max(finite, default=0.0)
