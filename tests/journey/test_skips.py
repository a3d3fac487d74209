"""Skips are told by kind, and README.md says which to expect."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skips import KINDS, OTHERS, kind_of, told

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("needs the shared models, which are not part of the repository", "shared models"),
        ("needs qemu-arm: apt install qemu-user", "code for ARM"),
        ("needs zig: pip install '.[boards]'", "code for ARM"),
        ("needs an environment with pynq: tests/board/make_environment makes one in .venv-pynq", "boards"),
        ("this processor has no avx512_vnni; an emulator: pip install bochscpu-python", "processor"),
        ("needs a Python 3.10: set INTARSIA_PYTHON310 to one", "package index"),
        ("could not import 'onnxruntime': No module named 'onnxruntime'", "packages"),
        ("needs openvino: pip install -e '.[bench]'", "packages"),
        ("needs the package cryptography, which signs and checks", "packages"),
        ("needs tclsh: apt-get install tcl", "tools"),
        ("it rains", OTHERS),
    ],
)
def test_reasons_have_a_kind(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


def test_what_is_told_is_counted() -> None:
    assert told([]) == []
    lines = told(["Skipped: needs tclsh: apt-get install tcl", "needs tclsh: apt-get install tcl", "it rains"])
    assert lines == [
        "3 tests skipped; README.md says what is expected where",
        "    2 tools",
        "          2 needs tclsh: apt-get install tcl",
        "    1 others",
        "          1 it rains",
    ]


@pytest.mark.parametrize("more", [(), ("-n", "1")], ids=["alone", "shared"])
def test_the_end_of_a_run_tells(more: tuple[str, ...], tmp_path: Path) -> None:
    """By the hook of tests/conftest.py, also where several processes share the tests."""
    for name in ("conftest.py", "skips.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    (tmp_path / "test_weather.py").write_text(
        "import pytest\ndef test_one(): pytest.skip('it rains')\ndef test_two(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *more]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "= skipped =" in done.stdout and "\n    1 others\n          1 it rains\n" in done.stdout


def test_the_readme_says_what_each_kind_is() -> None:
    table = (ROOT / "README.md").read_text().split("\n| skipped |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([\w ]+) \|", table, flags=re.MULTILINE)
    assert [row for row in rows if row != OTHERS] == [name for name, _ in KINDS]
