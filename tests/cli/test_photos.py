"""Pictures in place of arrays: `intarsia run FILE photo.jpg`, with what the compilation was told of pixels."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from intarsia import ImageOptions, RunError, compile_model, load
from intarsia.artifact import Artifact
from intarsia.cli.commands import intarsia
from intarsia.demo import CLASSES, DEVIATION, MEAN, load_demo
from intarsia.dtypes import Array

SUBTRACTED, SCALE = 255 * MEAN, 1 / (255 * DEVIATION)
OPTIONS = ImageOptions(mean=SUBTRACTED, scale=SCALE, fit="crop")


def pixels_of(row: Array) -> Array:
    return np.asarray(np.rint((row[0] * DEVIATION + MEAN) * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model compiled on a folder of pictures, and pictures that it has not seen."""
    folder = tmp_path_factory.mktemp("pictures")
    demo = load_demo()
    for name, rows in (("calibration", demo.calibration[:40]), ("photos", demo.images[:3])):
        (folder / name).mkdir()
        for index, row in enumerate(rows):
            Image.fromarray(pixels_of(row)).save(folder / name / f"{index:02}.png")
    made = compile_model(
        demo.model_path, target="cpu", precision="int8", calibration=folder / "calibration", images=OPTIONS
    )
    made.save(folder / "clothes.intarsia")
    (folder / "names.txt").write_text("\n".join(CLASSES))
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(intarsia, ("run", "clothes.intarsia", *arguments))
    assert result.exit_code == code, result.output
    return result


def scores(*arguments: str, folder: Path) -> Array:
    call(*arguments, "-o", str(folder / "y.npy"))
    return np.asarray(np.load(folder / "y.npy"))


def test_pictures_are_what_the_same_arrays_are(here: Path, tmp_path: Path) -> None:
    files = sorted((here / "photos").glob("*.png"))
    pixels = np.stack([np.asarray(Image.open(path), np.float32)[None] for path in files])
    rows = np.asarray((pixels - np.float32(SUBTRACTED)) * np.float32(SCALE), np.float32)
    with load(here / "clothes.intarsia") as session:
        wanted = session.run(rows)[0]
    assert scores("photos", folder=tmp_path).tobytes() == wanted.tobytes()
    assert scores(*map(str, files), folder=tmp_path).tobytes() == wanted.tobytes()
    assert scores("--input", str(files[1]), folder=tmp_path).tobytes() == wanted[1:2].tobytes()
    assert scores("photos", "--scale", str(2 * SCALE), folder=tmp_path).tobytes() != wanted.tobytes()


def test_classes_stand_beside_the_names_of_pictures(here: Path) -> None:
    text = call("photos", "--top", "2", "--labels", "names.txt").stdout
    for name, label in zip(("00", "01", "02"), load_demo().labels):
        assert f"photos/{name}.png" in text and CLASSES[label] in text
    data: dict[str, Any] = json.loads(call("photos/02.png", "--labels", "names.txt", "--json").stdout)
    assert data["pictures"] == ["photos/02.png"]
    assert data["top"]["images"][0][0]["label"] == CLASSES[load_demo().labels[2]]


def test_a_photo_of_another_size_colour_and_side_up(here: Path, tmp_path: Path) -> None:
    """As a camera has it: large, in colours, and lying, with a word about it in its EXIF data."""
    small = Image.fromarray(pixels_of(load_demo().images[0]))
    large = small.resize((280, 280), Image.Resampling.NEAREST).convert("RGB")
    large.save(tmp_path / "up.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    large.rotate(90, expand=True).save(tmp_path / "lying.png", exif=exif)
    up, lying = (scores(str(tmp_path / f"{name}.png"), folder=tmp_path) for name in ("up", "lying"))
    assert up.tobytes() == lying.tobytes()
    assert up.argmax() == load_demo().labels[0]


def test_models_of_pixels_take_them_as_they_are(tmp_path: Path) -> None:
    from onnx import helper as onnx
    from onnx import numpy_helper

    weights = numpy_helper.from_array(np.arange(36, dtype=np.float32).reshape(12, 3) / 36, "w")
    graph = onnx.make_graph(
        [
            onnx.make_node("Cast", ["x"], ["f"], to=1),
            onnx.make_node("Flatten", ["f"], ["r"]),
            onnx.make_node("MatMul", ["r", "w"], ["y"]),
        ],
        "pixels",
        [onnx.make_tensor_value_info("x", 2, ["N", 2, 2, 3])],
        [onnx.make_tensor_value_info("y", 1, ["N", 3])],
        [weights],
    )
    model = onnx.make_model(graph, opset_imports=[onnx.make_opsetid("", 17)], ir_version=8)
    artifact = compile_model(model, target="cpu")
    assert artifact.images is None and "images" not in artifact.manifest["metadata"]
    artifact.save(tmp_path / "pixels.intarsia")
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    arguments = ("run", str(tmp_path / "pixels.intarsia"), str(tmp_path / "p.png"))
    done = CliRunner().invoke(intarsia, (*arguments, "-o", str(tmp_path / "y.npy")))
    assert done.exit_code == 0, done.output
    with load(artifact) as session:
        assert np.load(tmp_path / "y.npy").tobytes() == session.run(pixels[None])[0].tobytes()
    refused = CliRunner().invoke(intarsia, (*arguments, "--scale", "0.5"))
    assert refused.exit_code == 2 and "takes pixels as they are" in refused.stderr


def test_a_comparison_with_the_float_model_takes_pictures_too(here: Path) -> None:
    arguments = ("verify", "clothes.intarsia", "--against", str(load_demo().model_path), "--input", "photos", "--json")
    done = CliRunner().invoke(intarsia, arguments)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["ok"] and len(data["reference"]) == 3 and all(layer["sqnr"] > 20 for layer in data["layers"])


REFUSED = {
    "no-such-picture": ("photos/99.png",),
    "folder-of-none": ("empty",),
    "no-picture": ("text.png",),
    "colours-for-grey": ("photos", "--colour", "RGB"),
    "means-for-grey": ("photos", "--mean", "1,2,3"),
    "options-without-pictures": ("--input", "x.npy", "--mean", "1"),
    "pictures-and-arrays": ("photos", "--input", "x.npy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_letters(case: str, here: Path, golden: Callable[[str], None]) -> None:
    (here / "empty").mkdir(exist_ok=True)
    (here / "text.png").write_text("hello")
    np.save(here / "x.npy", np.zeros((1, 1, 28, 28), np.float32))
    before = sorted(here.rglob("*"))
    result = call(*REFUSED[case], code=2)
    assert result.stdout == "" and sorted(here.rglob("*")) == before
    golden(result.stderr)


def test_what_is_missing_is_said(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Artifact.read(here / "clothes.intarsia")
    metadata = {name: item for name, item in plain.manifest["metadata"].items() if name != "images"}
    Artifact({**plain.manifest, "metadata": metadata}, plain.files).save(tmp_path / "plain.intarsia")
    refused = CliRunner().invoke(intarsia, ("run", str(tmp_path / "plain.intarsia"), "photos"))
    assert refused.exit_code == 2 and "give --scale and --mean as in training" in refused.stderr
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install 'intarsia[images]'" in call("photos", code=2).stderr


def test_forged_options_are_refused(here: Path) -> None:
    plain = Artifact.read(here / "clothes.intarsia")
    kept = plain.manifest["metadata"]["images"]
    assert plain.images == OPTIONS
    for change in (
        {"mean": "1"},
        {"mean": [1, True, 2]},
        {"scale": 1e300},
        {"scale": [0.0] * 5},
        {"colour": "CMYK"},
        {"layout": 1},
        {"fit": ""},
        {"more": 1},
    ):
        with pytest.raises(RunError, match="metadata, images"):
            Artifact({**plain.manifest, "metadata": {"images": {**kept, **change}}}, plain.files)


def test_pictures_of_more_bits(here: Path, tmp_path: Path) -> None:
    """Those of 16 are taken by their upper 8; of 32 nobody knows what is white."""
    eight = np.arange(28 * 28, dtype=np.uint32).reshape(28, 28) % 256
    for name, pixels in (("8", eight.astype(np.uint8)), ("16", (eight * 256 + 7).astype(np.uint16))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    wanted = scores(str(tmp_path / "8.png"), folder=tmp_path)
    assert scores(str(tmp_path / "16.png"), folder=tmp_path).tobytes() == wanted.tobytes()
    Image.fromarray(eight.astype(np.float32)).save(tmp_path / "float.tiff")
    assert "its pixels have 32 bits" in call(str(tmp_path / "float.tiff"), code=2).stderr


def test_damaged_pictures_are_letters(here: Path, tmp_path: Path) -> None:
    """Whatever a reader of Pillow raises."""
    (tmp_path / "short.ppm").write_bytes(b"P6\n28")
    (tmp_path / "short.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x05IHDR\x00\x00\x00\x1c\x00")
    for name in ("short.ppm", "short.png"):
        assert f"{name}': it cannot be read" in call(str(tmp_path / name), code=2).stderr
