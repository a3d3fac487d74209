"""How far each layer of a quantized model is from the float model, in decibels."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.integer import dequantize_linear

_INTEGER_FORM = re.compile(r"(?P<node>.*)_int8(_\d+)?")
"""The quantizer calls the integer form of node `conv1` `conv1_int8`."""


@dataclass(frozen=True)
class LayerNoise:
    """One value of the quantized graph beside the float value that it stands for.

    name  value of the quantized graph
    op    op that makes it
    sqnr  10 log10(sum of squares of the float value / sum of squares of the difference); inf where they are equal,
          nan where the float value is all zero
    """

    name: str
    op: str
    sqnr: float


def compare_layers(
    quantized: Graph,
    reference: Graph,
    samples: Sequence[Mapping[str, Array]],
    step: Callable[[str, int, int], None],
) -> list[LayerNoise]:
    """Evaluate both graphs on the same samples and compare every value that both have, in order of making.

    quantized  integer graph, as an artifact holds it
    reference  float graph after fusing
    samples    inputs by name
    step       called with (what, done, total)
    """
    sums = _Sums()
    for index, sample in enumerate(samples):
        step("comparing layers", index, len(samples))
        sums.by_value, sums.by_node = _float_values(reference, sample)
        evaluate(quantized, sample, observe=sums.observe)
    return [LayerNoise(name, op, _decibel(sums.signal[name], sums.noise[name])) for name, op in sums.ops.items()]


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
        real = array
        if value.quantization is not None:
            real = dequantize_linear(array, value.quantization.scale, value.quantization.zero_point)
        exact = wanted.astype(np.float64)
        self.signal[value.name] = self.signal.get(value.name, 0.0) + float(np.sum(exact**2))
        self.noise[value.name] = self.noise.get(value.name, 0.0) + float(np.sum((exact - real) ** 2))
        self.ops[value.name] = value.producer.op


def _float_values(graph: Graph, sample: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    by_value: dict[str, Array] = {}
    by_node: dict[str, Array] = {}

    def observe(value: Value, array: Array) -> None:
        if isinstance(array, np.ndarray) and array.dtype.kind == "f":
            by_value[value.name] = array
            if value.producer is not None and value is value.producer.outputs[0]:
                by_node[value.producer.name] = array

    evaluate(graph, sample, observe=observe)
    return by_value, by_node


def _counterpart(value: Value, by_value: Mapping[str, Array], by_node: Mapping[str, Array]) -> Array | None:
    if value.quantization is None:
        return by_value.get(value.name)
    match = _INTEGER_FORM.fullmatch(value.name)
    return by_value.get(value.name) if match is None else by_node.get(match["node"], by_value.get(match["node"]))


def _decibel(signal: float, noise: float) -> float:
    if not signal:
        return math.nan
    return math.inf if not noise else 10 * math.log10(signal / noise)
