"""`intarsia verify`: does an artifact give here what it should, and how far is it from the float model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from intarsia.cli.choices import device_option
from intarsia.cli.inputs import match_arrays
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import json_option, note, progress, write, write_json, write_table
from intarsia.cli.tables import Column
from intarsia.cli.trust import native_option, trusted_keys_option
from intarsia.errors import RunError

if TYPE_CHECKING:
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
@device_option
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Time for each test vector.")
@quiet_option
@native_option
@trusted_keys_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    artifact: str,
    against: str | None,
    inputs: tuple[str, ...],
    device: str | None,
    timeout: float | None,
    native: bool,
    trusted_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the test vectors of ARTIFACT: outputs must be those recorded when it was made.

    Integer models must repeat every byte; what computes in float may differ by the tolerance that the artifact states.
    With --against, outputs are also compared with the integer reference, and every layer with the float model: its
    signal-to-quantization-noise ratio in dB. With --trusted-keys, the signature is checked first. Exit code 1 where
    outputs differ.
    """
    from intarsia.artifact.signatures import key_name
    from intarsia.runtime.session import load
    from intarsia.runtime.vectors import verify_vectors

    if inputs and against is None:
        raise click.UsageError("--input goes with --against")
    with load(artifact, device=device, native=native, trusted_keys=trusted_keys or None) as session:
        if not session.artifact.contents.vectors and not inputs:
            raise RunError(
                where=f"artifact {artifact}",
                what="it has no test vectors",
                help="give --against MODEL and --input FILE to compare on",
            )
        results = verify_vectors(session, timeout=timeout)
        data: dict[str, Any] = {"vectors": [asdict(result) for result in results], "devices": session.devices}
        if trusted_keys:
            data["signed"] = [key_name(item.key) for item in session.artifact.signatures]
        ok = all(result.ok for result in results)
        if not as_json:
            _write_results("vector", results)
        if against is not None:
            ok = _compare(session, against, inputs, data, as_json) and ok
    if as_json:
        write_json({"ok": ok, **data})
    else:
        signed = " and signed by a trusted key" if trusted_keys else ""
        write(f"verified{signed}" if ok else "FAILED: outputs differ")
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
    write_table([*columns, Column("largest difference", True), Column("allowed", prose=True)], rows)


def _rule(result: VectorResult) -> str:
    absolute, relative = result.tolerance
    if not absolute and not relative:
        return "none"
    return f"{absolute:.3g}" + (f" + {relative:.3g} of the value" if relative else "")


def _compare(session: Session, model: str, inputs: Sequence[str], data: dict[str, Any], as_json: bool) -> bool:
    """Against the integer reference (returns whether all outputs are right) and, layer by layer, the float model."""
    from intarsia.comparison import compare_with_model

    samples = _samples(session, inputs)
    with progress() as step:
        found = compare_with_model(session, model, samples, step)
    data["reference"] = [asdict(result) for result in found.outputs]
    data["layers"] = [asdict(layer) for layer in found.layers]
    if not as_json:
        write()
        _write_results("sample", found.outputs)
        write()
        rows = [[layer.name, layer.op, layer.sqnr] for layer in found.layers]
        write_table([Column("value", names=True), Column("op"), Column("SQNR dB", True)], rows)
    if not found.layers:
        note("no value of the quantized graph has its like in the float model: is it the right model?")
    return found.ok


def _samples(session: Session, inputs: Sequence[str]) -> list[dict[str, Any]]:
    """Inputs by name, each of the compiled batch: those of the files, else those of the test vectors."""
    from intarsia.runtime.vectors import read_vectors

    if not inputs:
        names = [info.name for info in session.inputs]
        return [dict(zip(names, arrays)) for arrays, _ in read_vectors(session.artifact)]
    arrays, unused = match_arrays(inputs, session.inputs)
    if unused:
        note(f"not inputs of the model, left aside: {', '.join(unused)}")
    return session.batches(arrays)
