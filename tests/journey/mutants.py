"""Mutants of small models against `explain`, or compiled and run beside ONNX Runtime. A tool, not a test:

    python tests/journey/mutants.py --seed 1 --count 1000 --explain     (or --compile)
    python tests/journey/mutants.py --only 1234 --compile               one of them, in this process, with its traceback

Each mutant (`mutations`) must end well, or in an error of ours, within 10 s of processor time and 1 GiB of memory.
Other ends are counted, with the seeds that bring them about; exit code 1 where there are any.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 10.0
PEAK_BYTES = 1 << 30
ADDRESS_BYTES = 6 << 30
PATIENCE_SECONDS = 180.0
BAD = ("traceback", "fault", "hang", "memory", "signal", "wrong", "warning")
"""Ends that no mutant may have: `fault` is an InternalError, `warning` one of NumPy's that a user would see."""

Ends = dict[str, list[tuple[int, str]]]
"""By kind of end, the seeds that came to it and what is to be said of them."""

_TARGETS = ("cpu", "pynq-z2", "tiny", "cpu")


def explain(seed: int) -> str:
    """Explain a mutant; what came of it."""
    from mutations import mutant

    import intarsia

    model: Any = mutant(seed)
    target = _TARGETS[seed % len(_TARGETS)]
    return f"{len(intarsia.explain(model, target=target).rows)} rows"


def compile_and_run(seed: int) -> str:
    """Compile a mutant for the CPU, run it and compare with ONNX Runtime; what came of it."""
    from mutations import mutant

    import intarsia
    from intarsia.dtypes import numpy_dtype

    model: Any = mutant(seed)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = intarsia.load(intarsia.compile_model(model, target="cpu", precision="float32"))
    rng = np.random.default_rng(seed)
    feed: dict[str, Any] = {}
    for info in session.inputs:
        if not info.is_tensor:
            return "ran nothing: an input is no tensor"
        numbers = rng.standard_normal(info.dims)
        kind = numpy_dtype(info.dtype).kind
        if info.dtype == "string":
            feed[info.name] = np.full(info.dims, "1", object)
        else:
            feed[info.name] = (np.abs(numbers) * (1 if kind in "iub" else 0) + numbers * (kind not in "iub")).astype(
                numpy_dtype(info.dtype)
            )
    found = session.execute(feed).by_name
    if any(word in data for word in (b"Random", b"Bernoulli", b"Multinomial", b"Dropout", b"training_mode")):
        return "ran"
    wanted = _by_onnxruntime(data, feed, list(found))
    if isinstance(wanted, str):
        return f"ran; ONNX Runtime does not: {wanted}"
    try:
        for name, array in zip(found, wanted):
            _compare(name, found[name], array)
    except Differs:
        # Where the two that define ONNX differ, as for coordinates that no integer holds, either is right.
        reference = _by_reference(data, feed, list(found))
        if reference is None:
            raise
        for name, array in zip(found, reference):
            _compare(name, found[name], array)
        return "ran like onnx.reference, and not like ONNX Runtime"
    return "ran like ONNX Runtime"


class Differs(Exception):
    """A value is not that of ONNX Runtime."""


def _by_onnxruntime(data: bytes, feed: dict[str, Any], names: list[str]) -> list[Any] | str:
    import onnxruntime

    print(json.dumps({"stage": "onnxruntime"}), flush=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(data, options)
        wanted = [item.name for item in session.get_outputs()]
        declared = [item.shape for item in session.get_outputs()]
        inputs = {item.name: feed[item.name] for item in session.get_inputs() if item.name in feed}
        result: list[Any] = session.run(wanted, inputs)
    except Exception as error:
        return str(error).splitlines()[0][:80]
    finally:
        print(json.dumps({"stage": "intarsia"}), flush=True)
    for shape, array in zip(declared, result):
        if isinstance(array, np.ndarray) and not _fits(shape, array.shape):
            return "a shape that the model does not declare: these inputs are not meant"
    return result if wanted == names else "other outputs"


def _by_reference(data: bytes, feed: dict[str, Any], names: list[str]) -> list[Any] | None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    try:
        result: list[Any] = ReferenceEvaluator(onnx.ModelProto.FromString(data)).run(names, feed)
    except Exception:
        return None
    return result


def _fits(declared: list[Any], shape: tuple[int, ...]) -> bool:
    known = len(declared) == len(shape)
    return known and all(size == found for size, found in zip(declared, shape) if isinstance(size, int))


def _compare(name: str, mine: Any, theirs: Any) -> None:
    if not isinstance(mine, np.ndarray) or not isinstance(theirs, np.ndarray) or mine.dtype != theirs.dtype:
        return
    if mine.shape != theirs.shape:
        raise Differs(f"'{name}' is {list(mine.shape)}, and {list(theirs.shape)} by ONNX Runtime")
    if mine.dtype.kind in "fc" and mine.size:
        share = 1e-3 if mine.dtype.itemsize > 2 else 2e-2
        with np.errstate(all="ignore"):
            finite = np.isfinite(theirs)
            scale = float(np.abs(theirs[finite]).max(initial=1e-3))
            if not np.allclose(mine, theirs, rtol=share, atol=share * scale, equal_nan=True):
                worst = float(np.abs(mine.astype(np.float64) - theirs.astype(np.float64))[finite].max(initial=0))
                raise Differs(f"'{name}' differs by {worst:.3g} of {scale:.3g}")
    elif mine.dtype.kind in "iu" and mine.size:
        allowed = 1 if mine.dtype.itemsize == 1 else 0  # a float before the rounding may lie on the edge
        if np.abs(mine.astype(np.float64) - theirs.astype(np.float64)).max() > allowed:
            raise Differs(f"'{name}' differs: {mine.reshape(-1)[:4]} and {theirs.reshape(-1)[:4]}")
    elif mine.size and not (mine == theirs).all():
        raise Differs(f"'{name}' differs")


# ---- one process that goes through many


def work(seeds: range, mode: str) -> None:
    """Go through mutants and say on standard output, a line of JSON each, what begins and what came of it."""
    import intarsia
    import intarsia.driver
    from intarsia.errors import InternalError

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(tempfile.mkdtemp(prefix="mutants-"))
    Path("weights.bin").write_bytes(bytes(1000))
    for seed in seeds:
        print(json.dumps({"begin": seed}), flush=True)
        _forget_peak()
        started = time.process_time()
        kind, what = "ok", ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                what = explain(seed) if mode == "explain" else compile_and_run(seed)
            except InternalError as error:
                kind, what = "fault", f"{error.what} @ {_place(error.__cause__)}"
            except intarsia.IntarsiaError as error:
                kind, what = "refused", f"{error.where}: {error.what}"
                if "not enough memory" in error.what:
                    kind = "memory"
            except Differs as error:
                kind, what = "wrong", str(error)
            except Exception as error:
                kind, what = "traceback", f"{type(error).__name__}: {str(error)[:100]} @ {_place(error)}"
        warned = [item for item in caught if item.category is RuntimeWarning and not _makes_mutants(item.filename)]
        if kind in ("ok", "refused") and warned:
            kind, what = "warning", f"{warned[0].message} @ {warned[0].filename}:{warned[0].lineno}"
        seconds, peak = time.process_time() - started, _peak_bytes()
        if seconds > SECONDS:
            kind, what = "hang", f"{seconds:.1f} s: {what}"
        if peak > PEAK_BYTES:
            kind, what = "memory", f"{peak >> 20} MiB: {what}"
        print(json.dumps({"seed": seed, "kind": kind, "what": what[:300]}), flush=True)


def _makes_mutants(file: str) -> bool:
    """Whether a warning comes from what makes mutants: onnx's node cases, and arithmetic on their numbers."""
    return file.endswith("mutations.py") or "/onnx/backend/test/" in file


def _place(error: BaseException | None) -> str:
    if error is None:
        return "?"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


# ---- the process that watches


def run(seed: int, count: int, mode: str) -> Ends:
    """Go through mutants in processes of their own; by kind of end, the seeds and what is to be said."""
    ends: Ends = collections.defaultdict(list)
    following, last = seed, seed + count
    while following < last:
        following = _watched(range(following, last), mode, ends)
    return ends


def _watched(seeds: range, mode: str, ends: Ends) -> int:
    """Until the process ends, in whatever way; the seed to go on with."""
    command = [sys.executable, __file__, "--work", "--seed", str(seeds.start), "--count", str(len(seeds)), f"--{mode}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "INTARSIA_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        current, stage, begun = seeds.start - 1, "intarsia", False
        watch = threading.Timer(PATIENCE_SECONDS, process.kill)
        watch.start()
        for line in process.stdout:
            told = json.loads(line)
            if "begin" in told:
                current, stage, begun = told["begin"], "intarsia", True
                watch.cancel()
                watch = threading.Timer(PATIENCE_SECONDS, process.kill)
                watch.start()
            elif "stage" in told:
                stage = told["stage"]
            else:
                begun = False
                _note(ends, told["kind"], told["seed"], told["what"])
        watch.cancel()
        status = process.wait()
    if begun:
        killed = status == -9
        kind = "hang" if killed else "signal"
        if stage == "onnxruntime":
            kind = "beside"
        _note(ends, kind, current, f"the process ended with {status} in {stage}")
    elif current < seeds.start:
        raise RuntimeError(f"the process ended with {status} before it began")
    return current + 1


def _note(ends: Ends, kind: str, seed: int, what: str) -> None:
    ends[kind].append((seed, what))
    if kind in BAD:
        print(f"{kind} {seed}: {what}", flush=True)


def main() -> int:
    """See the head of this file."""
    sys.path.insert(0, str(Path(__file__).parent))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--count", type=int, default=1000)
    options.add_argument("--only", type=int, help="one seed, in this process")
    options.add_argument("--explain", action="store_true")
    options.add_argument("--compile", action="store_true")
    options.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    mode = "compile" if given.compile else "explain"
    if given.only is not None:
        print(explain(given.only) if mode == "explain" else compile_and_run(given.only))
        return 0
    if given.work:
        work(range(given.seed, given.seed + given.count), mode)
        return 0
    ends = run(given.seed, given.count, mode)
    for kind in sorted(ends, key=lambda kind: -len(ends[kind])):
        print(f"{len(ends[kind]):6} {kind}")
    return 1 if any(ends.get(kind) for kind in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
