"""The documents keep their word: what is named exists: files, commands, options, variables, names.

`./check` is what README.md says it is, in continuous integration, in the public workflow and in the hooks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from intarsia import __version__
from intarsia.cli.commands import COMMANDS, intarsia
from intarsia.passes import all_passes

ROOT = Path(__file__).parent.parent.parent
FOLDERS = (".github", "backends", "compiler", "docs", "hw", "tests", "tutorials")
OUTPUTS = ("docs/html", "docs/reference")
"""Folders that commands make: named in documents, and not there in a fresh checkout."""

ELSEWHERE = ("cuda.h", "cuda_occupancy.h", "launches.json", "lib/libintelocl.so", "settings.json")
"""Files of artifacts and of other projects' packages, and those that users write."""

GROUPS = ("intarsia.targets", "intarsia.devices")
"""Entry point groups, which have the form of modules."""

UNCHECKED = "<!-- To be checked line by line before this is released"
"""While this stands in the changelog, what is not released may be ahead of the code."""


@cache
def tree() -> tuple[str, ...]:
    """Every file and folder of the repository, folders with a slash at their end."""
    found = [path.name for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        for path in ROOT.joinpath(folder).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            if "__pycache__" not in name and not name.startswith(OUTPUTS):
                found.append(f"{name}/" if path.is_dir() else name)
    return (*found, *(f"{folder}/" for folder in FOLDERS))


DOCUMENTS = sorted(name for name in tree() if name.endswith(".md") and "/generated/" not in name)


def read(name: str) -> str:
    """A document; what is to be checked later is left out."""
    text = (ROOT / name).read_text()
    if name == "CHANGELOG.md" and UNCHECKED in text:
        text = re.sub(r"^## \[Unreleased\].*?(?=^## \[)", "", text, flags=re.MULTILINE | re.DOTALL)
    return text


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and text of every block of code."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def in_backticks(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_blocks(text))


each_document = pytest.mark.parametrize("name", DOCUMENTS)


# ---- what runs


def command_of_the_readme() -> str:
    match = re.search(r"<!-- test -->\n```sh\n(.*?)\n```", read("README.md"), re.DOTALL)
    assert match is not None
    return match[1]


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    assert command_of_the_readme() in (ROOT / ".ci" / "run").read_text().splitlines()


def load_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_public_workflow_runs_the_command_of_the_readme() -> None:
    workflow = load_yaml(".github/workflows/check.yml")
    assert {"push", "pull_request"} <= set(workflow[True])  # YAML's `on` is true
    job = workflow["jobs"]["check"]
    assert job["steps"][-1]["run"] == command_of_the_readme()
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    for python in job["strategy"]["matrix"]["python"]:
        assert f"Python {python} to" in read("README.md") or f"to {python}" in read("README.md"), python
    packages = " ".join(step.get("run", "") for step in job["steps"])
    for package in ("qemu-user", "libc6-armhf-cross", "libc6-arm64-cross"):
        assert f"`{package}`" in read("README.md") and package in packages, package


def test_hooks_run_what_check_runs() -> None:
    (local,) = load_yaml(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    lines = (ROOT / "check").read_text().splitlines()
    by_stage: dict[str, list[str]] = {}
    for hook in local["hooks"]:
        assert hook["language"] == "system" and not hook["pass_filenames"], hook["id"]
        (stage,) = hook["stages"]
        by_stage.setdefault(stage, []).append(hook["entry"])
    assert by_stage["pre-push"] == ["./check"]
    assert set(by_stage["pre-commit"]) <= set(lines)
    assert lines.index(by_stage["pre-commit"][-1]) < lines.index("docs/build"), "the quick ones come first"


# ---- files


def stands(name: str, document: str) -> bool:
    """Whether a path that a document names exists: from the root, from the document's folder, or as the end of a path.

    The last is how a document names files of the package that it is about: `lower/quads.py`.
    """
    name = name.removeprefix("./")
    if name.rstrip("/") in OUTPUTS or name in ELSEWHERE or name.startswith(("NAME", "...", "a/", "out/")):
        return True
    beside = (Path(document).parent / name).as_posix()
    if any((ROOT / place).exists() for place in (name, beside) if "*" not in place):
        return True
    if name.split("/")[0] in FOLDERS and "*" not in name:
        return False
    end = re.compile("(.*/)?" + re.escape(name.rstrip("/")).replace(r"\*", "[^/]*") + "/?")
    return any(end.fullmatch(path) for path in tree())


PATH = re.compile(r"(?!/)[\w.*+/-]+")
SUFFIXES = (".c", ".cpp", ".h", ".json", ".md", ".py", ".sby", ".sv", ".svh", ".tcl", ".toml", ".v", ".vlt", ".yml")


@each_document
def test_paths_exist(name: str) -> None:
    text = read(name)
    named = {word for word in in_backticks(text) if PATH.fullmatch(word) and ("/" in word or word.endswith(SUFFIXES))}
    for language, block in blocks(text):
        if language != "diff":
            named.update(re.findall(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./*-]+", block))
    missing = sorted(path for path in named if not stands(path, name))
    assert not missing, f"{name} names {', '.join(missing)}"


@each_document
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", without_blocks(read(name))):
        assert (ROOT / name).parent.joinpath(link).exists(), f"{name} links to {link}"


# ---- commands, variables, names


def options_of(command: str) -> set[str]:
    found = intarsia.get_command(click.Context(intarsia), command)
    assert found is not None
    return {"--help", *(text for option in found.params for text in (*option.opts, *option.secondary_opts))}


@cache
def every_option() -> frozenset[str]:
    """Options of all commands, and those of the tests and benchmarks."""
    own = {"--help", *(text for option in intarsia.params for text in option.opts)}
    scripts = "".join(
        (ROOT / path).read_text() for path in tree() if path.startswith("tests/") and path.endswith(".py")
    )
    others = re.findall(r"(?:add_argument|addoption)\(\s*\"(--[a-z-]+)\"", scripts)
    return frozenset(own.union(others, *(options_of(command) for command in COMMANDS)))


@each_document
def test_commands_exist(name: str) -> None:
    text = read(name)
    lines = [line for language, block in blocks(text) if language != "diff" for line in block.splitlines()]
    for line in (*in_backticks(text), *lines):
        match = re.match(r"\s*intarsia ([a-z]+)\b(.*)", line)
        if match is None:
            continue
        command, rest = match.groups()
        assert command in COMMANDS, f"{name}: intarsia {command}"
        unknown = set(re.findall(r"(?<!\S)--[a-z-]+", rest.split("#")[0])) - options_of(command)
        assert not unknown, f"{name}: intarsia {command} has no {', '.join(sorted(unknown))}"


@each_document
def test_options_exist(name: str) -> None:
    for words in in_backticks(read(name)):
        if words.startswith("--"):
            option = re.match(r"--[a-z-]+", words)
            assert option is not None and option[0] in every_option(), f"{name}: {words}"


def test_table_of_commands_is_whole() -> None:
    rows = re.findall(r"^\| `intarsia ([a-z]+)\b.*?` \| (.*) \|$", read("README.md"), flags=re.MULTILINE)
    assert [command for command, _ in rows] == list(COMMANDS)
    for command, about in rows:
        named = {option for words in re.findall(r"`(--[^`]+)`", about) for option in re.findall(r"--[a-z-]+", words)}
        assert named <= options_of(command), f"{command}: {', '.join(sorted(named - options_of(command)))}"


def test_table_of_targets_is_whole() -> None:
    announced = (ROOT / "pyproject.toml").read_text().split('[project.entry-points."intarsia.targets"]\n')[1]
    names = re.findall(r"^([\w-]+) =", announced.split("\n\n")[0], flags=re.MULTILINE)
    table = read("README.md").split("\n## Targets\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE) == names


@cache
def sources() -> str:
    """All code, of packages and tests."""
    suffixes = (".py", ".c", ".cpp", ".h", "check", "make_environment")
    return "".join((ROOT / path).read_text() for path in tree() if path.endswith(suffixes) and path != "docs/conf.py")


@each_document
def test_environment_variables_exist(name: str) -> None:
    text = re.sub(r"^### Removed\n.*?(?=^##)", "", read(name), flags=re.MULTILINE | re.DOTALL)
    for variable in set(re.findall(r"\bINTARSIA_[A-Z]+\b", text)):
        assert f'"{variable}"' in sources(), f"{name} names {variable}, which nothing reads"


@each_document
def test_python_names_exist(name: str) -> None:
    for word in in_backticks(read(name)):
        if re.fullmatch(r"intarsia(_backends|_hw)?(\.\w+)+", word) and word not in GROUPS:
            assert resolves(word), f"{name} names {word}"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            found: Any = import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            if not hasattr(found, word):
                return False
            found = getattr(found, word)
        return True
    return False


# ---- pages with a form of their own


def test_rooms_of_the_architecture_exist_or_come_next() -> None:
    page = read("compiler/README.md")
    floors = page.split("\n## Floors\n")[1].split("\n## ")[0]
    core = ROOT / "compiler" / "intarsia"
    for row in re.findall(r"^\| \d+ \| (.*?) \|", floors, flags=re.MULTILINE):
        for room in re.findall(r"`(\w+)`", row):
            if room != "intarsia":
                assert (core / room).is_dir() or (core / f"{room}.py").is_file(), f"there is no room {room}"
    coming = re.findall(r"^\| `(\w+)` \|", page.split("\n## Rooms that come next\n")[1], flags=re.MULTILINE)
    assert coming == ["compression", "monitoring"]
    for room in coming:
        assert not (core / room).exists(), f"{room} is there: it belongs among the floors"


def test_glossary_is_in_order() -> None:
    words: list[str] = []
    for section in read("docs/glossary.md").split("\n## ")[1:]:
        rows = [row.split(" | ") for row in section.splitlines() if row.startswith("| ")][2:]
        assert all(len(row) == 3 and row[1].strip() for row in rows), "a word, what it means, what others say"
        found = [row[0].removeprefix("| ") for row in rows]
        assert found == sorted(found, key=str.lower), f"words are in order: {found}"
        words += found
    assert len(words) == len(set(words)), "a word is explained once"


def test_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.*?)\]", text, flags=re.MULTILINE)
    assert versions[:2] == ["Unreleased", __version__]
    kinds = set(re.findall(r"^### (.*)$", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_pipelines_in_documents_name_passes_that_exist() -> None:
    lines = [line for line in read("compiler/README.md").splitlines() if line.startswith("..., ")]
    known = {kind.name for kind in all_passes()}
    for line in lines:
        text = re.sub(r"\{[^}]*\}", "", re.split(r"\s{2,}", line)[0])
        named = set(text.replace("..., ", "").split(", "))
        assert named <= known, named - known
    assert len(lines) == 3
