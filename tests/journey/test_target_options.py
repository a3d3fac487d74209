"""Options of targets: spelled on them, checked, listed, recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import intarsia
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node
from intarsia.targets import YES, Blob, OptionValue, Support, Target, TargetOption, find_target, spelled

MODELS = Path(__file__).parent.parent / "models"


class Oven(Target):
    """Has an option of every kind."""

    name = "oven"
    description = "bakes"
    options: tuple[TargetOption, ...] = (
        TargetOption("fan", False, "whether air is moved"),
        TargetOption("degrees", 180, "how hot"),
        TargetOption("hours", 1.5, "how long"),
        TargetOption("shelf", "middle", "where", ("top", "middle")),
        TargetOption("label", "", "anything"),
    )

    def supports(self, node: Node) -> Support:
        return YES

    def compile(self, region: Graph) -> Blob:
        raise AssertionError


@pytest.fixture
def oven(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, make: Callable[[], Target]) -> None:
            self.load = lambda: make

    class Grill(Oven):
        """Leaves to the oven what it does not take."""

        name, host, options = "grill", "oven", Oven.options[:1]

    monkeypatch.setattr("intarsia.targets._entries", lambda: {"oven": Entry(Oven), "grill": Entry(Grill)})


def test_options_left_out_keep_their_defaults(oven: None) -> None:
    defaults = {"fan": False, "degrees": 180, "hours": 1.5, "shelf": "middle", "label": ""}
    assert find_target("oven").settings == find_target("oven{}").settings == defaults
    chosen = find_target("oven{fan=TRUE, degrees=-20,hours=2, shelf = top, label=a b}").settings
    assert chosen == {"fan": True, "degrees": -20, "hours": 2.0, "shelf": "top", "label": "a b"}
    assert Oven().settings == defaults, "a choice is of the one who chooses"


def test_hosts_have_options_too(oven: None) -> None:
    target = find_target("grill{fan=true}+oven{degrees=90}")
    assert target.settings == {"fan": True} and target.host == "oven{degrees=90}"
    assert find_target(target.host).settings["degrees"] == 90
    assert find_target("grill").host == "oven"


REFUSED = (
    "oven{wind=true}",
    "oven{fan=maybe}",
    "oven{fan=1}",
    "oven{degrees=1.5}",
    "oven{hours=long}",
    "oven{shelf=bottom}",
    "oven{fan}",
    "oven{=1}",
    "oven{fan=true,fan=true}",
    "oven{fan=true,}",
    "oven{fan=true",
    "ovenfan=true}",
    "oven{fan=true}}",
    "grill+oven{wind=true}",
    "grill+toaster{fan=true}",
    "toaster{fan=true}",
    "{fan=true}",
)


def test_what_is_refused(oven: None, golden: Callable[[str], None]) -> None:
    letters = []
    for name in REFUSED:
        with pytest.raises(CompileError) as caught:
            find_target(name)
        letters.append(f"{caught.value}\n")
    golden("\n".join(letters))


def test_what_options_take_is_said() -> None:
    takes = {option.name: option.takes for option in Oven.options}
    assert takes == {
        "fan": "true or false",
        "degrees": "a whole number",
        "hours": "a number",
        "shelf": "top or middle",
        "label": "a word",
    }
    values: Mapping[OptionValue, str] = {True: "true", 7: "7", "top": "top"}
    assert {value: spelled(value) for value in values} == values


def test_the_built_in_targets_say_what_may_be_chosen(golden: Callable[[str], None]) -> None:
    with pytest.raises(CompileError) as caught:
        find_target("cpu{level=avx2}")
    golden(f"{caught.value}\n")
    with pytest.raises(CompileError, match="'cpu-armv7' has no option 'level'"):
        find_target("cpu-armv7{level=native}")
    with pytest.raises(CompileError, match="'tiny' has no option 'strict'"):
        find_target("tiny{strict=true}")


def test_the_manifest_records_what_was_chosen() -> None:
    data = np.load(MODELS / "digits_test_450.npz")["x"][:8]
    made = intarsia.compile_model(
        MODELS / "digits_cnn.onnx", target="tiny+cpu{level=portable, strict=true}", calibration=data
    )
    metadata = made.contents.metadata
    assert "options" not in metadata["facts"]
    assert metadata["host_code"]["options"] == {"level": "portable", "strict": True}
    assert metadata["host_code"]["features"] == []
    assert {region.metadata.get("level") for region in made.contents.regions if region.kind == "cpu"} == {"baseline"}


def test_no_environment_variable_chooses_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = intarsia.compile_model(MODELS / "digits_cnn.onnx", target="cpu")
    monkeypatch.setenv("INTARSIA_CPU", "portable")
    monkeypatch.setenv("INTARSIA_FLOAT", "strict")
    after = intarsia.compile_model(MODELS / "digits_cnn.onnx", target="cpu")
    assert before.files == after.files and before.manifest == after.manifest
