"""Threads: the pool of runtime.c by itself, and sessions that share it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import intarsia
from intarsia.artifact import Artifact
from intarsia.dtypes import Array
from intarsia.errors import RunError

HERE = Path(__file__).parent
MODEL = HERE.parent / "models" / "digits_cnn.onnx"
RUNTIME = files("intarsia_backends.cpu") / "runtime.c"

# ---- the pool alone


@pytest.mark.parametrize("checker", ["thread", "address,undefined", ""])
def test_the_pool_under_stress(tmp_path: Path, checker: str) -> None:
    """Callers at once, nested jobs, sleepers, forks, pinned workers, ends and new starts: no race, no step left out."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs gcc or clang, for their sanitizers")
    program = tmp_path / "stress"
    flags = ["-O1", "-g", "-std=c11", "-Wall", "-Wextra", f'-DRUNTIME="{RUNTIME}"']
    flags.append("-DFORKS=6")
    flags += [f"-fsanitize={checker}", "-DROUNDS=1000"] if checker else ["-Werror", "-DROUNDS=10000"]
    built = subprocess.run(
        [compiler, *flags, str(HERE / "pool_stress.c"), "-o", str(program), "-lpthread"], capture_output=True, text=True
    )
    if checker and built.returncode != 0 and re.search(r"cannot find|unsupported option|not supported", built.stderr):
        pytest.skip(f"{compiler} has no -fsanitize={checker} here: {built.stderr[-200:]}")
    assert built.returncode == 0, built.stderr
    settings = {"TSAN_OPTIONS": "die_after_fork=0 halt_on_error=1"}
    ran = subprocess.run([str(program)], capture_output=True, text=True, timeout=400, env={**os.environ, **settings})
    if checker and "unexpected memory mapping" in ran.stderr:
        pytest.skip(f"-fsanitize={checker} does not run on this kernel: {ran.stderr[-200:]}")
    assert ran.returncode == 0, ran.stderr[-4000:]


# ---- sessions


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """A network whose larger layers run on all threads."""
    return intarsia.compile_model(MODEL, target="cpu", precision="float32", batch=8)


@pytest.fixture(scope="module")
def samples(artifact: Artifact) -> list[Array]:
    random = np.random.default_rng(0)
    shape = [size for size in artifact.contents.inputs[0].shape or () if size is not None]
    return [random.standard_normal(shape).astype(np.float32) for _ in range(8)]


def run_together(sessions: Sequence[intarsia.Session], samples: Sequence[Array], rounds: int) -> None:
    """Every sample in a thread of its own, on the sessions in turn; each must give what it gives alone."""
    alone = [sessions[0].run(sample) for sample in samples]
    wrong: list[int] = []

    def repeat(index: int) -> None:
        session = sessions[index % len(sessions)]
        for _ in range(rounds):
            found = session.run(samples[index])
            if not all(one.tobytes() == other.tobytes() for one, other in zip(found, alone[index])):
                wrong.append(index)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(len(samples))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
        assert not thread.is_alive(), "a deadlock"
    assert not wrong


def test_eight_threads_share_one_session(artifact: Artifact, samples: list[Array]) -> None:
    with intarsia.load(artifact, threads=2) as session:
        run_together([session], samples, rounds=100)


def test_four_sessions_at_once(artifact: Artifact, samples: list[Array]) -> None:
    processor = min(os.sched_getaffinity(0))
    sessions = [intarsia.load(artifact, threads=threads) for threads in (2, 5, 1)]
    sessions.append(intarsia.load(artifact, pin=[processor]))
    run_together(sessions, samples, rounds=50)


def test_results_do_not_depend_on_threads(artifact: Artifact, samples: list[Array]) -> None:
    wanted = intarsia.load(artifact, threads=1).run(samples[0])[0].tobytes()
    for threads in (2, 3, 8, 256):
        assert intarsia.load(artifact, threads=threads).run(samples[0])[0].tobytes() == wanted


SCRIPT = """
import os, pathlib, sys, threading
import numpy as np
import intarsia

def tasks():
    return {task.name: task for task in pathlib.Path("/proc/self/task").iterdir()}

def stays(task):
    lines = (task / "status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("Cpus_allowed_list"))

path, x = sys.argv[1], np.load(sys.argv[2])
wanted = intarsia.load(path, threads=1).run(x)[0].tobytes()
before = tasks()
sessions = [intarsia.load(path, threads=threads) for threads in (3, 3, 2, 1)]
"""


def run_script(body: str, artifact: Artifact, sample: Array, folder: Path) -> None:
    """In a process of its own, where no other test has made threads."""
    artifact.save(folder / "model.intarsia")
    np.save(folder / "x.npy", sample)
    arguments = [str(folder / name) for name in ("model.intarsia", "x.npy")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + body, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def test_sessions_share_threads(artifact: Artifact, samples: list[Array], tmp_path: Path) -> None:
    body = """
for session in sessions * 2:
    assert session.run(x)[0].tobytes() == wanted
assert len(set(tasks()) - set(before)) == 2, "3 threads each, the caller among them, are 2 more in all"
while sessions:  # the first region's library holds the pool
    sessions.pop(0)
    for session in sessions:
        assert session.run(x)[0].tobytes() == wanted
assert intarsia.load(path, threads=3).run(x)[0].tobytes() == wanted
"""
    run_script(body, artifact, samples[0], tmp_path)


def test_threads_stay_where_they_are_pinned(artifact: Artifact, samples: list[Array], tmp_path: Path) -> None:
    body = """
mine = os.sched_getaffinity(0)
last = max(mine)
pinned = intarsia.load(path, pin=[last])
for _ in range(20):
    assert pinned.run(x)[0].tobytes() == wanted
made = set(tasks()) - set(before)
assert [stays(tasks()[name]) for name in made] == [str(last)]
assert os.sched_getaffinity(0) == mine, "the caller was moved"
assert intarsia.load(path, pin=[last]).run(x)[0].tobytes() == wanted
assert set(tasks()) - set(before) == made
"""
    run_script(body, artifact, samples[0], tmp_path)


def test_a_fork_while_others_run(artifact: Artifact, samples: list[Array], tmp_path: Path) -> None:
    body = """
stop = threading.Event()
def busy(session):
    while not stop.is_set():
        session.run(x)
threads = [threading.Thread(target=busy, args=(session,)) for session in sessions]
for thread in threads:
    thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        import signal
        signal.alarm(60)  # a child that hangs dies
        good = all(session.run(x)[0].tobytes() == wanted for session in sessions for _ in range(5))
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
"""
    run_script(body, artifact, samples[0], tmp_path)


# ---- what the caller may ask for


def test_the_environment_gives_the_number_of_threads(
    artifact: Artifact, samples: list[Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTARSIA_THREADS", "4")
    monkeypatch.setenv("INTARSIA_SPIN_MICROSECONDS", "0")
    body = """
intarsia.load(path).run(x)
assert len(set(tasks()) - set(before)) == 3
"""
    run_script(body, artifact, samples[0], tmp_path)


def test_refusals(artifact: Artifact, golden: Callable[[str], None]) -> None:
    texts = []
    for threads, pin in ((0, None), (257, None), (True, None), (None, [0, 0]), (None, []), (4, [0, 1]), (2, [-1])):
        with pytest.raises(RunError) as error:
            intarsia.load(artifact, threads=threads, pin=pin)
        texts.append(str(error.value))
    with pytest.raises(RunError) as error:
        intarsia.load(artifact, pin=[1_000_000])
    golden("\n".join([*texts, str(error.value), ""]))


def test_what_has_no_address_the_quick_way(artifact: Artifact, samples: list[Array]) -> None:
    session = intarsia.load(artifact)
    fixed = samples[0].copy()
    fixed.flags.writeable = False
    assert session.run(fixed)[0].tobytes() == session.run(samples[0])[0].tobytes()
    strided = np.repeat(samples[0], 2, axis=-1)[..., ::2]
    assert session.run(strided)[0].tobytes() == session.run(samples[0])[0].tobytes()
