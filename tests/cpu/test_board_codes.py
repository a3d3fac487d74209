"""A board's artifact has code for the board's own processor and for the machine that made it, and runs on both."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from foreign import TARGETS, ForeignRegion, emulator
from test_cpu_region import image, network

import intarsia
from intarsia import driver
from intarsia.artifact import Artifact
from intarsia.artifact.parts import whole_graph
from intarsia.cli.commands import intarsia as command
from intarsia.dtypes import Array
from intarsia.errors import CompileError, IntarsiaWarning, RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.extract import extract
from intarsia.partition import targets_of
from intarsia.runtime.device import RegionFiles
from intarsia.runtime.evaluator import part_of
from intarsia.runtime.session import Session
from intarsia.runtime.vectors import verify_vectors
from intarsia.targets import Blob, find_target
from intarsia_backends.cpu import device as cpu_device
from intarsia_backends.cpu import link
from intarsia_backends.cpu import target as cpu_target
from intarsia_backends.cpu.codes import codes_of, joined
from intarsia_backends.cpu.device import CpuDevice
from intarsia_backends.cpu.machine import machine_name, machine_of
from intarsia_backends.cpu.target import CpuTarget, armv7
from side_by_side import region_files

MODELS = Path(__file__).parents[1] / "models"
MODEL = MODELS / "digits_cnn.onnx"
IMAGES = np.load(MODELS / "digits_test_450.npz")["x"].astype(np.float32)


def compiled(target: str, **options: Any) -> Artifact:
    return intarsia.compile_model(MODEL, target=target, calibration=IMAGES[:32], **options)


@pytest.fixture(scope="module")
def both() -> Artifact:
    return compiled("pynq-z2")


@pytest.fixture(scope="module")
def here_alone() -> Artifact:
    return compiled("pynq-z2", host_only=True)


@pytest.fixture(scope="module")
def board_alone() -> Artifact:
    return compiled("pynq-z2+cpu-armv7")


def cpu_regions(artifact: Artifact) -> list[RegionFiles]:
    """The regions for CPUs, as the runtime hands them to a device."""
    return [
        RegionFiles(
            region.name,
            region.kind,
            tuple((item.name, item.dtype, tuple(size or 0 for size in item.shape or ())) for item in region.inputs),
            tuple((item.name, item.dtype, tuple(size or 0 for size in item.shape or ())) for item in region.outputs),
            {name: artifact.files[region.path(name)] for name in region.files},
            region.metadata,
        )
        for region in artifact.contents.regions
        if region.kind == "cpu"
    ]


# ---- what is in the artifact


def test_each_region_has_the_codes_that_are_made_alone(
    both: Artifact, here_alone: Artifact, board_alone: Artifact
) -> None:
    for joint, here, board in zip(*map(cpu_regions, (both, here_alone, board_alone)), strict=True):
        first, second = codes_of(joint, "it")
        assert (first.files["region.so"], first.metadata) == (here.files["region.so"], here.metadata)
        assert (second.files, second.metadata["machine"]) == (board.files, "armv7l")
        assert {**second.metadata, "blockings": None} == {**board.metadata, "blockings": None}
        assert set(joint.files) == {"region.so", "region.armv7l.so", "weights.bin"}, "equal weights are stored once"


def test_the_artifact_says_which_codes_it_has(both: Artifact, here_alone: Artifact, board_alone: Artifact) -> None:
    made: list[tuple[Artifact, list[str], str | None]] = [
        (both, ["cpu", "cpu-armv7"], None),
        (here_alone, ["cpu"], "cpu-armv7"),
        (board_alone, ["cpu-armv7"], None),
    ]
    for artifact, names, left_out in made:
        report = artifact.report()
        assert [text.split()[0] for text in report.codes] == names and report.left_out == left_out
        metadata = artifact.contents.metadata
        assert ("board_code" in metadata) == (len(names) == 2) and metadata.get("left_out") == left_out
    assert "armv7l, neon" in both.report().codes[1]


def test_two_builds_give_equal_bytes(both: Artifact) -> None:
    again = compiled("pynq-z2+cpu")
    assert again.files == both.files and again.manifest == both.manifest


def test_options_of_the_host_are_those_of_both_codes() -> None:
    code = targets_of(find_target("pynq-z2+cpu{level=portable, strict=true}"))[-1]
    assert isinstance(code, CpuTarget) and isinstance(code.beside, CpuTarget)
    assert code.machine.strict and code.machine.features == () and code.beside.machine.strict
    assert code.beside.machine.features == ("neon",)


def test_boards_and_their_processors() -> None:
    names = {}
    for name in ("pynq-z2", "kv260", "tiny", "cpu", "cpu-armv7"):
        code = targets_of(find_target(name))[-1]
        names[name] = (code.name, None if code.beside is None else code.beside.name)
    assert names == {
        "pynq-z2": ("cpu", "cpu-armv7"),
        "kv260": ("cpu", "cpu-aarch64"),
        "tiny": ("cpu", None),
        "cpu": ("cpu", None),
        "cpu-armv7": ("cpu-armv7", None),
    }


def test_one_code_where_the_builder_is_like_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is linked for the old C library of boards, and no other code stands beside."""
    monkeypatch.setattr(cpu_target, "this_machine", lambda portable=False: machine_of("aarch64", "baseline"))
    monkeypatch.setattr(CpuTarget, "system", "Linux")
    code = targets_of(find_target("kv260"))[-1]
    assert isinstance(code, CpuTarget) and code.beside is None and "aarch64-linux-gnu.2.28" in code.compiler()
    made = code.compile(network())
    assert made.metadata["machine"] == "aarch64" and set(made.files) == {"region.so", "weights.bin"}


def test_an_artifact_without_regions_for_the_cpu_has_no_code() -> None:
    """An int8 model whose ends are int8 as well is the overlay's alone."""
    graph = driver.lower(MODEL, target="pynq-z2", calibration=IMAGES[:32]).graph
    inner = [node for node in graph.nodes if node.op not in ("quantize", "dequantize")]
    part = extract(graph, inner, "inside")
    lowered = driver.lower(MODEL, target="pynq-z2", calibration=IMAGES[:32], host_only=True)
    made = driver.emit(replace(lowered, graph=part, outputs=tuple(v.name for v in part.outputs), calibration=None))
    assert {region.kind for region in made.contents.regions} == {"overlay"}
    assert made.report().codes == () and "left_out" not in made.contents.metadata


# ---- weights


def test_weights_that_differ_are_stored_for_each_code() -> None:
    first = ({"region.so": b"1", "weights.bin": b"w", "more": b"m"}, {"machine": "x", "arena_bytes": 1, "threads": "t"})
    other = ({"region.so": b"2", "weights.bin": b"v", "more": b"m"}, {"machine": "y", "arena_bytes": 1, "threads": "t"})
    files, metadata = joined(first, other, "y")
    assert files == {**first[0], "region.y.so": b"2", "weights.y.bin": b"v"}
    names = {"region.so": "region.y.so", "weights.bin": "weights.y.bin", "more": "more"}
    assert metadata == {**first[1], "further": [{"machine": "y", "files": names}]}
    one, two = codes_of(RegionFiles("r", "cpu", (), (), files, json.loads(json.dumps(metadata))), "it")
    assert (two.files, dict(two.metadata)) == other and dict(one.metadata) == first[1]


# ---- which code runs


def pretend(monkeypatch: pytest.MonkeyPatch, machine: str, features: str = "") -> None:
    """A machine of another kind, as far as devices look."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(cpu_device, "machine_features", lambda: frozenset(features.split()))


def test_a_board_opens_its_own_code(both: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []

    def refuses(code: bytes) -> Any:
        opened.append(code)
        raise RunError(where="", what="", help="")

    monkeypatch.setattr(cpu_device, "open_library", refuses)
    region = cpu_regions(both)[0]
    pretend(monkeypatch, "armv7l", "half thumb vfpv3 neon")
    assert CpuDevice().unfit(region) is None
    with pytest.raises(RunError):
        CpuDevice().load(region)
    assert opened == [region.files["region.armv7l.so"]]


@pytest.mark.parametrize("board", ["pynq-z2", "kv260"])
def test_the_boards_half_on_an_emulated_board(board: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every region for the CPU, by the files that the artifact has, gives the bytes of the reference."""
    target = TARGETS[str(find_target(board).processor)]()
    emulator(target)
    artifact = request.getfixturevalue("both") if board == "pynq-z2" else compiled(board)
    whole = whole_graph(artifact.files)
    values: dict[str, Array] = {}
    image = IMAGES[40:41]
    evaluate(whole, {whole.inputs[0].name: image}, observe=lambda value, array: values.update({value.name: array}))
    values[whole.inputs[0].name] = image
    ran = 0
    for region in cpu_regions(artifact):
        names = {row["name"] for row in artifact.contents.placements if row.get("region") == region.name}
        graph, code = part_of(whole, region, names), codes_of(region, "it")[1]
        folder = tmp_path / region.name
        folder.mkdir()
        foreign = ForeignRegion(graph, target, folder, Blob(code.kind, code.files, code.metadata))
        for value, found in zip(graph.outputs, foreign.run([values[value.name] for value in graph.inputs])):
            assert found.tobytes() == values[value.name].tobytes(), value
            ran += 1
    assert ran == 2


@pytest.mark.parametrize("name", ["both", "board_alone", "here_alone"])
def test_the_evaluator_runs_what_no_code_fits(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, both: Artifact
) -> None:
    artifact = request.getfixturevalue(name)
    (wanted,) = intarsia.load(both).run(IMAGES[40:43])
    pretend(monkeypatch, "riscv64")
    with pytest.warns(IntarsiaWarning) as caught:
        session = intarsia.load(artifact)
    assert len(caught) == 1 and "the evaluator runs them" in str(caught[0].message)
    assert caught[0].filename == __file__, "a warning is about the line that loads"
    assert set(session.devices.values()) == {"evaluator", "simulator"}
    assert session.run(IMAGES[40:43])[0].tobytes() == wanted.tobytes()
    assert all(result.ok for result in verify_vectors(session))
    assert session.notes == (str(caught[0].message),)


def test_nothing_is_said_where_a_code_fits(both: Artifact, recwarn: pytest.WarningsRecorder) -> None:
    session = intarsia.load(both)
    assert set(session.devices.values()) == {"cpu", "simulator"} and session.notes == ()
    assert not recwarn.list


def test_nothing_is_said_where_no_code_is_wanted(board_alone: Artifact, recwarn: pytest.WarningsRecorder) -> None:
    assert intarsia.load(board_alone, native=False).notes == () and not recwarn.list


def test_letters_of_what_fits_nowhere(
    both: Artifact, board_alone: Artifact, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]
) -> None:
    if machine_name() != "x86_64":
        pytest.skip(f"the letters name the machine, and this is {platform.machine()}")
    texts: list[str] = []
    for artifact, machine in ((board_alone, "x86_64"), (both, "riscv64"), (both, "armv7l")):
        pretend(monkeypatch, machine)
        texts += Session(artifact).notes
        with pytest.raises(RunError) as error:
            intarsia.load(artifact, device="cpu")
        texts.append(str(error.value))
    golden("\n".join(texts) + "\n")


def test_commands_say_it_and_go_on(
    board_alone: Artifact, both: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, inputs = tmp_path / "model.intarsia", tmp_path / "x.npy"
    board_alone.save(path)
    np.save(inputs, IMAGES[:1])
    pretend(monkeypatch, "x86_64")
    for words in (["run", str(path), "--input", str(inputs)], ["verify", str(path)], ["report", str(path), "--run"]):
        result = CliRunner().invoke(command, words)
        assert result.exit_code == 0, result.output
        assert result.stderr.count("warning: ") == 1 and "the evaluator runs them" in result.stderr
        assert CliRunner().invoke(command, ["-q", *words]).stderr.startswith("warning: ")
    told = json.loads(CliRunner().invoke(command, ["report", str(path), "--json"]).stdout)
    assert len(told["notes"]) == 1 and told["codes"] == ["cpu-armv7 (armv7l, neon)"]


# ---- what is wrong with a list of codes


DAMAGE: list[tuple[Any, str]] = [
    (7, "'further' is 7, not a list"),
    ([7], "'further' holds 7, not an object"),
    ([{}], r"further\[0\]: the entry 'files' is missing"),
    ([{"files": {"region.so": "gone"}}], r"further\[0\], files: 'region.so' is 'gone', which the region does not have"),
    ([{"files": {"region.so": 3}}], "'region.so' is 3, not text"),
    ([{"files": {}}], "it lacks 'region.so'"),
    ([{"files": {"region.so": "region.so", "weights.bin": "weights.bin"}, "machine": "armv7l"}], "it is for x86_64"),
    ([{"files": {"region.so": "weights.bin", "weights.bin": "weights.bin"}}], "does not begin as a shared library"),
]


@pytest.fixture(scope="module")
def x86_code() -> RegionFiles:
    graph = network()
    return region_files(graph, CpuTarget(machine_of("x86_64", "baseline")).compile(graph))


@pytest.mark.parametrize(("further", "letter"), DAMAGE)
def test_damaged_lists_of_codes(further: Any, letter: str, x86_code: RegionFiles) -> None:
    files = x86_code
    for ask in (CpuDevice().unfit, CpuDevice().load):
        with pytest.raises(RunError, match=letter):
            ask(replace(files, metadata={**files.metadata, "further": further}))


def test_a_further_code_that_says_other_sizes_is_refused(both: Artifact) -> None:
    region = cpu_regions(both)[0]
    entry = region.metadata["further"][0]
    with pytest.raises(RunError, match=r"arena_bytes: 1048576, and region\.so was made for"):
        CpuDevice().unfit(replace(region, metadata={**region.metadata, "further": [{**entry, "arena_bytes": 1 << 20}]}))


def test_codes_give_the_same_floats_within_the_tolerance(tmp_path: Path) -> None:
    """A region of floats has both codes too: the first runs here, the second on an emulated board."""
    emulator(armv7())
    graph = network()
    target = CpuTarget().together(armv7())
    assert target is not None
    files = region_files(graph, target.compile(graph))
    x = image(graph)
    here = CpuDevice().load(files).run([x]).outputs
    code = codes_of(files, "it")[1]
    there = ForeignRegion(graph, armv7(), tmp_path, Blob(code.kind, code.files, code.metadata)).run([x])
    for one, other in zip(here, there):
        assert np.allclose(one, other, atol=1e-4)


# ---- what is missing on the building machine


@pytest.fixture
def without_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    really = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "ziglang" else really(name, *rest)
    )


def never(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("work was begun")


def test_without_zig_nothing_is_begun(
    without_zig: None, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None], tmp_path: Path
) -> None:
    monkeypatch.setattr(driver, "import_model", never)
    texts = []
    for target in ("pynq-z2", "kv260", "pynq-z2+cpu-armv7", "cpu-aarch64"):
        with pytest.raises(CompileError) as error:
            compiled(target)
        texts.append(str(error.value))
    result = CliRunner().invoke(command, ["compile", str(MODEL), "--target", "pynq-z2", "-o", str(tmp_path / "x")])
    assert result.exit_code == 2 and not list(tmp_path.iterdir())
    golden("\n".join([*texts, result.stderr]))


def test_without_zig_the_hosts_code_can_be_had(without_zig: None, here_alone: Artifact) -> None:
    assert compiled("pynq-z2", host_only=True).files == here_alone.files


def test_a_zig_that_does_not_work_is_found_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "import_model", never)
    monkeypatch.setattr(cpu_target, "cross_compiler", lambda machine: ["false", machine.name])
    with pytest.raises(CompileError, match="false armv7l ended with status 1"):
        compiled("pynq-z2")


@pytest.fixture
def untried() -> Iterator[None]:
    """What works is tried once in a process."""
    link.check_linker.cache_clear()
    yield
    link.check_linker.cache_clear()


@pytest.fixture
def homeless(untried: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of our caches, where there is no home."""
    for name in ("HOME", "XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path))
    return tmp_path


def test_a_compiler_without_a_home_hears_of_our_cache(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f'echo "$ZIG_GLOBAL_CACHE_DIR" > {homeless}/said; touch region.so'
    monkeypatch.setattr(cpu_target, "cross_compiler", lambda machine: ["sh", "-c", script])
    find_target("cpu-armv7").ready()
    assert (homeless / "said").read_text() == f"{homeless}/zig\n"


@pytest.mark.slow
def test_a_zig_without_a_home_keeps_its_cache_in_ours(homeless: Path) -> None:
    """It makes all anew there, which takes 5 s of a processor."""
    find_target("cpu-armv7").ready()
    assert list((homeless / "zig").iterdir())


def test_a_zig_whose_cache_cannot_be_written(
    untried: None, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]
) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", "/dev/null/cache")
    with pytest.raises(CompileError) as error:
        find_target("cpu-armv7").ready()
    golden(str(error.value).replace(sys.executable, "python") + "\n")


def test_a_zig_that_never_ends(untried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TRIAL_SECONDS", 0.2)
    monkeypatch.setattr(cpu_target, "cross_compiler", lambda machine: ["sh", "-c", "sleep 30"])
    with pytest.raises(CompileError, match=r"sleep 30' did not end within 0\.2 s"):
        find_target("cpu-armv7").ready()


def test_without_a_c_compiler_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "import_model", never)
    monkeypatch.setenv("CC", "no-such-cc")
    for target in ("cpu", "pynq-z2", "tiny"):
        with pytest.raises(CompileError, match="CC is 'no-such-cc', and there is no such program"):
            compiled(target)


# ---- targets and options that make no sense


def test_hosts_that_make_no_sense(golden: Callable[[str], None]) -> None:
    texts = []
    names = ("cpu+cpu-armv7", "pynq-z2+kv260", "pynq-z2+", "pynq-z2+cpu+cpu", "kv260+cpu-armv7", "pynq-z2+cpu-aarch64")
    for name in names:
        with pytest.raises(CompileError) as error:
            find_target(name)
        texts.append(str(error.value))
    golden("\n".join([*texts, ""]))
    assert find_target("tiny+cpu-armv7").host == "cpu-armv7", "no board is no board of another processor"


def test_host_only_that_makes_no_sense(golden: Callable[[str], None]) -> None:
    texts = []
    for target in ("cpu", "tiny", "cpu-armv7", "pynq-z2+cpu-armv7"):
        with pytest.raises(CompileError) as error:
            compiled(target, host_only=True)
        texts.append(str(error.value))
    golden("\n".join([*texts, ""]))


def test_explain_says_which_codes_there_would_be() -> None:
    told = intarsia.explain(MODEL, target="pynq-z2", host_only=True)
    assert (told.codes, told.left_out) == (("cpu",), "cpu-armv7")
    text = CliRunner().invoke(command, ["explain", str(MODEL), "--target", "pynq-z2"]).stdout
    assert "code for CPUs by: cpu, cpu-armv7\n" in text
    text = CliRunner().invoke(command, ["explain", str(MODEL), "--target", "pynq-z2", "--host-only"]).stdout
    assert "code for CPUs by: cpu; none for the board itself (cpu-armv7)" in text


def test_targets_of_the_emulator_are_those_of_boards() -> None:
    assert {find_target(name).processor for name in ("pynq-z2", "kv260")} == set(TARGETS)


def test_one_zig_runs_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Several of them lock each other's cache, sometimes for ever."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "cache"))
    command = ["sh", "-c", "echo begin >> said; sleep 0.1; echo end >> said", "ziglang"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: link.run_compiler(command, [], tmp_path), range(4)))
    assert (tmp_path / "said").read_text() == "begin\nend\n" * 4
