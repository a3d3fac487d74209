"""The documents keep their word: tutorials run, and continuous integration runs what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("path", sorted((ROOT / "tutorials").glob("*.py")), ids=lambda path: path.stem)
def test_tutorials_run(path: Path) -> None:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    match = re.search(r"<!-- test -->\n```sh\n(.*?)\n```", readme, re.DOTALL)
    assert match is not None
    assert match[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_readme_links_lead_somewhere() -> None:
    for path in (ROOT / "README.md", ROOT / "compiler" / "README.md", ROOT / "backends" / "README.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
