"""Networks compiled for one image and run with many rows: intarsia beside ONNX Runtime. A table, or --json.

    python tests/benchmarks/cpu_rows.py                                   the dense autoencoder, 40 rows
    python tests/benchmarks/cpu_rows.py --only ad_ae,resnet8 --rows 1,8,40,256 --threads 1

ONNX Runtime has the same file with an open first axis. The two take turns in one process; the fastest sample of all
turns counts, in wall clock. A ratio is ONNX Runtime's time over ours: above 1 we are faster. Bytes of a row are
compared with those that the row has alone. It needs onnxruntime: `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cpu_engines import Runner, fastest_seconds, intarsia_session, onnxruntime_session
from network_files import PRECISIONS, cache_folder, network_file
from network_models import NETWORKS

import intarsia

Row = dict[str, Any]


def with_open_rows(model: Path) -> Path:
    """The same network whose inputs and outputs have any number of rows, beside it."""
    path = model.with_name(f"{model.stem}-rows.onnx")
    if not path.exists():
        proto = onnx.load(model)
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "rows"
        del proto.graph.value_info[:]
        onnx.save(proto, path)
    return path


def rows_of(
    name: str, precision: str, counts: Sequence[int], threads: int, rounds: int, seconds: float, folder: Path
) -> list[Row]:
    """Milliseconds of both engines for each number of rows."""
    model = network_file(name, precision, folder)
    session = intarsia_session(intarsia.compile_model(model, target="cpu", precision=precision), threads)
    peer = onnxruntime_session(with_open_rows(model), threads)
    (info,) = session.inputs
    found = []
    for count in counts:
        rest = [size or 1 for size in (info.shape or ())[1:]]
        noise = np.random.default_rng(count).standard_normal((count, *rest)).astype(np.float32)
        given = {info.name: noise}
        outputs = session.run(noise)
        alone = [session.run(row[np.newaxis]) for row in noise]
        same = all(
            array[index].tobytes() == expected[0].tobytes()
            for index, row in enumerate(alone)
            for array, expected in zip(outputs, row)
        )
        runners: dict[str, Runner] = {
            "intarsia": lambda noise=noise: session.run(noise),  # type: ignore[misc]
            "onnxruntime": lambda given=given: peer.run(None, given),  # type: ignore[misc]
        }
        best = dict.fromkeys(runners, float("inf"))
        for _ in range(rounds):
            for engine, run in runners.items():
                best[engine] = min(best[engine], 1000 * fastest_seconds(run, time.perf_counter, seconds))
        found.append(
            {
                "network": name,
                "precision": precision,
                "threads": threads,
                "rows": count,
                "milliseconds": best,
                "ratio": best["onnxruntime"] / best["intarsia"],
                "same_bytes": same,
            }
        )
    return found


def table(rows: Sequence[Row]) -> str:
    heads = f"{'network':12} {'precision':9} {'threads':>7} {'rows':>5}"
    lines = [f"{heads} {'intarsia':>9} {'onnxruntime':>11} {'ratio':>6}  alone"]
    for row in rows:
        ours, theirs = row["milliseconds"]["intarsia"], row["milliseconds"]["onnxruntime"]
        alone = "same bytes" if row["same_bytes"] else "OTHER BYTES"
        lines.append(
            f"{row['network']:12} {row['precision']:9} {row['threads']:7} {row['rows']:5} {ours:9.4f} {theirs:11.4f} "
            f"{row['ratio']:6.2f}  {alone}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="ad_ae", help=f"of {','.join(NETWORKS)} (default: %(default)s)")
    parser.add_argument("--rows", default="40", help="numbers of rows (default: %(default)s)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: %(default)s)")
    parser.add_argument("--precision", default=",".join(PRECISIONS), help="precisions (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each engine (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.05, help="of each engine's turn (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=cache_folder(), help="of the networks made (%(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in options.only.split(","):
        for precision in options.precision.split(","):
            for threads in map(int, options.threads.split(",")):
                counts = [int(text) for text in options.rows.split(",")]
                rows += rows_of(name, precision, counts, threads, options.rounds, options.seconds, options.folder)
    print(json.dumps(rows, indent=1) if options.json else table(rows))


if __name__ == "__main__":
    main()
