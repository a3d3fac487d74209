"""ONNX Runtime, OpenVINO and intarsia as functions from arrays to arrays, and a stopwatch for such functions.

Each engine gets its thread count in one place, here. Everything else is as it comes, in the way that serves it best:

* ONNX Runtime: its workers spin while they wait for work, which is its default and makes it faster at two threads.
  They are told to stop when a run is over, so that they take nothing from whoever is measured next.
* OpenVINO: the latency hint, inputs and outputs shared with NumPy instead of copied, and float32 as the precision of
  inference, because its default on newer processors is bfloat16, which is another result.
* intarsia: an artifact made by `compile_model(target="cpu")`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import intarsia

Array = Any
Inputs = Mapping[str, Array]
Runner = Callable[[], "list[Array]"]

OWN = "intarsia"
PEERS = ("onnxruntime", "openvino")

SAMPLE_SECONDS = 5e-4
"""Calls are timed in groups of at least this length: reading the clock costs a third of a microsecond."""


def onnxruntime_session(model: Path, threads: int, *, optimised: bool = True) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def onnxruntime_runner(model: Path, inputs: Inputs, threads: int) -> Runner:
    session, given = onnxruntime_session(model, threads), dict(inputs)
    return lambda: session.run(None, given)


def openvino_runner(model: Path, inputs: Inputs, threads: int) -> Runner:
    """What it returns is overwritten by the next run."""
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(model), "CPU", options)
    request, count = compiled.create_infer_request(), len(compiled.outputs)
    given = [inputs[port.any_name] for port in compiled.inputs]

    def run() -> list[Array]:
        results = request.infer(given, share_inputs=True, share_outputs=True)
        return [results[index] for index in range(count)]

    return run


def intarsia_session(artifact: Path | intarsia.Artifact, threads: int) -> intarsia.Session:
    os.environ["INTARSIA_THREADS"] = str(threads)  # read when the regions are loaded
    return intarsia.load(artifact)


def intarsia_runner(artifact: Path, inputs: Inputs, threads: int) -> Runner:
    session = intarsia_session(artifact, threads)
    given = [inputs[info.name] for info in session.inputs]
    return lambda: session.run(*given)


def reference_outputs(model: Path, inputs: Inputs) -> list[Array]:
    """What the file says: every op as it is written, in float32, without optimisations."""
    outputs: list[Array] = onnxruntime_session(model, 1, optimised=False).run(None, dict(inputs))
    return outputs


def fastest_seconds(run: Runner, clock: Callable[[], float], seconds: float) -> float:
    """Seconds of one call, the least of many samples.

    clock    time.process_time for the work of all threads, time.perf_counter for the wait of a user
    seconds  wall clock to spend; a sample more is taken where it is over
    """
    end = time.perf_counter() + seconds
    started = time.perf_counter()
    run()
    calls = max(1, round(SAMPLE_SECONDS / max(time.perf_counter() - started, 1e-7)))
    best = float("inf")
    while best == float("inf") or time.perf_counter() < end:
        started = clock()
        for _ in range(calls):
            run()
        best = min(best, (clock() - started) / calls)
    return best
