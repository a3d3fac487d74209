"""Arrays and graphs inside artifacts, and the report made of what the backends recorded."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact
from intarsia.artifact.arrays import from_npy, to_npy
from intarsia.artifact.parts import constant_output, graph_files, read_graph
from intarsia.dtypes import NATIVE, numpy_dtype
from intarsia.errors import RunError
from intarsia.ir.text import text


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
@pytest.mark.parametrize("dtype", NATIVE)
def test_arrays_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    data = to_npy(array)
    again = from_npy(data, dtype, "x")
    assert again.dtype == array.dtype and again.shape == shape and again.tobytes() == array.tobytes()
    numpys = np.load(io.BytesIO(data), allow_pickle=False)
    assert numpys.shape == shape and numpys.tobytes() == array.tobytes()


def test_order_and_byte_order_do_not_matter() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for same in (np.asfortranarray(array), array.astype(">f4"), array[:, ::-1][:, ::-1]):
        assert to_npy(same) == to_npy(array)


def test_strings_and_foreign_types() -> None:
    words = np.array([["ä", ""], ["long word", "x"]], dtype=object)
    again = from_npy(to_npy(words), "string", "x")
    assert again.dtype == object and (again == words).all()
    assert from_npy(to_npy(np.array(["", ""], object)), "string", "x").tolist() == ["", ""]
    small = np.array([1.5, -2.0], numpy_dtype("bfloat16"))
    assert from_npy(to_npy(small), "bfloat16", "x").tolist() == [1.5, -2.0]


def test_wrong_arrays_are_refused() -> None:
    good = to_npy(np.zeros((2, 3), np.float32))
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    huge = good.replace(b"(2, 3)", b"(9, 9)")
    for data in (
        b"",
        good[:-1],
        good + b"\0",
        pickled.getvalue(),
        huge,
        good.replace(b"<f4", b"|O8"),
        b"\x93NUMPY\1\0",
    ):
        with pytest.raises(RunError, match=r"it is not a \.npy file"):
            from_npy(data, "float32", "file 'x.npy'")
    with pytest.raises(RunError):
        from_npy(good, "int32", "file 'x.npy'")
    with pytest.raises(RunError):
        from_npy(good, "string", "file 'x.npy'")


def test_graphs_come_back() -> None:
    graph = small_graph()
    files = graph_files(graph)
    assert text(read_graph(files, "graph")) == text(graph)
    for broken in ({}, {**files, "graph.json": b"["}, {**files, "weights.bin": b""}):
        with pytest.raises(RunError):
            read_graph(broken, "graph")


def test_constant_output_keeps_its_file() -> None:
    entry, files = constant_output("answer", 0, np.array([42], np.int64))
    assert entry == {"name": "answer", "dtype": "int64", "shape": [1], "file": "constants/0.npy"}
    assert from_npy(files["constants/0.npy"], "int64", "x").tolist() == [42]


def with_layers() -> Artifact:
    made = evaluator_artifact(small_graph())
    region = {
        **made.manifest["regions"][0],
        "layers": [
            {"name": "hidden_qconv", "op": "qconv", "macs": 1350, "cycles": 100, "bytes_read": 64, "bytes_written": 75},
            {"name": "copy", "op": "store", "macs": 0, "onchip_peak_bytes": 300, "note": "kept"},
        ],
    }
    manifest = {**made.manifest, "regions": [region], "metadata": {"facts": {"macs_per_cycle": 27}}}
    manifest["producer"] = "intarsia"
    return Artifact(manifest, made.files)


def test_report(golden: Callable[[str], None]) -> None:
    report = with_layers().report()
    first, second = report.rows
    assert (first.place, first.region, first.utilisation) == ("evaluator", "0_evaluator", 1350 / (100 * 27))
    assert second.cycles is None and second.utilisation is None and second.details == {"note": "kept"}
    assert report.summary["cycles"] == 100 and report.summary["onchip_peak_bytes"] == 300
    assert report.to_dict()["rows"][0]["macs"] == 1350
    golden(str(report))


def test_report_prefers_what_a_run_counted() -> None:
    report = with_layers().report(
        {"0_evaluator": [{"name": "hidden_qconv", "cycles": 200}, {"name": "new", "op": "load"}]}
    )
    assert report.source == "run"
    assert [(row.name, row.cycles) for row in report.rows] == [("hidden_qconv", 200), ("copy", None), ("new", None)]
    assert report.rows[0].utilisation == 1350 / (200 * 27)


def test_report_without_layers_lists_the_ops() -> None:
    rows = evaluator_artifact(small_graph()).report().rows
    assert [(row.op, row.macs) for row in rows] == [("quantize", 0), ("qconv", 1350), ("dequantize", 0)]
