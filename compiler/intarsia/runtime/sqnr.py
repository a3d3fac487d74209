"""SQNR: how far each layer of a quantized model is from the float model, in decibels. NumPy and our IR alone.

The signal-to-quantization-noise ratio is the power of the signal over that of the error that quantization adds,
10 log10(sum x^2 / sum (x - q)^2), as in Oppenheim, Schafer, Discrete-Time Signal Processing, "Analysis of quantization
errors". A bit more of uniform quantization adds about 6.02 dB.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.integer import dequantize_linear
from intarsia.ir.types import Quantization

_INTEGER_FORM = re.compile(r"(?P<node>.*)_int8(_\d+)?")
"""The quantizer calls the integer form of node `conv1` `conv1_int8`."""


@dataclass(frozen=True)
class LayerNoise:
    """One value of the quantized graph beside the float value that it stands for.

    name  value of the quantized graph
    op    op that makes it
    sqnr  dB, see `sqnr_db`, over all samples
    """

    name: str
    op: str
    sqnr: float


def decibels(signal: float, noise: float) -> float:
    """A ratio of two powers (sums of squares) in dB: inf without noise, nan without signal."""
    if not signal:
        return math.nan
    return math.inf if not noise else 10 * math.log10(signal / noise)


def sqnr_db(exact: Array, quantized: Array) -> float:
    """10 log10(sum exact^2 / sum (exact - quantized)^2) in dB, summed in float64; see `decibels` for the ends.

    exact      the float values, any shape
    quantized  the real numbers that the quantized values stand for, of the same shape
    """
    signal, error = exact.astype(np.float64), exact.astype(np.float64) - quantized.astype(np.float64)
    return decibels(float(np.sum(signal**2)), float(np.sum(error**2)))


def compare_layers(
    quantized: Graph,
    reference: Graph,
    samples: Sequence[Mapping[str, Array]],
    progress: Callable[[str, int, int], None] | None = None,
    told: Callable[[list[Array]], None] | None = None,
) -> list[LayerNoise]:
    """Evaluate both graphs on the same samples and compare every value that both have, in order of making.

    quantized  integer graph, as an artifact holds it
    reference  float graph after fusing, or that of a model with scales of its own
    samples    inputs by name, of the batch that the graphs have
    progress   called with (what, done, total)
    told       called with the outputs of the float graph on each sample
    """
    sums = _Sums()
    for index, sample in enumerate(samples):
        if progress is not None:
            progress("comparing layers", index, len(samples))
        sums.by_value, sums.by_node, outputs = _float_values(reference, sample)
        if told is not None:
            told(outputs)
        evaluate(quantized, sample, observe=sums.observe)
    return [LayerNoise(name, op, decibels(sums.signal[name], sums.noise[name])) for name, op in sums.ops.items()]


class _Sums:
    """Sums of squares by name of the quantized value, over all samples so far."""

    def __init__(self) -> None:
        self.by_value: dict[str, Array] = {}
        self.by_node: dict[str, Array] = {}
        self.signal: dict[str, float] = {}
        self.noise: dict[str, float] = {}
        self.ops: dict[str, str] = {}

    def observe(self, value: Value, array: Array) -> None:
        wanted = _counterpart(value, self.by_value, self.by_node)
        if wanted is None or value.producer is None or wanted.shape != array.shape:
            return
        real = real_numbers(array, value.quantization)
        exact = (wanted if wanted.dtype.kind == "f" else real_numbers(wanted, value.quantization)).astype(np.float64)
        self.signal[value.name] = self.signal.get(value.name, 0.0) + float(np.sum(exact**2))
        self.noise[value.name] = self.noise.get(value.name, 0.0) + float(np.sum((exact - real) ** 2))
        self.ops[value.name] = value.producer.op


def real_numbers(array: Array, quantization: Quantization | None) -> Array:
    """The real numbers that an array stands for, at the scale of a value of the quantized graph; None for real ones.

    The integers of a model with scales of its own are int8 too, or uint8: then they are 128 more than ours.
    """
    if quantization is None:
        return array
    integers = (array.astype(np.int16) - 128).astype(np.int8) if array.dtype == np.uint8 else array
    return dequantize_linear(integers, quantization.scale, quantization.zero_point)


def _float_values(graph: Graph, sample: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array], list[Array]]:
    """Values by name, and by the node whose first output they are; and the graph's outputs."""
    by_value: dict[str, Array] = {}
    by_node: dict[str, Array] = {}

    def observe(value: Value, array: Any) -> None:
        if not isinstance(array, np.ndarray):
            return
        if array.dtype.kind == "f" or array.dtype in (np.int8, np.uint8):
            by_value[value.name] = array
        if array.dtype.kind == "f" and value.producer is not None and value is value.producer.outputs[0]:
            by_node[value.producer.name] = array

    return by_value, by_node, evaluate(graph, sample, observe=observe)


def _counterpart(value: Value, by_value: Mapping[str, Array], by_node: Mapping[str, Array]) -> Array | None:
    if value.quantization is None:
        found = by_value.get(value.name)
        return found if found is not None and found.dtype.kind == "f" else None
    match = _INTEGER_FORM.fullmatch(value.name)
    return by_value.get(value.name) if match is None else by_node.get(match["node"], by_value.get(match["node"]))
