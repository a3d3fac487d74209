"""Where the time of a network goes on this processor: every kernel call of its compiled regions. A table, or --json.

    python tests/benchmarks/cpu_layers.py resnet18                      a network of network_models.py, or a path
    python tests/benchmarks/cpu_layers.py resnet18 --precision int8 --threads 2
    python tests/benchmarks/cpu_layers.py resnet18 --openvino           OpenVINO's layers after ours

Times are wall clock, the least of many runs for each call; reading the clock adds some 30 ns to each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from ctypes import c_uint64
from pathlib import Path
from typing import Any

import numpy as np
from cpu_engines import intarsia_session
from network_files import PRECISIONS, cache_folder, given_file, network_file, random_inputs
from network_models import NETWORKS

from intarsia.cli.compile import seconds_of
from intarsia.driver import emit, lower
from intarsia.ir.graph import Graph
from intarsia.targets import Blob
from intarsia_backends.cpu.kernels import SHARES
from intarsia_backends.cpu.link import PROFILE
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.target import CpuTarget
from intarsia_backends.lowering.expressions import Apply, Cast, Expression, Gather
from intarsia_backends.lowering.program import Bounds, Call


class ProfiledTarget(CpuTarget):
    """The target cpu, with regions that can be profiled; keeps what each is made of."""

    def __init__(self) -> None:
        super().__init__(profile=True)
        self.calls: dict[str, list[Call]] = {}

    def compile(self, region: Graph) -> Blob:
        self.calls[region.name] = lower_region(region, self.machine, self.configs).calls
        return super().compile(region)


def kind(call: Call) -> str:
    if call.kernel is None:
        return "copy"
    return "check" if isinstance(call.kernel, Bounds) else type(call.kernel).__name__


def operations(call: Call) -> int:
    """What a call computes: a product and its sum are two operations, an element of a map or a reduction is one.

    0 where the kernel does not say.
    """
    work = int(getattr(call.kernel, "work", 0))
    products = getattr(call.kernel, "products", None)
    if products is None:
        return work
    return work * 2 * SHARES[products]


def sizes(call: Call) -> str:
    """The numbers and words of a kernel, without steps; of expressions the names of functions."""
    kernel: Any = call.kernel
    words: list[str] = []
    if not dataclasses.is_dataclass(kernel) or isinstance(kernel, Bounds):
        return ""
    for field in dataclasses.fields(kernel):
        value = getattr(kernel, field.name)
        if field.name.startswith(("x_", "y_")) or "stride" in field.name:
            continue
        if isinstance(value, Expression):
            functions = list(dict.fromkeys(_functions(value)))
            words += [f"{field.name}={'+'.join(functions)}"] if functions else []
        elif isinstance(value, (int, str)) and value not in ("", 0, False):
            words.append(f"{field.name}={value}")
        elif isinstance(value, tuple) and value and all(isinstance(item, int) for item in value):
            words.append(f"{field.name}={'x'.join(map(str, value))}")
    return " ".join(words)


def _functions(expression: Expression) -> Iterator[str]:
    for part in expression.walk():
        match part:
            case Apply(name):
                yield name
            case Cast():
                yield "cast"
            case Gather():
                yield "gather"


def profiled(model: Path, precision: str, threads: int, seconds: float, tune: float | None = None) -> dict[str, Any]:
    """A row for each call, in order: region, name (where calls have one), kind, microseconds, operations, sizes."""
    target = ProfiledTarget()
    lowered = dataclasses.replace(lower(model, target="cpu", precision=precision), targets=(target,))
    session = intarsia_session(emit(lowered, tune=tune), threads)
    inputs, tables = random_inputs(model, 0), dict[str, Any]()
    given = [inputs[info.name] for info in session.inputs]
    for step in session._steps or ():
        if step.region.name in target.calls:
            calls = target.calls[step.region.name]
            library: Any = getattr(step.loaded, "_library")  # noqa: B009
            tables[step.region.name] = (c_uint64 * len(calls)).in_dll(library, PROFILE)
    best = {name: np.full(len(table), np.inf) for name, table in tables.items()}
    whole, end = float("inf"), time.perf_counter() + seconds
    while whole == float("inf") or time.perf_counter() < end:
        started = time.perf_counter()
        session.run(*given)
        whole = min(whole, time.perf_counter() - started)
        for name, table in tables.items():
            best[name] = np.minimum(best[name], np.array(table, np.float64))
    rows = [
        {
            "region": name,
            "name": str(getattr(call, "name", "")),
            "kind": kind(call),
            "microseconds": float(nanoseconds) / 1000,
            "operations": operations(call),
            "sizes": sizes(call),
        }
        for name in tables
        for call, nanoseconds in zip(target.calls[name], best[name])
    ]
    elsewhere = [step.region.name for step in session._steps or () if step.region.name not in tables]
    return {"rows": rows, "run_microseconds": 1e6 * whole, "evaluator_regions": elsewhere}


def openvino_layers(model: Path, threads: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each layer that OpenVINO runs, in order: name, kind, microseconds (whole ones), implementation."""
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "PERF_COUNT": True,
    }
    compiled = openvino.Core().compile_model(str(model), "CPU", options)
    request, inputs = compiled.create_infer_request(), random_inputs(model, 0)
    given = [inputs[port.any_name] for port in compiled.inputs]
    best, order = dict[str, float](), dict[str, tuple[str, str]]()
    end = time.perf_counter() + seconds
    while not best or time.perf_counter() < end:
        request.infer(given, share_inputs=True, share_outputs=True)
        for info in request.get_profiling_info():
            if info.status == openvino.ProfilingInfo.Status.EXECUTED:
                spent = info.real_time.total_seconds() * 1e6
                best[info.node_name] = min(best.get(info.node_name, spent), spent)
                order[info.node_name] = (info.node_type, info.exec_type)
    return [
        {"name": name, "kind": order[name][0], "microseconds": best[name], "sizes": order[name][1], "operations": 0}
        for name in best
    ]


def table(title: str, rows: Sequence[dict[str, Any]], width: int) -> str:
    """Rows in order, then sums for each kind, largest first."""
    total = sum(row["microseconds"] for row in rows) or 1.0
    lines = [f"{title}: {total / 1000:.3f} ms in {len(rows)} calls", f"{'us':>10}{'share':>7}{'Gop/s':>8}  kind"]
    for row in rows:
        text = f"{row['kind']} {row['name']} {row['sizes']}".replace("  ", " ")
        lines.append(f"{_figures(row['microseconds'], row['operations'], total)}  {text}"[:width])
    spent: Counter[str] = Counter()
    done: Counter[str] = Counter()
    for row in rows:
        spent[row["kind"]] += row["microseconds"]
        done[row["kind"]] += row["operations"]
    lines.append("by kind")
    lines += [f"{_figures(value, done[name], total)}  {name}" for name, value in spent.most_common()]
    return "\n".join(lines)


def _figures(microseconds: float, done: int, total: float) -> str:
    rate = f"{done / microseconds / 1000:>8.1f}" if done and microseconds else f"{'-':>8}"
    return f"{microseconds:>10.1f}{microseconds / total:>7.1%}{rate}"


def model_of(text: str, precision: str) -> Path:
    """A network's file by its name, or the form of a given file in a precision."""
    if text in NETWORKS:
        return network_file(text, precision, cache_folder())
    found = given_file(Path(text), precision, cache_folder()) if Path(text).is_file() else None
    if found is None:
        raise SystemExit(f"{text}: not a file that has a {precision} form, and none of {', '.join(NETWORKS)}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help=f"{', '.join(NETWORKS)}, or the path of an ONNX file")
    parser.add_argument("--precision", default=PRECISIONS[0], choices=PRECISIONS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of running it (default: %(default)s)")
    parser.add_argument("--tune", type=seconds_of, help="when compiling, search so long for faster code: 60s")
    parser.add_argument("--openvino", action="store_true", help="OpenVINO's layers as well")
    parser.add_argument("--width", type=int, default=160, help="of lines (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    model = model_of(options.model, options.precision)
    if options.threads == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = profiled(model, options.precision, options.threads, options.seconds, options.tune)
    peer = openvino_layers(model, options.threads, options.seconds) if options.openvino else []
    if options.json:
        print(json.dumps({**found, "openvino": peer}, indent=1))
        return
    print(table(f"{model.stem}, intarsia", found["rows"], options.width))
    elsewhere = f"; by the evaluator: {', '.join(found['evaluator_regions'])}" if found["evaluator_regions"] else ""
    print(f"a whole run: {found['run_microseconds'] / 1000:.3f} ms{elsewhere}")
    if peer:
        print("\n" + table(f"{model.stem}, OpenVINO", peer, options.width))


if __name__ == "__main__":
    main()
