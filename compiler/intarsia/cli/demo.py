"""`intarsia demo`: the whole journey on the model that comes with intarsia."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from intarsia.cli.choices import complete_target
from intarsia.cli.explain import write_explanation
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import json_option, progress, write, write_json
from intarsia.cli.report import write_report
from intarsia.cli.run import summary


@click.command("demo")
@click.option(
    "--target",
    default="pynq-z2",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_target,
    help="What to compile for.",
)
@click.option("--images", type=click.IntRange(1, 400), default=400, show_default=True, help="How many to classify.")
@quiet_option
@json_option
def command(target: str, images: int, as_json: bool) -> None:
    """Compile a small network for clothes, explain it, run it on labelled images, and report.

    Everything is in the package; without a board the simulator runs the overlay's instructions.
    """
    from intarsia import driver
    from intarsia.demo import load_demo
    from intarsia.runtime.counters import layers_of, per_image
    from intarsia.runtime.session import load

    data = load_demo()
    explanation = driver.explain(data.model_path, target=target, precision="int8")
    if not as_json:
        write_explanation(explanation, everything=False)
        write()
    with tempfile.TemporaryDirectory() as folder, progress() as step:
        started = time.perf_counter()
        artifact = driver.compile_model(
            data.model_path, target=target, precision="int8", calibration=data.calibration, progress=step
        )
        path = Path(folder) / "demo.intarsia"
        artifact.save(path)
        compiled, size = time.perf_counter() - started, path.stat().st_size
        with load(path) as session:
            result = session.execute([data.images[:images]], progress=step)
    scores, counters = result.outputs[0], result.counters
    right = int((scores.argmax(axis=1) == data.labels[:images]).sum())
    report = artifact.report(layers_of(per_image(counters, images)))
    if as_json:
        write_json(
            {
                "accuracy": right / images,
                "images": images,
                "compile_seconds": compiled,
                "run_seconds": result.seconds,
                "artifact_bytes": size,
                "counters": counters,
                "report": report.to_dict(),
                "explanation": explanation.to_dict(),
            }
        )
        return
    write_report(report)
    write(f"compiled in {compiled:.3g} s to {size:,} B")
    write(summary(session, result))
    write(f"accuracy: {right} of {images} images, {right / images:.1%}")
