"""The ONNX backend's node cases through `compile_model(target="cpu")` and `Session.run`: how many pass, and how.

    python tests/benchmarks/onnx_node_cases.py                      all cases as onnx ships them, some 20 minutes
    python tests/benchmarks/onnx_node_cases.py --constants          with shapes, axes and weights constant, as in models
    python tests/benchmarks/onnx_node_cases.py --only '^test_lstm'  some of them, with the reasons of each
    python tests/benchmarks/onnx_node_cases.py --update             rewrites tests/onnx_node_failures.json
    python tests/benchmarks/onnx_node_cases.py --json               the whole table

Outputs are compared by the runner that onnx ships, with the tolerances that each case states. Cases run in worker
processes, so that one that crashes or hangs is counted and the rest go on. A case that is refused as it stands is tried
once more with the elements of its shape-like inputs given to the compiler (`values=`); those are counted apart.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.connection
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
from node_case import STATUSES, Outcome, load_cases, parameters, run_case

FAILURES = Path(__file__).parent.parent / "onnx_node_failures.json"
"""Cases that do not pass, with the reason: {"onnx": version, "cases": {name: "status: reason"}}."""

ONNX_VERSION = "1.23.2"
"""The release whose cases the list is about; another one generates others."""

SECONDS_A_CASE = 300


def attempt(case: Any, constants: bool) -> Outcome:
    """A case as it stands, or with its parameters given to the compiler."""
    given = parameters(case)
    outcome = run_case(case, given if constants else ())
    if outcome.status == "refused" and given and not constants:
        again = run_case(case, given)
        return again if again.passed else replace(outcome, given=())
    return outcome


def _serve(pipe: Any, cases: Sequence[Any], constants: bool) -> None:
    """A worker: takes indices, answers outcomes."""
    while (index := pipe.recv()) is not None:
        pipe.send(attempt(cases[index], constants))


def outcomes(cases: Sequence[Any], constants: bool, jobs: int = 1) -> Iterator[Outcome]:
    """What becomes of each case, as they finish."""
    fork = multiprocessing.get_context("fork")  # the cases take half a minute to generate; workers inherit them
    waiting = list(range(len(cases)))[::-1]
    busy: dict[Any, tuple[Any, int, float]] = {}
    idle: list[tuple[Any, Any]] = []
    while waiting or busy:
        while waiting and len(busy) < jobs:
            if idle:
                pipe, worker = idle.pop()
            else:
                pipe, far = fork.Pipe()
                worker = fork.Process(target=_serve, args=(far, cases, constants), daemon=True)
                worker.start()
                far.close()
            index = waiting.pop()
            pipe.send(index)
            busy[pipe] = worker, index, time.monotonic()
        ready: list[Any] = multiprocessing.connection.wait(list(busy), timeout=1)
        for pipe in ready:
            worker, index, _ = busy.pop(pipe)
            try:
                outcome = pipe.recv()
                idle.append((pipe, worker))
            except EOFError:
                worker.join()
                outcome = Outcome(cases[index].name, "crashed", f"the process ended with {worker.exitcode}")
            yield outcome
        for pipe, (worker, index, started) in list(busy.items()):
            if time.monotonic() - started > SECONDS_A_CASE:
                del busy[pipe]
                worker.kill()
                yield Outcome(cases[index].name, "crashed", f"it takes more than {SECONDS_A_CASE} s")
    for pipe, _ in idle:
        pipe.send(None)


def failures_of(found: Sequence[Outcome]) -> dict[str, Any]:
    """The content of the list of failures."""
    rows = {item.name: f"{item.status}: {item.reason}" for item in found if not item.passed}
    return {"onnx": onnx.__version__, "cases": dict(sorted(rows.items()))}


def report(found: Sequence[Outcome]) -> str:
    """Counts, then why cases did not pass and why the evaluator ran what it ran, most frequent first."""
    counts = Counter(item.status for item in found)
    passed = [item for item in found if item.passed]
    given = [item for item in passed if item.given]
    lines = [f"{len(found)} cases, {len(passed)} passed ({len(given)} of them with inputs given as values)"]
    lines += [f"  {status:<10} {counts[status]}" for status in STATUSES]
    for title, rows in (
        ("not passed", [f"{item.status}: {item.reason}" for item in found if not item.passed]),
        ("run by the evaluator", [row for item in found for row in dict.fromkeys(item.evaluated)]),
    ):
        table = Counter(re.sub(r"'[^']*'", "'..'", row)[:160] for row in rows)
        lines += [f"{title}:", *(f"  {count:>4} {row}" for row, count in table.most_common())]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="regular expression that names of cases must match")
    parser.add_argument("--constants", action="store_true", help="give shapes, axes and weights as values to all")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--update", action="store_true", help=f"rewrite {FAILURES.name}")
    parser.add_argument("--json", action="store_true", help="print every outcome as JSON")
    options = parser.parse_args()
    if options.update and (options.only or options.constants):
        parser.error("--update needs a run of all cases as they are shipped")
    if options.update and onnx.__version__ != ONNX_VERSION:
        parser.error(f"the list is about onnx {ONNX_VERSION}, and {onnx.__version__} is installed")
    cases = [case for case in load_cases() if re.search(options.only, case.name)]
    found: list[Outcome] = []
    for outcome in outcomes(cases, options.constants, options.jobs):
        found.append(outcome)
        if options.only and not options.json:
            print(outcome.name, outcome.status, *outcome.given, outcome.reason, *outcome.evaluated, sep=" | ")
        elif sys.stderr.isatty():
            print(f"\r{len(found)} of {len(cases)}", end="", file=sys.stderr)
    if options.update:
        FAILURES.write_text(json.dumps(failures_of(found), indent=1) + "\n")
    print(json.dumps([asdict(item) for item in found]) if options.json else report(found))


if __name__ == "__main__":
    main()
