"""`intarsia verify`: does an artifact give here what it should, and how far is it from the float model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intarsia.cli.accuracy import read_classes, share_right
from intarsia.cli.choices import NamedPath, Number, device_option
from intarsia.cli.inputs import match_arrays
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import json_option, note, percent, progress, warn, write, write_json, write_table
from intarsia.cli.ranking import scored_output
from intarsia.cli.tables import Column
from intarsia.cli.trust import native_option, trusted_keys_option
from intarsia.errors import RunError

if TYPE_CHECKING:
    from intarsia.dtypes import Array
    from intarsia.runtime.session import Session
    from intarsia.runtime.vectors import VectorResult


@click.command("verify")
@click.argument("artifact", type=NamedPath())
@click.option("--against", type=NamedPath(), metavar="MODEL", help="Compare every layer with this float ONNX model.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE",
    help="Inputs to compare on, as for `intarsia run`; without, those of the test vectors.",
)
@click.option(
    "--min-sqnr",
    type=Number(),
    metavar="DB",
    help="With --against: how near every output must be to the float model's; by default 15 dB.",
)
@click.option(
    "--labels",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="With --input, for a classifier: the number of each sample's class, a .npy, .npz or text.",
)
@click.option(
    "--min-accuracy",
    type=Number(0, 100),
    metavar="PERCENT",
    help="With --labels: how often it must be right.",
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
    min_sqnr: float | None,
    labels: Path | None,
    min_accuracy: float | None,
    device: str | None,
    timeout: float | None,
    native: bool,
    trusted_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the test vectors of ARTIFACT: outputs must be those recorded when it was made.

    Integer models must repeat every byte; what computes in float may differ by the tolerance that the artifact states.
    With --input, outputs are also compared with the integer reference. With --against, every layer is too with the
    float model: its signal-to-quantization-noise ratio in dB; outputs below --min-sqnr fail, and so does another model.
    With --labels, it is counted how often the best class is right. With --trusted-keys, the signature is checked first.
    Exit code 1 where outputs differ, or are not as near or as right as they must be.
    """
    from intarsia.artifact.signatures import key_name
    from intarsia.passes.calibration import SUSPICION
    from intarsia.runtime.session import load
    from intarsia.runtime.vectors import verify_vectors

    for needed, given, others in (
        (against, min_sqnr, "--min-sqnr goes with --against"),
        (labels, min_accuracy, "--min-accuracy goes with --labels"),
        (inputs or None, labels, "--labels goes with --input: the samples that have these classes"),
    ):
        if given is not None and needed is None:
            raise click.UsageError(others)
    classes = None if labels is None else read_classes(labels)
    with load(artifact, device=device, native=native, trusted_keys=trusted_keys or None) as session:
        if not session.artifact.contents.vectors and not inputs:
            raise RunError(
                where=f"artifact {artifact}",
                what="it has no test vectors",
                help="give --input FILE to compare on, and --against MODEL for the float model",
            )
        scored = None if classes is None else scored_output(session.outputs, None, "--labels")
        arrays = _given(session, inputs, labels)
        results = verify_vectors(session, timeout=timeout)
        data: dict[str, Any] = {"vectors": [asdict(result) for result in results], "devices": session.devices}
        if trusted_keys:
            data["signed"] = [key_name(item.key) for item in session.artifact.signatures]
        failures = [] if all(result.ok for result in results) else ["outputs differ"]
        if not as_json and results:
            _write_results("vector", results)
        exact: list[Any] = []
        if against is not None:
            told = None if scored is None else (lambda outputs: exact.append(_of(session, scored, outputs)))
            failures += _compare(session, against, _samples(session, arrays), min_sqnr, data, as_json, told)
        elif inputs and labels is None:
            failures += _compare_with_reference(session, _samples(session, arrays), data, as_json)
        if classes is not None and arrays is not None and scored is not None:
            failures += _score(session, arrays, classes, scored, exact, min_accuracy, data, as_json)
        suspected = [text for topic, text in _notes(session) if topic == SUSPICION]
    if as_json:
        write_json({"ok": not failures, "failures": failures, "suspicions": suspected, **data})
    else:
        for text in suspected:
            warn(f"warning: {SUSPICION}, when it was compiled: {text}")
        signed = " and signed by a trusted key" if trusted_keys else ""
        write(f"FAILED: {'; '.join(failures)}" if failures else f"verified{signed}")
    ctx.exit(1 if failures else 0)


def _notes(session: Session) -> list[tuple[str, str]]:
    notes = session.artifact.contents.metadata.get("notes", [])
    return [(str(note[0]), str(note[-1])) for note in notes if isinstance(note, list) and note]


def _of(session: Session, output: str, arrays: Sequence[Any]) -> Any:
    return arrays[[info.name for info in session.outputs].index(output)]


def _score(
    session: Session,
    arrays: Sequence[Any],
    classes: Array,
    scored: str,
    exact: Sequence[Any],
    least: float | None,
    data: dict[str, Any],
    as_json: bool,
) -> list[str]:
    """How often the artifact is right, and the float model where it has run too; what failed."""
    with progress() as step:
        scores = session.execute(list(arrays), progress=step).by_name[scored]
    right = share_right(scores, classes)
    data["accuracy"] = right
    data["float_accuracy"] = share_right([row for rows in exact for row in rows], classes) if exact else None
    if not as_json:
        model = f"; the float model in {percent(data['float_accuracy'])}" if exact else ""
        write(f"right in {percent(right)} of {len(classes)} samples{model}")
    if least is not None and 100 * right < least:
        return [f"it is right in {percent(right)} of the samples, below {least:g}%"]
    return []


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


def _compare(
    session: Session,
    model: str,
    samples: Sequence[dict[str, Any]],
    min_sqnr: float | None,
    data: dict[str, Any],
    as_json: bool,
    told: Callable[[list[Array]], None] | None,
) -> list[str]:
    """Against the integer reference and, output by output and layer by layer, the float model; what failed."""
    from intarsia.comparison import MIN_SQNR, compare_with_model

    with progress() as step:
        found = compare_with_model(session, model, samples, step, told)
    data["reference"] = [asdict(result) for result in found.outputs]
    data["layers"] = [asdict(layer) for layer in found.layers]
    data["outputs"] = [asdict(output) for output in found.noise]
    if not as_json:
        write()
        _write_results("sample", found.outputs)
        write()
        rows = [[layer.name, layer.op, layer.sqnr] for layer in found.layers]
        rows += [[output.output, "output", output.sqnr] for output in found.noise]
        write_table([Column("value", names=True), Column("op"), Column("SQNR dB", True)], rows)
    return found.failures(MIN_SQNR if min_sqnr is None else min_sqnr)


def _compare_with_reference(
    session: Session, samples: Sequence[dict[str, Any]], data: dict[str, Any], as_json: bool
) -> list[str]:
    """Against the integer reference alone; what failed."""
    from intarsia.runtime.vectors import verify_samples

    with progress() as step:
        found = verify_samples(session, samples, step)
    data["reference"] = [asdict(result) for result in found]
    if not as_json:
        write()
        _write_results("sample", found)
    return [] if all(result.ok for result in found) else ["outputs differ from the integer reference"]


def _given(session: Session, inputs: Sequence[str], labels: Path | None) -> list[Any] | None:
    """The arrays of the files, in the order of the inputs; None without files. One of them may hold the labels too."""
    if not inputs:
        return None
    arrays, unused = match_arrays(inputs, session.inputs, session.artifact.images)
    if any(array.shape[:1] == (0,) for array in arrays):
        raise RunError(where=" and ".join(inputs), what="there is no sample to compare on", help="give some")
    if unused and (labels is None or str(labels) not in inputs):
        note(f"not inputs of the model, left aside: {', '.join(unused)}")
    return arrays


def _samples(session: Session, arrays: Sequence[Any] | None) -> list[dict[str, Any]]:
    """Inputs by name, each of the compiled batch: those that were given, else those of the test vectors."""
    from intarsia.runtime.vectors import read_vectors

    if arrays is None:
        names = [info.name for info in session.inputs]
        return [dict(zip(names, vector)) for vector, _ in read_vectors(session.artifact)]
    return session.batches(list(arrays))
