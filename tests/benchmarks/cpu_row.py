"""One network in a process of its own, so that nothing of another one is left in it: called by cpu_networks.py.

    python tests/benchmarks/cpu_row.py '{"do": "compile", ..}'    seconds, memory and places of compile_model
    python tests/benchmarks/cpu_row.py '{"do": "measure", ..}'    times and differences of all engines

The last line that it prints is a JSON object.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cpu_engines import (
    OWN,
    Array,
    Runner,
    fastest_seconds,
    intarsia_runner,
    onnxruntime_runner,
    openvino_runner,
    reference_outputs,
)
from network_files import random_inputs

import intarsia

REST_SECONDS = 0.02
"""Between engines at more than one thread: workers that still spin go to sleep meanwhile."""


def compiled(model: str, precision: str, artifact: str, tune: float | None) -> dict[str, Any]:
    """Compile a model and write the artifact. Memory is the peak of this process, without that of the C compiler.

    tune  seconds of a search for faster code; None for none
    """
    started = time.perf_counter()
    made = intarsia.compile_model(model, target="cpu", precision=precision, tune=tune)
    seconds = time.perf_counter() - started
    made.save(artifact)
    evaluated = [row["name"] for row in made.manifest["placements"] if row["place"] == "evaluator"]
    tuned = [text for topic, text in made.manifest["metadata"]["notes"] if topic == "tune"]
    return {
        "compile_seconds": seconds,
        "compile_megabytes": peak_megabytes(),
        "evaluator_nodes": evaluated,
        **({"tuned": "; ".join(tuned)} if tune else {}),
    }


def peak_megabytes() -> float:
    """Largest resident size of this process. (getrusage would count what the parent had when it forked.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def measured(
    model: str, artifact: str, engines: Sequence[str], threads: int, rounds: int, seconds: float, inputs: int
) -> dict[str, Any]:
    """Milliseconds of each engine, how far their outputs are from the reference's, and how busy others were.

    At one thread this process keeps to one core and times are those of the processor, so that others on the machine
    hardly matter. At more threads they are wall clock. Engines take turns; the fastest sample of all rounds counts.
    """
    if threads == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    clock = time.process_time if threads == 1 else time.perf_counter
    place, given = Path(model), random_inputs(Path(model), 0)
    make: dict[str, Callable[[], Runner]] = {
        "onnxruntime": lambda: onnxruntime_runner(place, given, threads),
        "openvino": lambda: openvino_runner(place, given, threads),
        OWN: lambda: intarsia_runner(Path(artifact), given, threads),
    }
    expected = [reference_outputs(place, random_inputs(place, seed)) for seed in range(inputs)]
    runners = {name: make[name]() for name in engines}
    outputs: dict[str, list[list[Array]]] = {name: [] for name in engines}
    for seed in range(inputs):
        for name, values in random_inputs(place, seed).items():
            given[name][...] = values  # engines keep the arrays that they were given
        for name in engines:
            outputs[name].append([np.array(array) for array in runners[name]()])
    times: dict[str, list[float]] = {name: [] for name in engines}
    started, others = time.perf_counter(), seconds_of_others()
    for _ in range(rounds):
        for name in engines:
            if threads > 1:
                time.sleep(REST_SECONDS)
            times[name].append(1000 * fastest_seconds(runners[name], clock, seconds))
    others = (seconds_of_others() - others) / (time.perf_counter() - started) / (os.cpu_count() or 1)
    return {
        "milliseconds": {name: min(found) for name, found in times.items()},
        "spread": {name: statistics.median(found) / min(found) - 1 for name, found in times.items()},
        "others": max(0.0, others),
        "agreement": {name: agreement(outputs[name], expected) for name in engines},
    }


def seconds_of_others() -> float:
    """Processor time that others than this process have taken since the machine started; 0 where nobody tells."""
    try:
        words = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, words)
    ticks = user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def agreement(found: Sequence[Sequence[Array]], expected: Sequence[Sequence[Array]]) -> dict[str, float]:
    """How outputs of several inputs compare with expected ones.

    difference   the largest, over the largest magnitude of that output
    correlation  the least of an output, over all its elements and inputs; 1 where it is constant
    same         share of rows of the first output with the same largest element
    """
    difference, correlation = 0.0, 1.0
    for mine, theirs in zip(zip(*found), zip(*expected)):
        x = np.stack([array.astype(np.float64) for array in mine])
        y = np.stack([array.astype(np.float64) for array in theirs])
        difference = max(difference, float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30)))
        if np.ptp(x) > 0 and np.ptp(y) > 0:
            correlation = min(correlation, float(np.corrcoef(x.ravel(), y.ravel())[0, 1]))
    same = [np.argmax(mine[0], -1) == np.argmax(theirs[0], -1) for mine, theirs in zip(found, expected)]
    return {"difference": difference, "correlation": correlation, "same": float(np.mean(same))}


def main() -> None:
    request = json.loads(sys.argv[1])
    works: dict[str, Callable[..., dict[str, Any]]] = {"compile": compiled, "measure": measured}
    work = works[request.pop("do")]
    try:
        answer = work(**request)
    except intarsia.IntarsiaError as error:
        answer = {"error": f"{error.where}: {error.what}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
