"""Many small layers in one region, so that the cost of a compile is paid once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array, dtype_name
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import TensorType
from intarsia.runtime.device import RegionFiles, RegionResult
from intarsia.targets import Blob


def region_files(graph: Graph, blob: Blob) -> RegionFiles:
    """What the runtime would hand to the device."""

    def facts(values: Sequence[Value]) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        return tuple((value.name, value.dtype, value.shape) for value in values)

    return RegionFiles(
        graph.name, blob.device, facts(graph.inputs), facts(graph.outputs), blob.files, blob.metadata, blob.layers
    )


class SideBySide:
    """Independent nodes side by side in one graph, each with the outputs that its NumPy meaning gives."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = Graph("layers")
        self.inputs: list[Array] = []
        self.expected: list[tuple[Node, Array]] = []
        self.random = np.random.default_rng(seed)

    def floats(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(np.float32)

    def bytes(self, *shape: int) -> Array:
        return self.random.integers(-128, 128, shape).astype(np.int8)

    def add(
        self,
        op: str,
        inputs: Sequence[Array | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        constants: Sequence[int] = (),
        outputs: int = 1,
        opset: int = 18,
    ) -> Node:
        """Add a node. Inputs whose index is in `constants` are known at compile time."""
        values: list[Value | None] = []
        for index, data in enumerate(inputs):
            name = f"v{len(self.graph.nodes)}_{index}"
            if data is None:
                values.append(None)
            elif index in constants:
                values.append(self.graph.add_constant(name, data))
            else:
                values.append(self.graph.add_input(name, TensorType(dtype_name(data.dtype), data.shape)))
                self.inputs.append(np.asarray(data))
        probe = Node(op, "probe", (), attributes or {}, opset, "")
        probe.outputs = [None] * outputs
        results = self._evaluated(op, values, inputs, attributes or {}, outputs, opset)
        types = [TensorType(dtype_name(result.dtype), result.shape) for result in results]
        node = self.graph.add_node(op, values, types, attributes, opset=opset if op[0].isupper() else 0)
        for value, result in zip(node.outputs, results):
            assert value is not None
            self.graph.outputs.append(value)
            self.expected.append((node, result))
        return node

    def _evaluated(
        self,
        op: str,
        values: Sequence[Value | None],
        inputs: Sequence[Array | None],
        attributes: Mapping[str, Any],
        outputs: int,
        opset: int,
    ) -> list[Array]:
        probe = Graph("probe")
        held = [
            None
            if data is None
            else probe.add_constant(f"i{index}", data)
            if value is not None and value.is_constant
            else probe.add_input(f"i{index}", TensorType(dtype_name(data.dtype), data.shape))
            for index, (data, value) in enumerate(zip(inputs, values))
        ]
        unknown = [TensorType("float32", None)] * outputs
        node = probe.add_node(op, held, unknown, attributes, opset=opset if op[0].isupper() else 0)
        return evaluate_node(node, list(inputs))[:outputs]

    def run(self, target: Any = None) -> RegionResult:
        """Run the graph on the inputs, by code of the target, or of a backend's own where None is given."""
        raise NotImplementedError

    def check(self, *, exact: bool = False, tolerance: float = 1e-4, target: Any = None) -> None:
        """Run all layers and compare: byte for byte, or within `tolerance` of each output's range."""
        assert self.expected, "no layers"
        result = self.run(target)
        wrong = []
        for (node, expected), actual in zip(self.expected, result.outputs):
            assert actual.dtype == expected.dtype and actual.shape == expected.shape, node.where
            if exact or expected.dtype.kind != "f":
                good = np.array_equal(actual, expected, equal_nan=expected.dtype.kind == "f")
            else:
                finite = expected[np.isfinite(expected)]
                span = max(1e-3, float(np.abs(finite).max(initial=0)))
                good = np.allclose(actual, expected, rtol=0, atol=tolerance * span, equal_nan=True)
            if not good:
                facts = {key: value for key, value in node.attributes.items()}
                shapes = [value.type if value else None for value in node.inputs]
                wrong.append(f"{node.where} {[str(shape) for shape in shapes]} {facts}\n{actual}\n{expected}")
        assert not wrong, "\n".join([f"{len(wrong)} layers differ", *wrong[:4]])
