"""Whole models on a GPU, or what stands for one on this machine, float32, float16 and int8, against `evaluate`.

python tests/gpu/whole_models.py FILE.onnx ... [--target opencl] [--precision int8]

Prints for each the part of the multiplications that the target does, the largest difference, and times. Where samples
are needed, random ones are taken: what is compared is code, not accuracy. Exit code 1 where a byte differs of a model
that is all integers, a float32 by more than 1e-4 of the range, or a number of float16 precision, or behind floats that
are rounded to int8, by more than test vectors allow.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent))

from pocl import name_processor

import intarsia
from intarsia.artifact.parts import whole_graph
from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.vectors import tolerance_of

_CONVERTS = ("dequantize", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Slice")

TOLERANCE = 1e-4
"""Of the largest float32 output."""


@dataclass(frozen=True)
class Agreement:
    """How a model on a target compares with `evaluate`.

    share     of the multiplications that are made there, 0 to 1
    exact     whether all ops are integer ones, save those that convert or move numbers
    differing numbers, of all, that are not the same bytes
    largest   difference of floats, of the largest number
    tolerance  that is allowed: but for float32, what test vectors allow
    build_s, load_s, run_s  seconds of compiling for the target, compiling on the device, and of a second run
    """

    model: str
    target: str
    precision: str
    share: float
    exact: bool
    differing: int
    total: int
    largest: float
    tolerance: float
    build_s: float
    load_s: float
    run_s: float

    @property
    def holds(self) -> bool:
        """Bytes are the same where all is integers; floats lie within the tolerance."""
        return self.differing == 0 if self.exact else self.largest <= self.tolerance

    def __str__(self) -> str:
        kind = f"{self.precision}, exact" if self.exact else self.precision
        return (
            f"{self.model:26} {kind:14} {self.share:6.1%} on {self.target}, "
            f"{self.differing} of {self.total} numbers differ, by {self.largest:.1e} at most; "
            f"build {self.build_s:.1f} s, load {self.load_s:.1f} s, run {self.run_s:.3f} s"
        )


def random_sample(session_inputs: Any, seed: int) -> dict[str, Array]:
    """Numbers for each input: floats around 0, whole ones small."""
    random = np.random.default_rng(seed)
    return {
        item.name: (
            random.standard_normal(item.shape).astype(item.dtype)
            if "float" in item.dtype
            else random.integers(0, 2, item.shape).astype(item.dtype)
        )
        for item in session_inputs
    }


def compare(
    model: Path,
    precision: str,
    calibration: Mapping[str, Array] | Array | None = None,
    inputs: Sequence[Array] | None = None,
    target: str = "opencl",
    prepare: Callable[[intarsia.Artifact], None] = lambda artifact: None,
) -> Agreement:
    """A model compiled for a target, on one sample.

    calibration  for int8, where the model is not quantized by itself; random where there is none
    inputs       an array for each input; random where there are none
    prepare      called with what is compiled before it is loaded
    """
    name_processor()
    started = time.perf_counter()
    options: dict[str, Any] = {"target": target, "precision": precision}
    if precision == "int8" and calibration is None:
        described = intarsia.compile_model(model, target=target, precision="float32")
        samples = [random_sample(described.contents.inputs, seed) for seed in range(2)]
        calibration = {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}
    if precision == "int8":
        options["calibration"] = calibration
    artifact = intarsia.compile_model(model, **options)
    build_s = time.perf_counter() - started
    prepare(artifact)
    rows = artifact.report().rows
    place = target.partition("{")[0]
    here, all_macs = (sum(row.macs or 0 for row in rows if only in row.place) for only in (place, ""))
    given = random_sample(artifact.contents.inputs, 7)
    if inputs is not None:
        given = dict(zip(given, inputs, strict=True))
    graph = whole_graph(artifact.files)
    wanted = evaluate(graph, given)
    started = time.perf_counter()
    with intarsia.load(artifact) as session:
        load_s = time.perf_counter() - started
        session.execute(given)
        started = time.perf_counter()
        found = session.execute(given).outputs
        run_s = time.perf_counter() - started
    differing, total, largest, tolerance = 0, 0, 0.0, TOLERANCE
    scales = [float(np.abs(one).max(initial=0.0)) for one in wanted if one.dtype.kind == "f"]
    if scales and precision != "float32":
        products = precision if precision == "float16" else "float32"
        tolerance = max(tolerance, tolerance_of(graph, wanted, given, products) / max(1e-3, *scales))
    for one, other in zip(wanted, found):
        assert one.shape == other.shape and one.dtype == other.dtype
        differs = ~((one == other) | ((one != one) & (other != other)))
        differing += int(np.sum(differs))
        total += one.size
        if one.dtype.kind == "f" and one.size:
            beside = np.nan_to_num(np.abs(one[differs] - other[differs]), nan=np.inf)
            largest = max(largest, float(beside.max(initial=0.0) / max(1e-3, float(np.abs(one).max()))))
    share = here / all_macs if all_macs else 1.0
    exact = all(
        node.op in _CONVERTS or "float" not in value.dtype
        for node in graph.nodes
        for value in node.outputs
        if value is not None
    )
    values = differing, total, largest, tolerance
    return Agreement(model.stem, place, precision, share, exact, *values, build_s, load_s, run_s)


def main() -> int:
    """Compare the models of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--precision", choices=("float32", "float16", "int8"), action="append")
    parser.add_argument("--target", default="opencl")
    wanted = parser.parse_args()
    good = True
    for model in wanted.models:
        for precision in wanted.precision or ("float32", "int8"):
            try:
                result = compare(model, precision, target=wanted.target)
            except intarsia.IntarsiaError as error:
                print(f"{model.stem:28} {precision:8} refused: {error}", flush=True)
                continue
            print(result, "" if result.holds else "DIFFERS", flush=True)
            good &= result.holds
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
