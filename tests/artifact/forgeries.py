"""Artifacts changed and hashed again: each must be refused by a letter, or run, and give what it should.

python tests/artifact/forgeries.py --seed 1 --count 10000 [--only SUBJECT] [--show refused]

Every forgery is read, reported, loaded, run and verified in a process with limits on memory and time, with machine code
and without. What came of it is one of
    refused    RunError, which names a file and an entry; or the run's time was over, where a loop has more rounds now
    same       outputs as those of the artifact before
    different  other outputs, of an artifact that is another, and valid: its weights, program or graph were changed
    nameless   RunError that names no file: a fault
    wrong      other outputs, though nothing was changed that they depend on: a fault
    foreign    an exception that is no RunError: a fault
    signal, hang, memory: a fault
Exit code 1 where there are faults. A forgery is made again by its seed and number: --seed 1 --from 77 --count 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from forged_subjects import SUBJECTS, Subject, subject_of
from forging import Forgery, forge

from intarsia.artifact import Artifact
from intarsia.artifact.parts import EVALUATOR
from intarsia.errors import IntarsiaWarning, RunError
from intarsia.runtime.limits import RunTimeout
from intarsia.runtime.session import Session, load
from intarsia.runtime.vectors import verify_vectors

FAULTS = ("nameless", "wrong", "foreign", "signal", "hang", "memory")
SECONDS = 30.0
MEMORY_BYTES = 3 << 30
"""Of address space, beside what the process has before."""

TIMEOUT = 5.0
"""Seconds for a run: loops may have any number of rounds."""

EACH_PROCESS = 500

_NAMED = re.compile(
    r"manifest|\.json|\.bin|\.so\b|\.npy|file '|zip directory|input '|run\(\)|device .|regions of kind|archive|"
    r"an element of '"  # an index that is made at run time: the code found it, and names what it came from
)


@dataclass(frozen=True)
class Verdict:
    """What came of one forgery."""

    index: int
    subject: str
    outcome: str
    said: str
    edits: list[str]


def answer(path: Path, subject: Subject, wanted: list[bytes], forgery: Forgery) -> tuple[str, str]:
    """(outcome, what was said) of an artifact on disk."""
    artifact, inputs = subject
    outcome, text = "same", ""
    try:
        opened = Artifact.read(path)
        str(opened.report()), opened.report().to_dict()
        for native in (True, False):
            kinds = {region.kind for region in opened.contents.regions}
            device = "simulator" if "overlay" in kinds else None
            with load(opened, device=device, native=native) as session:
                found = _outputs(session, inputs)
                if found != (wanted if native and not _replaced(session) else _outputs_before(artifact, inputs)):
                    outcome = "different" if forgery.meaning else "wrong"
                    text = "other outputs" if native else "other outputs without machine code"
                _look_at(session)
    except RunTimeout as error:  # a loop of other rounds: what it computes is another thing, and it can be stopped
        outcome, text = "refused", str(error)
    except RunError as error:
        outcome, text = ("refused" if _NAMED.search(f"{error.where}: {error.what}") else "nameless"), str(error)
    except MemoryError:
        outcome, text = "memory", traceback.format_exc()[-300:]
    except Exception as error:
        outcome, text = "foreign", f"{type(error).__name__}: {error}\n{traceback.format_exc()[-900:]}"
    return outcome, text


def _replaced(session: Session) -> bool:
    """Whether the evaluator runs what is machine code: the code says now that it is for another machine."""
    regions = session.artifact.contents.regions
    return any(session.devices[region.name] == EVALUATOR for region in regions if region.kind != EVALUATOR)


def _outputs(session: Session, inputs: list[Any]) -> list[bytes]:
    return [_bytes(array) for _ in range(2) for array in session.run(*inputs, timeout=TIMEOUT)]


def _bytes(array: Any) -> bytes:
    if array.dtype.kind == "O":
        return repr(array.tolist()).encode()
    return bytes(f"{array.dtype.name}{array.shape}".encode() + array.tobytes())


_BEFORE: dict[int, list[bytes]] = {}


def _outputs_before(artifact: Artifact, inputs: list[Any]) -> list[bytes]:
    """What the artifact gives without machine code, which may differ in the last bits of floats."""
    if id(artifact) not in _BEFORE:
        with load(artifact, native=False) as session:
            _BEFORE[id(artifact)] = _outputs(session, inputs)
    return _BEFORE[id(artifact)]


def _look_at(session: Session) -> None:
    """Whatever else commands do with a session."""
    for region in session.devices:
        session.listing(region)
    str(session), str(session.expected)
    session.execute((session.artifact.contents.vectors and _first_vector(session)) or [], timeout=TIMEOUT)
    verify_vectors(session, timeout=TIMEOUT)


def _first_vector(session: Session) -> list[Any]:
    from intarsia.runtime.vectors import read_vectors

    return read_vectors(session.artifact)[0][0]


def forgery_of(seed: int, index: int, only: str | None, subjects: dict[str, Subject]) -> tuple[str, Forgery]:
    """Forgery `index` of a seed: the subject's name, and the changed artifact."""
    rng = random.Random(f"{seed} {index}")
    name = rng.choice(sorted(subjects)) if only is None else only
    return name, forge(subjects[name][0], rng)


Answer = Callable[[Path, Subject, list[bytes], Forgery], tuple[str, str]]


@dataclass(frozen=True)
class Task:
    """What stays the same over all forgeries of a run.

    wanted  by name of a subject, what it answers as it is
    folder  for files of forgeries
    answer  what looks at one, in a process of its own; see the function of that name
    """

    seed: int
    only: str | None
    subjects: dict[str, Subject]
    wanted: dict[str, list[bytes]]
    folder: Path
    answer: Answer

    def forgery(self, number: int) -> tuple[str, Forgery]:
        return forgery_of(self.seed, number, self.only, self.subjects)


def run(
    seed: int, count: int, *, first: int = 0, only: str | None = None, seconds: float = SECONDS, answer: Answer = answer
) -> Iterator[Verdict]:
    """Verdicts about forgeries, in order.

    answer   what looks at one, in a process of its own; see the function of that name
    seconds  that one may take
    """
    names = list(SUBJECTS) if only is None else [only]
    subjects = {name: subject_of(name) for name in names}
    wanted = {}
    for name, (artifact, inputs) in subjects.items():
        device = "simulator" if any(region.kind == "overlay" for region in artifact.contents.regions) else None
        with load(artifact, device=device) as session:
            wanted[name] = _outputs(session, inputs)
        _outputs_before(artifact, inputs)
    folder = Path(tempfile.mkdtemp(prefix="forgeries-"))
    task = Task(seed, only, subjects, wanted, folder, answer)
    try:
        index, end = first, first + count
        while index < end:
            until = min(end, index + EACH_PROCESS)
            for verdict in _process(task, index, until, seconds):
                yield verdict
                index = verdict.index + 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _process(task: Task, index: int, until: int, seconds: float) -> Iterator[Verdict]:
    """Verdicts of one child; where it ends early, the last is about the forgery that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(task, index, until, writing)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        rest = b""
        while index < until:
            ready = select.select([pipe], [], [], seconds)[0]
            piece = pipe.read(1 << 20) if ready else b""
            if not piece:
                if not ready:
                    os.kill(child, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                name, forgery = task.forgery(index)
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                yield Verdict(index, name, "signal" if ready else "hang", how, forgery.edits)
                return
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield Verdict(**json.loads(line))
                index += 1
    os.waitpid(child, 0)


def _child(task: Task, index: int, until: int, writing: int) -> None:
    warnings.simplefilter("ignore", IntarsiaWarning)  # of code that says it is for another machine
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in range(index, until):
            name, forgery = task.forgery(number)
            path = task.folder / f"{number}.intarsia"
            try:
                path.write_bytes(forgery.zipped())
                outcome, said = task.answer(path, task.subjects[name], task.wanted[name], forgery)
                path.unlink()
            except (RunError, UnicodeError) as error:  # a zip of such names cannot even be written
                outcome, said = "refused", f"unwritten: {error}"
            made = {"index": number, "subject": name, "outcome": outcome, "said": said, "edits": forgery.edits}
            os.write(writing, json.dumps(made).encode() + b"\n")
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--from", dest="first", type=int, default=0, help="number of the first forgery")
    parser.add_argument("--only", choices=sorted(SUBJECTS))
    parser.add_argument("--show", nargs="*", default=FAULTS, help="outcomes that are told one by one")
    options = parser.parse_args()
    started, outcomes, slowest, before = time.monotonic(), Counter[str](), 0.0, math.inf
    for verdict in run(options.seed, options.count, first=options.first, only=options.only):
        now = time.monotonic()
        slowest, before = max(slowest, now - before), now
        outcomes[verdict.outcome] += 1
        if verdict.outcome in options.show:
            print(
                f"{verdict.index} {verdict.subject}: {verdict.outcome}\n  {verdict.said}\n  {verdict.edits}", flush=True
            )
    told = ", ".join(f"{outcomes[name]} {name}" for name in ("refused", "same", "different", *FAULTS))
    print(f"seed {options.seed}: {told}; {time.monotonic() - started:.0f} s, at most {slowest:.1f} s for one")
    sys.exit(1 if any(outcomes[name] for name in FAULTS) else 0)


if __name__ == "__main__":
    main()
