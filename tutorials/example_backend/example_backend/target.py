"""Build side: which nodes the example takes, and a region of them as a program for its device."""

import io
import json

import numpy as np

from intarsia.ir.graph import Graph, Node
from intarsia.targets import YES, Blob, Support, Target, no

OPS = ("Add", "Mul", "Relu", "MatMul", "dense")  # `dense` is MatMul with a constant weight and a bias


class ExampleTarget(Target):
    name = "example"
    description = "a tutorial: sums and products, float32, run by NumPy"
    host = "cpu"  # takes what `supports` refuses
    precisions = ("float32",)

    def supports(self, node: Node) -> Support:
        if node.domain or node.op not in OPS:
            return no("operator", f"{node.op}; taken: {', '.join(OPS)}", "nothing needs to change, the CPU takes it")
        if node.output.dtype != "float32":
            return no("element-type", f"{node.output.dtype}; taken: float32", "nothing needs to change")
        if node.attributes.get("activation", "Relu") != "Relu":  # passes move activations into the op before
            return no("activation", f"{node.attributes['activation']}; taken: Relu", "use Relu")
        return YES

    def compile(self, region: Graph) -> Blob:
        program, constants = [], {}
        for node in region.nodes:
            inputs = [value for value in node.inputs if value is not None]
            constants.update({value.name: value.data for value in inputs if value.data is not None})
            relu = node.op == "Relu" or "activation" in node.attributes
            program.append([node.op, [value.name for value in inputs], node.output.name, relu])
        files = {"program.json": json.dumps([program, list(constants)]).encode()}
        for index, data in enumerate(constants.values()):
            np.save(file := io.BytesIO(), data)
            files[f"{index}.npy"] = file.getvalue()
        return Blob("example", files)  # "example": the kind of device that runs it
