"""`intarsia demo`: the whole journey on the model that comes with intarsia."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from intarsia.cli.choices import complete_target
from intarsia.cli.explain import write_explanation
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import force_option, json_option, progress, write, write_json
from intarsia.cli.report import write_report
from intarsia.cli.run import summary
from intarsia.outputs import check_output, write_output

if TYPE_CHECKING:
    from intarsia.demo import Demo


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
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="demo.html",
    show_default=True,
    help="Where the page with pictures, regions and layers goes.",
)
@force_option
@quiet_option
@json_option
def command(target: str, images: int, output: Path, force: bool, as_json: bool) -> None:
    """Compile a small network for clothes, explain it, run it on labelled images beside the float model, and report.

    Everything is in the package; without a board the simulator runs the overlay's instructions. What comes out is
    printed, and a page is written that shows it.
    """
    from intarsia import driver
    from intarsia.cli.demo_page import Found, is_page, render
    from intarsia.demo import CLASSES, load_demo
    from intarsia.runtime.counters import layers_of, per_image
    from intarsia.runtime.session import load

    check_output(output, "page", ours=is_page, kind="the page of a demo", overwrite=force)
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
    scores, counters, labels = result.outputs[0], result.counters, data.labels[:images]
    right = int((scores.argmax(axis=1) == labels).sum())
    float_right = _right_in_float(data, images)
    report = artifact.report(layers_of(per_image(counters, images)))
    facts = artifact.contents.metadata.get("facts", {})
    found = Found(
        artifact,
        report,
        dict(session.devices),
        data.pixels[:images],
        scores,
        labels,
        CLASSES,
        right,
        float_right,
        facts.get("clock_mhz_assumption") if isinstance(facts, Mapping) else None,
    )
    write_output(output, "page", render(found).encode())
    if as_json:
        write_json(
            {
                "accuracy": right / images,
                "float_accuracy": float_right / images,
                "images": images,
                "compile_seconds": compiled,
                "run_seconds": result.seconds,
                "artifact_bytes": size,
                "page": str(output),
                "counters": counters,
                "report": report.to_dict(),
                "explanation": explanation.to_dict(),
            }
        )
        return
    write_report(report)
    write(f"compiled in {compiled:.3g} s to {size:,} B")
    write(summary(session, result))
    write(
        f"accuracy: {right} of {images} images, {right / images:.1%}; "
        f"the float model gets {float_right}, {float_right / images:.1%}"
    )
    write(f"page with pictures: {output}")
    write(f"next, your own model: intarsia explain model.onnx --target {target}")


def _right_in_float(data: Demo, images: int) -> int:
    """How many images the float model gets right, evaluated in NumPy."""
    from intarsia.driver import lower
    from intarsia.ir.evaluate import evaluate

    graph = lower(data.model_path, target="cpu", precision="float32", batch=images, until="fused").graph
    (scores,) = evaluate(graph, {graph.inputs[0].name: data.images[:images]})
    return int((scores.argmax(axis=1) == data.labels[:images]).sum())
