"""Whether calibration data look to a model's first layers like what it was trained on.

Two things remember the training data. A BatchNormalization knows mean and deviation of what it normalised, channel by
channel. Where it was folded before the model was written, its bias remains: -mean / deviation of the products, plus a
shift of about 1. So data scaled as in training make products of the size of the bias: on ten trained networks, from
autoencoder to detector, their root mean square is 0.6 to 13 times the bias's; on raw pixels in the place of scaled
ones, 69 to 17,000 times; on pixels scaled twice, under a 50th.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.extract import extract
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.statistics import Trained

_WEIGHTED = ("Conv", "ConvTranspose", "dense", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Attention")
_MOST_LAYERS, _MOST_ANCESTORS = 4, 16
_ELEMENTS = 1 << 24
"""Layers whose outputs have more elements are not looked at."""

_BIAS_MATTERS = 0.12
"""Biases of the layers behind, as part of what weights make of inputs of size 1: half of the layers have more in
networks whose BatchNormalization was folded (0.16 to 1.2 on eight of them), fewer in those trained without. Where
biases never mattered, they tell nothing."""
_LEAST_LAYERS = 3

_TOO_LARGE, _TOO_SMALL = 50.0, 0.02
_FACTOR = 2.0**1.5
"""By which the deviations of half of the channels may differ from those of training: contrast is never the same."""
_SHIFT = 1.0
"""Root mean square of the channels' shifts, in deviations; 0.08 and 0.09 on the pictures of others."""

_BETTER = 1.25
"""In both halves of the samples the other order of colours must fit better by that, and by the next where all count."""
_MUCH_BETTER = 1.4


@dataclass
class _Sums:
    """Of one layer's products, over positions, of the samples with an even number and of those with an odd one.

    total, squares  [2, C]
    count           positions
    """

    total: Array
    squares: Array
    count: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, half: int, products: Array) -> None:
        rows = products.astype(np.float64)
        self.total[half] += rows.sum(axis=1)
        self.squares[half] += (rows**2).sum(axis=1)
        self.count[half] += rows.shape[1]

    def moments(self, halves: Sequence[int] = (0, 1)) -> tuple[Array, Array]:
        """Mean and deviation of each channel."""
        count = max(sum(self.count[half] for half in halves), 1.0)
        mean, squares = (sum(item[half] for half in halves) / count for item in (self.total, self.squares))
        return np.asarray(mean), np.sqrt(np.maximum(squares - mean**2, 0.0))


class FirstLayers:
    """The layers that read a graph's inputs, with no product before them: their products without bias and activation.

    Samples are shown to `see`; `findings` says in sentences what does not fit.
    """

    def __init__(self, graph: Graph, trained: Mapping[str, Trained], colours: Mapping[str, int]) -> None:
        """
        graph    fused, in float
        trained  what is known of training, by name of a node
        colours  inputs of three channels that may be colours, with their axis
        """
        nodes = _first_layers(graph)
        self.trained = {node.name: trained[node.name] for node in nodes if node.name in trained}
        self.bias = {node.name: _bias(node) for node in nodes}
        self.matters = _biases_matter(graph, nodes)
        self.colours = colours if self.trained else {}
        self.graph = _products(graph, nodes) if nodes else None
        self.axes = {} if self.graph is None else {node.name: _axis(node) for node in nodes}
        self.sums: dict[bool, dict[str, _Sums]] = {False: {}, True: {}}

    @property
    def can_tell(self) -> bool:
        """Whether there is anything that remembers how inputs were scaled."""
        return bool(self.trained) or (self.matters and any(bias is not None for bias in self.bias.values()))

    def see(self, number: int, sample: Mapping[str, Array]) -> None:
        """Look at one sample."""
        if self.graph is None or not self.can_tell:
            return
        self._add(False, number, sample)
        if self.colours:
            turned = {
                name: np.flip(array, self.colours[name]) for name, array in sample.items() if name in self.colours
            }
            self._add(True, number, {**sample, **turned})

    def _add(self, turned: bool, number: int, sample: Mapping[str, Array]) -> None:
        assert self.graph is not None
        read = {value.name for value in self.graph.inputs}
        sums = self.sums[turned]

        def observe(value: Value, array: Array) -> None:
            name = "" if value.producer is None else value.producer.name
            if name in self.bias and np.isfinite(array).all():
                rows = np.moveaxis(array, self.axes[name], 0).reshape(array.shape[self.axes[name]], -1)
                sums.setdefault(name, _Sums(np.zeros((2, len(rows))), np.zeros((2, len(rows))))).add(number % 2, rows)

        try:
            evaluate(self.graph, {name: array for name, array in sample.items() if name in read}, observe=observe)
        except RunError:  # calibration says so, with the sample's number
            return

    def findings(self) -> list[str]:
        """What does not fit, as the first layer that says so has it."""
        for look, sums in ((self._wrong_colours, self.sums[True]), (self._wrong_scale, self.sums[False])):
            found = next(filter(None, map(look, sums)), None)
            if found is not None:
                return [found]
        return []

    def _wrong_scale(self, name: str) -> str | None:
        mean, deviation = self.sums[False][name].moments()
        bias = self.bias[name]
        if name in self.trained:
            return self._against_training(name, mean, deviation)
        if bias is None or not self.matters:
            return None
        size = math.sqrt(float(np.mean(bias**2)))
        products = math.sqrt(float(np.mean(mean**2 + deviation**2))) / size
        spread = math.sqrt(float(np.mean(deviation**2))) / size
        if products > _TOO_LARGE:
            return (
                f"it is far larger than what the model was trained on: the products of {_cut(name)} are "
                f"{_number(products)} times as large as its bias, and were of like size in training; {_HELP}"
            )
        if spread < _TOO_SMALL:
            return (
                f"it is far smaller than what the model was trained on, or always the same: the products of "
                f"{_cut(name)} vary by {_number(spread)} of its bias, and by about as much as it in training; {_HELP}"
            )
        return None

    def _against_training(self, name: str, mean: Array, deviation: Array) -> str | None:
        shift, factor = self._fit(name, mean, deviation)
        if 1 / _FACTOR < factor < _FACTOR and shift < _SHIFT:
            return None
        return (
            f"it is not what the BatchNormalization behind {_cut(name)} saw in training: values vary "
            f"{_number(factor)} times as much, and lie {_number(shift)} deviations from where they lay; {_HELP}"
        )

    def _fit(self, name: str, mean: Array, deviation: Array) -> tuple[float, float]:
        """Root mean square of the shifts of means, in deviations; and by how much deviations are longer, the median."""
        trained, bias = self.trained[name], self.bias[name]
        alive = trained.deviation > 0.03 * np.median(trained.deviation)
        if not alive.any():
            return 0.0, 1.0
        shifted = (mean + (0.0 if bias is None else bias) - trained.mean)[alive] / trained.deviation[alive]
        return float(np.sqrt(np.mean(shifted**2))), float(np.median(deviation[alive] / trained.deviation[alive]))

    def _wrong_colours(self, name: str) -> str | None:
        if name not in self.trained or name not in self.sums[False]:
            return None

        def shift(turned: bool, halves: Sequence[int]) -> float:
            return self._fit(name, *self.sums[turned][name].moments(halves))[0]

        halves = [(shift(False, (half,)), shift(True, (half,))) for half in (0, 1)]
        given, other = shift(False, (0, 1)), shift(True, (0, 1))
        if other > _SHIFT or given < _MUCH_BETTER * other or any(one < _BETTER * two for one, two in halves):
            return None
        return (
            f"its colours may stand in the other order, BGR for RGB or the like: turned round, they fit what the "
            f"BatchNormalization behind {_cut(name)} saw in training better, "
            f"{_number(other)} deviations off in place of {_number(given)}"
        )


_HELP = "scale the inputs as in training, such as x / 255, or (x - mean) / deviation"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _cut(name: str) -> str:
    return f"'{name}'" if len(name) <= 40 else f"'{name[:37]}...'"


def _first_layers(graph: Graph) -> list[Node]:
    behind: dict[Value, int] = {value: 0 for value in graph.inputs}
    found = []
    for node in graph.nodes:
        sources = [value for value in node.inputs if value is not None and not value.is_constant]
        if not sources or not all(value in behind for value in sources):
            continue
        steps = max(behind[value] for value in sources) + 1
        if node.op in ("Conv", "dense") and node.domain == "" and _is_plain(node):
            found.append(node)
        elif node.op not in _WEIGHTED and steps <= _MOST_ANCESTORS:
            behind.update((value, steps) for value in node.outputs if value is not None)
    return found[:_MOST_LAYERS]


def _is_plain(node: Node) -> bool:
    """Whether it multiplies floats by constants, and its output is not too large."""
    made, weight = node.output, node.input(1)
    small = made.type.is_static and math.prod(made.shape) <= _ELEMENTS
    return made.dtype == "float32" and weight.is_constant and weight.dtype == "float32" and small


def _products(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """A graph of the layers without bias and activation, and of what stands before them."""
    needed: set[Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            stack += [value.producer for value in node.inputs if value is not None and value.producer is not None]
    part = extract(graph, [node for node in graph.nodes if node in needed], "first layers")
    names = {node.name for node in nodes}
    for node in part.nodes:
        if node.name in names:
            node.attributes = {key: value for key, value in node.attributes.items() if not key.startswith("activation")}
            node.set_inputs(node.inputs[:2])
    return part


def _axis(node: Node) -> int:
    return 1 if node.op == "Conv" else node.output.type.rank - 1


def _bias(node: Node) -> Array | None:
    """float64 [C]; None where there is none, or nothing but zeros."""
    data = None if len(node.inputs) < 3 or node.inputs[2] is None else node.inputs[2].data
    return None if data is None or not np.any(data) else data.astype(np.float64).reshape(-1)


def _biases_matter(graph: Graph, first: Sequence[Node]) -> bool:
    sizes = []
    for node in graph.nodes:
        if node.op not in ("Conv", "dense") or node in first or not _is_plain(node):
            continue
        weight, bias = node.input(1).data, _bias(node)
        assert weight is not None
        power = float(np.sum(weight.astype(np.float64) ** 2)) / max(node.output.shape[_axis(node)], 1)
        if power:
            sizes.append(0.0 if bias is None else math.sqrt(float(np.mean(bias**2)) / power))
    return len(sizes) >= _LEAST_LAYERS and float(np.median(sizes)) >= _BIAS_MATTERS
