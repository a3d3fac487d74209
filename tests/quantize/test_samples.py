"""Calibration data in all its forms, and what is said when it does not fit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.passes.quantize import ImageOptions, read_samples


def graph_of(**inputs: tuple[str, tuple[int, ...]]) -> Graph:
    graph = Graph("net")
    for name, (dtype, shape) in inputs.items():
        graph.add_input(name, TensorType(dtype, shape))
    return graph


IMAGE = graph_of(image=("float32", (1, 3, 8, 6)))
ROWS = np.arange(5 * 3 * 8 * 6, dtype=np.float32).reshape(5, 3, 8, 6)


def stacked(samples: Any, name: str = "image") -> Array:
    return np.concatenate([sample[name] for sample in samples])


def npz(path: Path, **arrays: Array) -> Path:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


SOURCES: dict[str, Callable[[Path], Any]] = {
    "array": lambda folder: ROWS,
    "float64": lambda folder: ROWS.astype(np.float64),
    "mapping": lambda folder: {"image": ROWS, "y": np.arange(3)},
    "iterable": lambda folder: [{"image": row[None]} for row in ROWS],
    "rows": lambda folder: [{"image": row} for row in ROWS],
    "arrays": lambda folder: list(ROWS),
    "npz-named": lambda folder: npz(folder / "a.npz", image=ROWS, y=np.arange(5)),
    "npz-lone": lambda folder: npz(folder / "a.npz", whatever=ROWS),
    "npz-x": lambda folder: npz(folder / "a.npz", x=ROWS, y=np.arange(5)),
    "npz-fortran": lambda folder: npz(folder / "a.npz", x=np.asfortranarray(ROWS)),
}


@pytest.mark.parametrize("case", SOURCES)
def test_every_source_gives_the_same_samples(case: str, tmp_path: Path) -> None:
    samples = read_samples(IMAGE, SOURCES[case](tmp_path))
    assert samples.total == 5
    for _ in range(2):
        read = stacked(samples)
        assert read.dtype == np.float32 and np.array_equal(read, ROWS)


def test_npy_and_strings(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS.astype(np.uint8))
    read = stacked(read_samples(IMAGE, str(tmp_path / "a.npy")))
    assert np.array_equal(read, ROWS.astype(np.uint8).astype(np.float32))


def test_a_generator_serves_once() -> None:
    samples = read_samples(IMAGE, ({"image": row} for row in ROWS))
    assert samples.total == 0
    assert np.array_equal(stacked(samples), ROWS)


def test_a_compiled_batch_takes_its_rows_and_fills_up() -> None:
    graph = graph_of(image=("float32", (2, 3, 8, 6)))
    samples = list(read_samples(graph, ROWS))
    assert len(samples) == 3
    assert np.array_equal(samples[2]["image"], ROWS[[4, 0]])
    assert np.array_equal(next(iter(read_samples(graph, ROWS[:1])))["image"], ROWS[[0, 0]])


def test_several_inputs_and_inputs_without_batch() -> None:
    graph = graph_of(a=("float32", (1, 4)), b=("int64", (7,)))
    a, b = np.ones((3, 4), np.float32), np.arange(21).reshape(3, 7)
    samples = list(read_samples(graph, dict[str, Array](a=a, b=b)))
    assert len(samples) == 3
    assert samples[1]["a"].shape == (1, 4) and np.array_equal(samples[1]["b"], b[1])


def test_a_large_npz_is_read_in_pieces(tmp_path: Path) -> None:
    import tracemalloc

    graph = graph_of(x=("float32", (1, 3, 64, 64)))
    path = npz(tmp_path / "large.npz", x=np.zeros((600, 3, 64, 64), np.float32))
    tracemalloc.start()
    count = sum(1 for _ in read_samples(graph, path))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 600
    assert peak_bytes < 6 << 20  # the array takes 28 MiB


# ---- images


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two images: one of the input's size and one that is not."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "more").mkdir()
    image.fromarray(np.full((16, 24, 3), 100, np.uint8)).save(tmp_path / "more" / "b.png")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    return tmp_path


def test_images_become_numbers(pictures: Path) -> None:
    pixels = np.arange(8 * 6 * 3, dtype=np.float32).reshape(8, 6, 3)
    options = ImageOptions(mean=(1.0, 2.0, 3.0), scale=0.5)
    samples = read_samples(IMAGE, pictures, options)
    first, second = (sample["image"] for sample in samples)
    assert samples.total == 2
    assert np.array_equal(first[0], ((pixels - [1, 2, 3]) * 0.5).astype(np.float32).transpose(2, 0, 1))
    assert np.array_equal(second[0, :, 0, 0], [49.5, 49.0, 48.5])
    last = graph_of(image=("float32", (1, 8, 6, 3)))
    swapped = stacked(read_samples(last, pictures, ImageOptions(colour="BGR", fit="crop")))
    assert np.array_equal(swapped[0], pixels[..., ::-1])
    grey = graph_of(image=("float32", (1, 1, 8, 6)))
    assert stacked(read_samples(grey, pictures, ImageOptions())).shape == (2, 1, 8, 6)


def test_images_need_pillow(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(CompileError, match="reading them needs Pillow"):
        list(read_samples(IMAGE, pictures, ImageOptions()))


# ---- errors


def error_of(graph: Graph, source: Any, images: ImageOptions | None = None) -> str:
    with pytest.raises(CompileError) as caught:
        list(read_samples(graph, source, images))
    return str(caught.value)


TWO = graph_of(a=("float32", (1, 4)), b=("float32", (1, 2)))

WRONG: dict[str, Callable[[], str]] = {
    "channels-last": lambda: error_of(IMAGE, np.zeros((5, 8, 6, 3), np.float32)),
    "channels-first": lambda: error_of(graph_of(x=("float32", (1, 8, 6, 3))), np.zeros((5, 3, 8, 6))),
    "no-channel": lambda: error_of(graph_of(x=("float32", (1, 1, 8, 6))), np.zeros((5, 8, 6))),
    "flat": lambda: error_of(IMAGE, np.zeros((5, 144))),
    "other-shape": lambda: error_of(IMAGE, np.zeros((5, 7))),
    "scalar": lambda: error_of(IMAGE, np.float32(3)),
    "text": lambda: error_of(IMAGE, np.array(["a", "b"])),
    "number": lambda: error_of(IMAGE, 5),
    "missing-input": lambda: error_of(TWO, {"a": np.zeros((3, 4))}),
    "one-array-for-two": lambda: error_of(TWO, np.zeros((3, 4))),
    "unequal-counts": lambda: error_of(TWO, {"a": np.zeros((3, 4)), "b": np.zeros((2, 2))}),
    "not-in-range": lambda: error_of(graph_of(x=("int8", (1, 4))), np.full((2, 4), 200)),
    "float-for-integers": lambda: error_of(graph_of(x=("int8", (1, 4))), np.zeros((2, 4), np.float32)),
    "sample-without-key": lambda: error_of(TWO, [{"a": np.zeros((1, 4))}]),
    "sample-no-mapping": lambda: error_of(TWO, [3]),
    "no-file": lambda: error_of(IMAGE, "absent.npz"),
    "folder-for-vector": lambda: error_of(TWO, "."),
}


@pytest.mark.parametrize("case", WRONG)
def test_error(case: str, golden: Callable[[str], None]) -> None:
    golden(WRONG[case]() + "\n")


def test_errors_about_files(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    assert "cannot be read" in error_of(IMAGE, tmp_path / "broken.npz")
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    assert "cannot be read" in error_of(IMAGE, tmp_path / "broken.npy")
    (tmp_path / "a.csv").write_text("1,2")
    assert "neither a .npy nor a .npz" in error_of(IMAGE, tmp_path / "a.csv")
    assert "nothing says how the pixels" in error_of(IMAGE, pictures)
    assert "colour 'CMYK' does not fit" in error_of(IMAGE, pictures, ImageOptions(colour="CMYK"))
    assert "for 3 channels" in error_of(IMAGE, pictures, ImageOptions(mean=(1.0, 2.0)))
    assert "layout 'NC' does not fit" in error_of(IMAGE, pictures, ImageOptions(layout="NC"))
    assert "fit 'pad' does not fit" in error_of(IMAGE, pictures, ImageOptions(fit="pad"))
    (pictures / "c.png").write_bytes(b"no image")
    assert "it cannot be read" in error_of(IMAGE, pictures, ImageOptions())
    (tmp_path / "empty").mkdir()
    assert "there is no image" in error_of(IMAGE, tmp_path / "empty", ImageOptions())
