"""What was meant by names that do not exist, and names that a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from intarsia.arguments import near
from intarsia.cli.commands import intarsia


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("verifi",), "'verify'"),
        (("device",), "'devices'"),
        (("compile", "m.onnx", "--targt", "cpu"), "--target"),
        (("run", "m.intarsia", "--devise", "cpu"), "--device"),
        (("explain", "m.onnx", "--target", "pynqz2"), "'pynq-z2'"),
        (("explain", "m.onnx", "--target", "pynq-z2+cpu-arm7"), "'cpu-armv7'"),
        (("explain", "m.onnx", "--target", "cpu{strct=true}"), "'strict'"),
        (("explain", "m.onnx", "--target", "cpu{level=portabel}"), "'portable'"),
        (("explain", "m.onnx", "--target", "cpu", "--limit", "fold_wrok=3"), "'fold_work'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_what_was_meant_is_said(arguments: tuple[str, ...], meant: str) -> None:
    result = CliRunner().invoke(intarsia, arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert "did you mean" in result.stderr.lower() and meant in result.stderr.lower().partition("did you mean")[2]


def test_nothing_is_suggested_for_what_is_like_nothing() -> None:
    for arguments in (("polish",), ("explain", "m.onnx", "--target", "vta")):
        result = CliRunner().invoke(intarsia, arguments)
        assert result.exit_code == 2 and "did you mean" not in result.stderr.lower()
    assert near("verifi", ["verify"]) == "; did you mean 'verify'?" and near("x", ["verify"]) == ""


PROGRAM = """
import sys
from intarsia.cli.main import main
sys.argv = ['intarsia']
try:
    main()
except SystemExit:
    pass
heavy = {'numpy', 'onnx', 'tvm', 'networkx', 'rich', 'intarsia_backends', 'intarsia.driver'} & set(sys.modules)
print('heavy:', sorted(heavy))
"""


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("intarsia ve", ["verify"]),
        ("intarsia compile --target pyn", ["pynq-z2"]),
        ("intarsia explain --target pynq-z2+cpu-a", ["pynq-z2+cpu-aarch64", "pynq-z2+cpu-armv7"]),
        ("intarsia run --device sim", ["simulator"]),
        ("intarsia report --device r", ["rtl"]),
        ("intarsia demo --target ti", ["tiny"]),
        ("intarsia verify --device nothing", []),
    ],
)
def test_names_are_completed_and_nothing_heavy_is_imported(words: str, completed: list[str]) -> None:
    asked = {"_INTARSIA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, env={**os.environ, **asked}
    )
    *lines, heavy = done.stdout.splitlines()
    assert heavy == "heavy: []", done.stderr
    assert [line.partition(",")[2] for line in lines if line] == completed
