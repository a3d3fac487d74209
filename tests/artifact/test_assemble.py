"""What a compilation made, put together: entries of the manifest and the files that they name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artifact_examples import random_array, small_graph
from intarsia.artifact.assemble import Compilation, CompiledRegion, assemble
from intarsia.artifact.parts import EVALUATOR, WHOLE_GRAPH, graph_files
from intarsia.ir.evaluate import evaluate
from intarsia.runtime.session import load


def compilation() -> Compilation:
    graph = small_graph()
    feed = {"image": random_array(np.random.default_rng(0), graph.inputs[0])}
    return Compilation(
        model="small",
        target="cpu",
        precision="int8",
        batch=1,
        graph=graph,
        outputs=["logits"],
        regions=[
            CompiledRegion("0_all", EVALUATOR, graph, graph_files(graph), {"needs_onnx": []}, [{"name": "hidden"}])
        ],
        placements=[{"name": node.name, "op": node.op, "place": EVALUATOR} for node in graph.nodes],
        vectors=[(list(feed.values()), evaluate(graph, feed), 0.0), (list(feed.values()), evaluate(graph, feed), 0.5)],
        notes=[("hidden", "told")],
        facts={"options": {"strict": True}},
        host_code={"target": "cpu"},
    )


def test_everything_is_in_its_place() -> None:
    made = assemble(compilation())
    contents = made.contents
    assert [(output.name, output.value) for output in contents.outputs] == [("logits", "scores")]
    assert [(region.name, region.files) for region in contents.regions] == [("0_all", ("graph.json", "weights.bin"))]
    assert {placement["region"] for placement in contents.placements} == {"0_all"}
    assert [vector.absolute_tolerance for vector in contents.vectors] == [0.0, 0.5]
    assert contents.metadata == {
        "facts": {"options": {"strict": True}},
        "notes": [["hidden", "told"]],
        "host_code": {"target": "cpu"},
    }
    assert made.files[f"{WHOLE_GRAPH}/graph.json"] == made.files["regions/0_all/graph.json"]
    assert assemble(compilation()).manifest == made.manifest


def test_what_is_assembled_runs() -> None:
    made = compilation()
    inputs, outputs, _ = made.vectors[0]
    with load(assemble(made)) as session:
        np.testing.assert_array_equal(session.run(*inputs)[0], outputs[0])


def test_an_output_that_is_a_constant_is_a_file() -> None:
    made = compilation()
    graph = made.graph.copy()
    graph.outputs = [*graph.outputs, graph.add_constant("shape", np.arange(3))]
    whole = assemble(replace(made, graph=graph, outputs=["scores", "sizes"], vectors=[]))
    assert whole.contents.outputs[1].name == "sizes" and whole.contents.outputs[1].file == "constants/1.npy"
    assert "constants/1.npy" in whole.files
