"""Run side: reads the program and runs it. NumPy and the standard library only, as on a board."""

import io
import json
from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult

FUNCTIONS = {"Add": np.add, "Mul": np.multiply, "Relu": np.positive, "MatMul": np.matmul, "dense": np.matmul}


class ExampleRegion(LoadedRegion):
    def __init__(self, region: RegionFiles) -> None:
        self.region = region
        self.program, names = json.loads(region.files["program.json"])
        self.constants = {name: np.load(io.BytesIO(region.files[f"{i}.npy"])) for i, name in enumerate(names)}

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        values = self.constants | {name: array for (name, _, _), array in zip(self.region.inputs, inputs)}
        for op, names, output, relu in self.program:
            first, *others = (values[name] for name in names)
            result = FUNCTIONS[op](first, *others[:1])
            result = result + others[1] if len(others) > 1 else result  # the bias of a `dense`
            values[output] = np.maximum(result, 0) if relu else result
        return RegionResult([values[name] for name, _, _ in self.region.outputs])


class ExampleDevice(Device):
    name = "example"
    kinds = ("example",)

    def absent(self) -> None:
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        return ExampleRegion(region)
