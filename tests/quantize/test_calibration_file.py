"""Measured ranges as a file: the same numbers again, the same artifact again, and a letter for every other file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import intarsia
from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.passes.calibration import FORMAT_VERSION, Ranges, measured_before, ranges_text, read_ranges
from intarsia.targets import available_targets

MODELS = Path(__file__).parents[1] / "models"
MODEL = MODELS / "digits_cnn.onnx"

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.fixture(scope="module")
def images() -> Array:
    with np.load(MODELS / "digits_test_450.npz") as data:
        found: Array = data["x"][:32].astype(np.float32)
    return found


@pytest.fixture(scope="module")
def measured(images: Array, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, intarsia.Artifact]:
    """The file of a measurement, and the artifact that came of it."""
    path = tmp_path_factory.mktemp("measured") / "ranges.json"
    artifact = intarsia.compile_model(MODEL, target="pynq-z2", calibration=images, save_calibration=path)
    return path, artifact


@given(
    st.dictionaries(st.text(), st.tuples(numbers, numbers).map(sorted).map(tuple)),
    st.sets(st.text()),
    st.integers(1, 1 << 40),
)
def test_every_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory, bounds: Any, infinite: set[str], samples: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    ranges = Ranges(
        bounds,
        samples,
        method="percentile",
        percentile=99.9,
        model="näme",
        graph_sha256="0" * 64,
        infinite=dict.fromkeys(infinite - set(bounds), samples - 1),
    )
    ranges.save(path)
    assert read_ranges(path) == ranges
    assert repr(read_ranges(path).bounds) == repr(bounds), "minus zero included"


def test_the_file_says_what_was_measured(measured: tuple[Path, intarsia.Artifact], images: Array) -> None:
    data = json.loads(measured[0].read_text())
    assert (data["model"], data["method"], data["percentile"], data["samples"]) == ("digits_cnn", "minmax", None, 32)
    assert data["ranges"]["input"] == [float(images.min()), float(images.max())]
    assert measured_before(measured[0]) == measured_before(str(measured[0])) == read_ranges(measured[0])


def test_ranges_give_the_artifact_that_the_data_gave(measured: tuple[Path, intarsia.Artifact]) -> None:
    path, artifact = measured
    for source in (path, str(path), read_ranges(path)):
        again = intarsia.compile_model(MODEL, target="pynq-z2", calibration=source)
        paths = {name for name in {*artifact.files, *again.files} if artifact.files.get(name) != again.files.get(name)}
        assert all(name.startswith("vectors/") for name in paths)
        assert any(name.endswith("/inputs/0.npy") for name in paths), "no real input is in the file"
        left = [{**made.manifest, "files": None, "vectors": None} for made in (artifact, again)]
        assert left[0] == left[1]


def test_one_measurement_serves_every_target(measured: tuple[Path, intarsia.Artifact]) -> None:
    assert len(available_targets()) >= 6
    for target in ("cpu", "tiny", "pynq-z2"):
        made = intarsia.compile_model(MODEL, target=target, precision="int8", calibration=measured[0])
        assert made.contents.precision == "int8"


def test_a_saved_file_of_a_reused_one_is_the_same(measured: tuple[Path, intarsia.Artifact], tmp_path: Path) -> None:
    place = tmp_path / "again.json"
    intarsia.compile_model(MODEL, target="tiny", calibration=measured[0], save_calibration=place)
    assert place.read_bytes() == measured[0].read_bytes()


def test_percentiles_are_in_the_file(images: Array, tmp_path: Path) -> None:
    place = tmp_path / "ranges.json"
    options: dict[str, Any] = {"calibrator": "percentile", "percentile": 99.0, "save_calibration": place}
    made = intarsia.compile_model(MODEL, target="tiny", calibration=images, **options)
    ranges = read_ranges(place)
    assert (ranges.method, ranges.percentile) == ("percentile", 99.0)
    again = intarsia.compile_model(MODEL, target="tiny", calibration=ranges)
    assert made.files["graph/graph.json"] == again.files["graph/graph.json"]


GOOD = Ranges({"x": (-1.0, 1.0)}, 1, model="net", graph_sha256="ab" * 32)

DAMAGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a-list": lambda data: [1],
    "another-object": lambda data: {"x": [0, 1]},
    "newer": lambda data: {**data, "format_version": FORMAT_VERSION + 1},
    "missing": lambda data: {key: value for key, value in data.items() if key != "samples"},
    "unknown": lambda data: {**data, "colour": "red"},
    "model": lambda data: {**data, "model": 7},
    "digest": lambda data: {**data, "graph_sha256": "12"},
    "method": lambda data: {**data, "method": "entropy"},
    "percentile": lambda data: {**data, "percentile": 10},
    "samples": lambda data: {**data, "samples": 0},
    "no-ranges": lambda data: {**data, "ranges": [1]},
    "upside-down": lambda data: {**data, "ranges": {"x": [1.0, -1.0]}},
    "not-numbers": lambda data: {**data, "ranges": {"x": ["-1", "1"]}},
    "nan": lambda data: {**data, "ranges": {"x": [0.0, math.nan]}},
    "infinite": lambda data: {**data, "ranges": {"x": [0.0, math.inf]}},
    "huge": lambda data: {**data, "ranges": {"x": [0, 10**400]}},
    "no-sample": lambda data: {**data, "ranges": {"x": 1}},
    "three": lambda data: {**data, "ranges": {"x": [0, 1, 2]}},
}


def test_damaged_files_get_a_letter(tmp_path: Path, golden: Callable[[str], None]) -> None:
    texts = {name: json.dumps(damage(json.loads(ranges_text(GOOD)))) for name, damage in DAMAGED.items()}
    path = tmp_path / "ranges.json"
    letters = []
    for name, text in texts.items():
        path.write_text(text)
        with pytest.raises(CompileError) as caught:
            intarsia.compile_model(MODEL, target="tiny", calibration=path)
        letters.append(f"{name}\n{caught.value}\n".replace(str(tmp_path), "FOLDER"))
    golden("\n".join(letters))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (ranges_text(GOOD)[:40].encode(), "it is not JSON: "),
        (b"", "it is not JSON: "),
        (b"[" * 1_000_000, "it is nested too deeply"),
        (b"\xff\xfe", "it cannot be read: "),
    ],
)
def test_what_is_no_json_gets_a_letter(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_bytes(content)
    with pytest.raises(CompileError, match=what):
        read_ranges(path)


def test_foreign_and_useless_files_get_a_letter(
    measured: tuple[Path, intarsia.Artifact], tmp_path: Path, golden: Callable[[str], None]
) -> None:
    def letter(**options: Any) -> str:
        with pytest.raises(CompileError) as caught:
            intarsia.compile_model(MODEL, **{"target": "tiny", "calibration": measured[0], **options})
        return f"{caught.value}\n".replace(str(tmp_path), "FOLDER")

    letters = [
        letter(batch=2),
        letter(calibration=GOOD),
        letter(calibration=tmp_path / "none.json"),
        letter(calibration=Ranges(read_ranges(measured[0]).bounds, assumed=True)),
        letter(target="cpu", precision="float32", calibration=None, save_calibration=tmp_path / "a.json"),
        letter(save_calibration=tmp_path / "no" / "such" / "a.json"),
    ]
    golden("\n".join(letters))


def test_ranges_are_saved_over_nothing_but_ranges(measured: tuple[Path, intarsia.Artifact], tmp_path: Path) -> None:
    def compiled(place: Path) -> None:
        images = np.zeros((32, 1, 8, 8), np.float32)
        intarsia.compile_model(MODEL, target="tiny", calibration=images, save_calibration=place)

    notes = tmp_path / "notes.json"
    notes.write_text('{"mine": 1}')
    folder = tmp_path / "folder.json"
    folder.mkdir()
    for place, what in (
        (notes, "a file that is not one of ranges"),
        (folder, "a folder stands there"),
        (tmp_path / "model.onnx", "does not end in .json"),
    ):
        with pytest.raises(CompileError, match=what):
            compiled(place)
    assert notes.read_text() == '{"mine": 1}'
    compiled(tmp_path / "new.json")
    compiled(tmp_path / "new.json")


def test_a_pipeline_that_only_measures_is_no_int8(measured: tuple[Path, intarsia.Artifact]) -> None:
    images = np.zeros((32, 1, 8, 8), np.float32)
    for pipeline in ("calibrate", "calibrate, decompose"):
        with pytest.raises(CompileError, match="leaves all in float32"):
            intarsia.compile_model(MODEL, target="tiny", precision="int8", calibration=images, pipeline=pipeline)
