"""`intarsia verify`: does an artifact give here what it should, and how far is it from the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from intarsia.cli.inputs import match_arrays
from intarsia.cli.output import Column, Progress, json_option, note, progress, write_json, write_table
from intarsia.errors import RunError

if TYPE_CHECKING:
    from intarsia.dtypes import Array
    from intarsia.ir.graph import Graph
    from intarsia.runtime.session import Session
    from intarsia.runtime.vectors import VectorResult


@click.command("verify")
@click.argument("artifact", type=click.Path())
@click.option("--against", type=click.Path(), metavar="MODEL", help="Compare every layer with this float ONNX model.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE",
    help="With --against: inputs to compare on, as for `intarsia run`; without, those of the test vectors.",
)
@click.option("--device", metavar="NAME", help="The device that runs what it can; see `intarsia targets`.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, artifact: str, against: str | None, inputs: tuple[str, ...], device: str | None, as_json: bool
) -> None:
    """Run the test vectors of ARTIFACT: outputs must be those recorded when it was made.

    Integer models must repeat every byte; what computes in float may differ by the tolerance that the artifact states.
    With --against, outputs are also compared with the integer reference, and every layer with the float model: its
    signal-to-quantization-noise ratio in dB. Exit code 1 where outputs differ.
    """
    from intarsia.runtime.session import load
    from intarsia.runtime.vectors import verify_vectors

    if inputs and against is None:
        raise click.UsageError("--input goes with --against")
    with load(artifact, device=device) as session:
        if not session.artifact.contents.vectors and not inputs:
            raise RunError(
                where=f"artifact {artifact}",
                what="it has no test vectors",
                help="give --against MODEL and --input FILE to compare on",
            )
        results = verify_vectors(session)
        data: dict[str, Any] = {"vectors": [asdict(result) for result in results], "devices": session.devices}
        ok = all(result.ok for result in results)
        if not as_json:
            _write_results("vector", results)
        if against is not None:
            ok = _compare(session, against, inputs, data, as_json) and ok
    if as_json:
        write_json({"ok": ok, **data})
    else:
        click.echo("verified" if ok else "FAILED: outputs differ")
    ctx.exit(0 if ok else 1)


def _write_results(what: str, results: Sequence[VectorResult]) -> None:
    columns = [
        Column(what),
        Column("output", names=True),
        Column("ok"),
        Column("elements", True),
        Column("different", True),
    ]
    rows = [
        [str(result.vector), result.output, result.ok, result.elements, result.different, result.largest, _rule(result)]
        for result in results
    ]
    write_table([*columns, Column("largest difference", True), Column("allowed")], rows)


def _rule(result: VectorResult) -> str:
    absolute, relative = result.tolerance
    if not absolute and not relative:
        return "none"
    return f"{absolute:.3g}" + (f" + {relative:.3g} of the value" if relative else "")


def _compare(session: Session, model: str, inputs: Sequence[str], data: dict[str, Any], as_json: bool) -> bool:
    """Against the integer reference (returns whether all outputs are right) and, layer by layer, the float model."""
    from intarsia.runtime.sqnr import compare_layers
    from intarsia.driver import Options, lower

    contents = session.artifact.contents
    samples = _samples(session, inputs)
    quantized = _whole_graph(session)
    options = Options(precision=contents.precision, batch=contents.batch)
    reference = lower(model, contents.target, options, until="fused").graph
    if [value.name for value in reference.inputs] != [info.name for info in session.inputs]:
        raise RunError(
            where=f"model {model}",
            what="its inputs are not those of the artifact",
            help="give the float model that the artifact was compiled from",
        )
    with progress() as step:
        outputs = _against_reference(session, quantized, samples, step)
        layers = compare_layers(quantized, reference, samples, step)
    data["reference"] = [asdict(result) for result in outputs]
    data["layers"] = [asdict(layer) for layer in layers]
    if not as_json:
        click.echo()
        _write_results("sample", outputs)
        click.echo()
        rows = [[layer.name, layer.op, layer.sqnr] for layer in layers]
        write_table([Column("value", names=True), Column("op"), Column("SQNR dB", True)], rows)
    if not layers:
        note("no value of the quantized graph has its like in the float model: is it the right model?")
    return all(result.ok for result in outputs)


def _against_reference(
    session: Session, quantized: Graph, samples: Sequence[Mapping[str, Array]], step: Progress
) -> list[VectorResult]:
    from intarsia.ir.evaluate import evaluate
    from intarsia.runtime.vectors import compare_outputs

    results = []
    entries = session.artifact.contents.vectors
    # What the artifact allows on its own vectors holds for other inputs of the same size too; integers allow nothing.
    tolerance = (
        max((entry.absolute_tolerance for entry in entries), default=0.0),
        max((entry.relative_tolerance for entry in entries), default=0.0),
    )
    for index, sample in enumerate(samples):
        step("comparing outputs", index, len(samples))
        for info, wanted, found in zip(session.outputs, evaluate(quantized, sample), session.run(**sample)):
            results.append(compare_outputs(index, info.name, tolerance, wanted, found))
    return results


def _whole_graph(session: Session) -> Graph:
    from intarsia.artifact.parts import WHOLE_GRAPH, read_graph

    prefix = f"{WHOLE_GRAPH}/"
    files = session.artifact.files
    return read_graph({path[len(prefix) :]: files[path] for path in files if path.startswith(prefix)}, "graph")


def _samples(session: Session, inputs: Sequence[str]) -> list[dict[str, Array]]:
    """Inputs by name, each of the compiled batch."""
    from intarsia.runtime.arguments import batch_of, check_array
    from intarsia.runtime.vectors import read_vectors

    names = [info.name for info in session.inputs]
    if not inputs:
        return [dict(zip(names, arrays)) for arrays, _ in read_vectors(session.artifact)]
    arrays, unused = match_arrays(inputs, session.inputs)
    if unused:
        note(f"not inputs of the model, left aside: {', '.join(unused)}")
    checked = [check_array(info, array) for info, array in zip(session.inputs, arrays)]
    batch = session.artifact.contents.batch
    repeats = batch_of(session.inputs, checked, batch)
    if repeats is None:
        return [dict(zip(names, checked))]
    return [
        {name: array[index * batch : (index + 1) * batch] for name, array in zip(names, checked)}
        for index in range(repeats)
    ]
