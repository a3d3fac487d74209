"""Test vectors: inputs for an artifact's self test, and how exactly its outputs must repeat."""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from intarsia.dtypes import FLOATING, NARROW, Array, dtype_name, numpy_dtype
from intarsia.errors import CompileError, RunError, either, warn
from intarsia.ir.budget import Budget, OverBudget, raising, spending
from intarsia.ir.evaluate import evaluate
from intarsia.ir.facts import is_compute, is_conversion, is_narrowing, is_random, keeps_scale
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.ops import INTEGER_OPS
from intarsia.ir.readers import readers

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
    graph: Graph,
    samples: Iterable[Mapping[str, Array]] | None,
    count: int,
    budget: Budget | None = None,
    products: str = "float32",
) -> tuple[list[Vector], str | None]:
    """Inputs and the outputs that `evaluate` gives for them; and why there are fewer, or none.

    samples  real inputs to take first, as for `pick_inputs`
    budget   for evaluating, all vectors together; None for no limit
    products the type that operands of products of floats are rounded to; see `tolerance_of`. Of float16, an
             IntarsiaWarning tells of a value that is too large for it
    """
    reason = why_none(graph)
    if reason is not None:
        return [], reason
    vectors: list[Vector] = []
    beyond = _BeyondHalf()
    for inputs in pick_inputs(graph, samples, count):
        try:
            with spending(budget):
                outputs = evaluate(graph, inputs, observe=beyond.look if products == "float16" else None)
        except OverBudget as error:
            return vectors, f"{error.where}: {error.what}; to raise it, {raising(error.limit, kept=True)}"
        except (CompileError, RunError) as error:  # made-up shapes, axes or indices need not fit
            return [], f"no inputs are known that the model runs on: {error.where}: {error.what}"
        tolerance = tolerance_of(graph, outputs, inputs, products)
        vectors.append(Vector([inputs[value.name] for value in graph.inputs], outputs, tolerance))
    beyond.tell()
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


def tolerance_of(
    graph: Graph, outputs: list[Array], inputs: Mapping[str, Array] | None = None, products: str = "float32"
) -> float:
    """Absolute tolerance of a graph's outputs: 0 where only integer ops and moves of integers make them.

    inputs    that the outputs were made of; without them roundings in the middle of the graph are not looked at
    products  float16 or bfloat16 where operands of products are rounded to that, whatever the graph says

    Where nothing is rounded behind a float it is FLOAT_TOLERANCE (or NARROW_TOLERANCE) of the largest magnitude. Floats
    differ in their last digits, and one that lies on the edge of two steps may be rounded to the other. So one step of
    the outputs is added: the scale of the integers that one is dequantized from, 1 for integers. And where rounding
    goes on to other ops, it is at least FLIPS times what outputs change by when every float that is rounded moves by
    FLOAT_TOLERANCE of its largest magnitude, up in one half of its elements and down in the other. In a network of more
    than DEEP float16 or bfloat16 values each of them moves so too, by half of its last digit; and all floats do where
    products are made of such.

    A Cast between float32 and the float16 or bfloat16 of a caller gives the same bits everywhere.
    """
    nodes = [node for node in graph.nodes if node.op not in INTEGER_OPS]
    made = [value for node in nodes for value in node.outputs if value is not None and value.dtype in FLOATING]
    if all(value.producer is not None and is_narrowing(value.producer) for value in made):
        return 0.0
    share = NARROW_TOLERANCE if any(value.dtype in NARROW for value in made) else FLOAT_TOLERANCE
    tolerance = share * _largest(outputs)
    rounded = rounded_floats(graph)
    tolerance += max((output_step(value, rounded) for value in graph.outputs), default=0.0)
    deep = sum(value.dtype in NARROW for value in made) > DEEP
    rounding = _HALF_DIGITS.get(products, 0.0)
    if inputs is None or (not deep and not rounding and all(_ends_there(value) for value in rounded)):
        return tolerance
    return max(tolerance, FLIPS * _swing(graph, inputs, outputs, rounded, rounding))


def _largest(outputs: Sequence[Array]) -> float:
    """The largest finite magnitude of outputs that are floats."""
    floats = [output for output in outputs if dtype_name(output.dtype) in FLOATING and output.size]
    return max(map(_magnitude, floats), default=0.0)


def _magnitude(array: Array) -> float:
    """The largest finite magnitude."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


_HALF_MOST, _HALF_LEAST = float(np.finfo(np.float16).max), float(np.finfo(np.float16).tiny)
"""What float16 holds with all of its digits."""


class _BeyondHalf:
    """Watches the values of an evaluation, in order, for the first that float16 cannot hold, and the first of which it
    holds few digits or none, on behalf of targets that hold numbers so.

    large, small  name and largest magnitude of each; None where there is none
    """

    def __init__(self) -> None:
        self.large: tuple[str, float] | None = None
        self.small: tuple[str, float] | None = None

    def look(self, value: Value, array: Array) -> None:
        """Look at one value. Infinities are no finding: float16 has them too."""
        if array.dtype == np.float32 and array.size and None in (self.large, self.small):
            largest = _magnitude(array)
            if self.large is None and largest > _HALF_MOST:
                self.large = value.name, largest
            if self.small is None and 0 < largest < _HALF_LEAST:
                self.small = value.name, largest

    def tell(self) -> None:
        """Warn of them."""
        has_none = f"{either('--precision float32', 'precision=' + repr('float32'))} has no such limit"
        if self.large is not None:
            name, largest = self.large
            warn(
                f"'{name}' reaches {largest:.3g} on inputs of a test vector, and float16 holds up to {_HALF_MOST:.0f}; "
                f"where it goes through memory it becomes infinite; {has_none}"
            )
        if self.small is not None:
            name, largest = self.small
            warn(
                f"'{name}' reaches only {largest:.3g} on inputs of a test vector, and float16 has its 11 digits from "
                f"{_HALF_LEAST:.2g} on and nothing below 6e-8; where it goes through memory digits are lost; {has_none}"
            )


# ---- floats that are rounded

FLIPS = 4.0
"""Not every float moves by as much as is tried, but some may go another way than is tried, and their effects add up."""

DEEP = 10

_HALF_DIGITS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}

_ROUNDING = ("Round", "Floor", "Ceil", "Sign")


def inexact_values(graph: Graph) -> set[Value]:
    """Values whose last digits depend on the order of sums, or on who computes an exponential."""
    inexact: set[Value] = set()
    for node in graph.nodes:
        moves = node.op in _EXACT or keeps_scale(node) or not is_compute(node)
        floats = any(value is not None and value.dtype in FLOATING for value in node.outputs)
        behind = any(value in inexact for value in node.inputs if value is not None)
        if behind or (floats and not moves and node.op not in INTEGER_OPS):
            inexact.update(value for value in node.outputs if value is not None)
    return inexact


_EXACT = (
    "QuantizeLinear",
    "DequantizeLinear",
    "Relu",
    "Clip",
    "Max",
    "Min",
    "MaxPool",
    "Where",
    "Constant",
    *_ROUNDING,
)


def rounded_floats(graph: Graph) -> set[Value]:
    """Inexact floats of which a node makes whole numbers, truth values or places."""
    inexact, found = inexact_values(graph), set[Value]()
    for node in graph.nodes:
        whole = node.op in _ROUNDING or any(v is not None and v.dtype not in FLOATING for v in node.outputs)
        if whole:
            read = (value for value in node.inputs if value is not None)
            found.update(value for value in read if value in inexact and value.dtype in FLOATING)
    return found


def output_step(value: Value, rounded: Container[Value]) -> float:
    """How far an output lies from its neighbours, where it moves or dequantizes what is rounded; else 0."""
    node = value.producer
    while node is not None and (keeps_scale(node) or node.op in ("Cast", "Reshape", "Relu", "Clip")):
        node = next((item.producer for item in node.inputs if item is not None), None)
    if node is None:
        return 0.0
    if node.op in ("DequantizeLinear", "dequantize"):
        if node.op == "dequantize":
            scale = float(node.attributes["scale"])
        else:
            data = node.input(1).data
            scale = 0.0 if data is None or not data.size else float(np.abs(data.astype(np.float64)).max())
        source = node.input(0).producer
        return scale if source is not None and _is_behind(source, rounded) else 0.0
    whole = node.op in ("QuantizeLinear", "quantize", *_ROUNDING)
    return 1.0 if whole and _is_behind(node, rounded) else 0.0


def _is_behind(node: Node, rounded: Container[Value]) -> bool:
    """Whether something that is rounded reaches a node."""
    seen, waiting = set[Node](), [node]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for value in current.inputs:
            if value is not None:
                if value in rounded:
                    return True
                if value.producer is not None:
                    waiting.append(value.producer)
    return False


def _ends_there(value: Value) -> bool:
    """Whether what is made of a rounded float is dequantized and moved alone, on its way to the outputs."""
    return all(_passes_on(user) for user, _ in readers(value, _passes_on))


def _passes_on(node: Node) -> bool:
    return is_conversion(node) or node.op in ("Relu", "Clip") or keeps_scale(node)


def _swing(
    graph: Graph, inputs: Mapping[str, Array], outputs: list[Array], rounded: Container[Value], rounding: float
) -> float:
    """The largest change of any output where the floats that are rounded move, and others by a share of themselves."""
    generator = np.random.Generator(np.random.PCG64(len(graph.nodes)))

    def moved(value: Value, array: Array) -> Array:
        digits = max(_HALF_DIGITS.get(value.dtype, 0.0), rounding if value.dtype in FLOATING else 0.0)
        if not (digits or value in rounded) or not isinstance(array, np.ndarray):
            return array
        signs, wide = generator.integers(0, 2, array.shape) * 2.0 - 1.0, array.astype(np.float64)
        with np.errstate(all="ignore"):
            far = np.abs(wide) * digits if digits else FLOAT_TOLERANCE * _magnitude(wide)
            return np.asarray(wide + signs * far).astype(array.dtype)

    try:
        found = evaluate(graph, inputs, change=moved)
    except (CompileError, RunError):  # an index that no longer fits
        return 0.0
    worst = 0.0
    for one, other in zip(outputs, found):
        if isinstance(one, np.ndarray) and one.shape == other.shape and one.dtype.kind in "fiubV" and one.size:
            with np.errstate(all="ignore"):
                difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
            worst = max(worst, _magnitude(difference))
    return worst
