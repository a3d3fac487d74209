"""Files that are no ONNX model, are damaged, or point where they should not."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from bad_registry import bad, good
from onnx import TensorProto


@bad
def missing_file(folder: Path) -> Any:
    """There is no such file."""
    return folder / "nowhere.onnx"


@bad
def a_folder(folder: Path) -> Any:
    """A folder instead of a file."""
    return folder


@bad
def saved_model(folder: Path) -> Any:
    """A TensorFlow SavedModel."""
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder


@bad
def endless_device(folder: Path) -> Any:
    """A file that never ends."""
    return Path("/dev/zero")


@bad
def empty_file(folder: Path) -> Any:
    """No bytes at all."""
    path = folder / "empty.onnx"
    path.write_bytes(b"")
    return path


@bad
def no_bytes(folder: Path) -> Any:
    """No bytes at all, in memory."""
    return b""


@bad
def random_bytes(folder: Path) -> Any:
    """Noise."""
    return np.random.default_rng(7).integers(0, 256, 4096, np.uint8).tobytes()


@bad
def zero_bytes(folder: Path) -> Any:
    """A disk that lost its data."""
    return bytes(4096)


def _truncated(part: float) -> bytes:
    data: bytes = good().SerializeToString()
    return data[: int(len(data) * part)]


@bad
def truncated_to_a_tenth(folder: Path) -> Any:
    """The first tenth of a model."""
    return _truncated(0.1)


@bad
def truncated_to_a_half(folder: Path) -> Any:
    """The first half of a model."""
    return _truncated(0.5)


@bad
def truncated_to_all_but_the_last_byte(folder: Path) -> Any:
    """A model without its last byte."""
    return good().SerializeToString()[:-1]


@bad
def truncated_before_the_graph(folder: Path) -> Any:
    """The head of a model: it parses, but holds no graph."""
    return good().SerializeToString()[:2]


@bad
def text_file(folder: Path) -> Any:
    """The text of onnx.parser."""
    path = folder / "model.onnx"
    path.write_text('<ir_version: 8, opset_import: ["" : 17]>\nagraph (float[1] x) => (float[1] y) { y = Relu(x) }\n')
    return path


@bad
def git_lfs_pointer(folder: Path) -> Any:
    """What git leaves in place of a large file that was not fetched."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 18614599\n"


@bad
def web_page(folder: Path) -> Any:
    """What a browser saves when the link was to a page."""
    return b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


@bad
def tflite_file(folder: Path) -> Any:
    """A TensorFlow Lite model."""
    return b"\x1c\x00\x00\x00TFL3" + bytes(64)


def _zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


@bad
def zip_file(folder: Path) -> Any:
    """An archive of something."""
    return _zip(notes=b"hello")


@bad
def pytorch_archive(folder: Path) -> Any:
    """What torch.save writes since 1.6."""
    return _zip(**{"archive__data.pkl": b"\x80\x02}q\x00."})


@bad
def pytorch_pickle(folder: Path) -> Any:
    """What torch.save wrote before 1.6."""
    return pickle.dumps({"weight": [1.0]}, protocol=2)


@bad
def hdf5_file(folder: Path) -> Any:
    """A Keras model."""
    return b"\x89HDF\r\n\x1a\n" + bytes(64)


@bad
def tensor_instead_of_model(folder: Path) -> Any:
    """Another protobuf message of onnx."""
    return onnx.numpy_helper.from_array(np.arange(12, dtype=np.float32), "t").SerializeToString()


@bad
def name_not_utf8(folder: Path) -> Any:
    """A flipped bit in a name."""
    return good().SerializeToString().replace(b"MatMul", b"Mat\xfful")


# ---- external data


def external(folder: Path, location: str, **entries: str) -> Path:
    """The good model with its weight `w` in another file."""
    model = good()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@bad
def external_data_far_outside(folder: Path) -> Any:
    """External data in the system's files."""
    return external(folder, "../../../../etc/passwd")


@bad
def external_data_with_dots_inside(folder: Path) -> Any:
    """A path that leaves the folder half way."""
    (folder / "data").mkdir()
    return external(folder, "data/../../secret")


@bad
def external_data_with_backslashes(folder: Path) -> Any:
    """The same for Windows."""
    return external(folder, "..\\..\\secret")


@bad
def external_data_absolute(folder: Path) -> Any:
    """An absolute path."""
    return external(folder, "/etc/hostname")


@bad
def external_data_on_a_drive(folder: Path) -> Any:
    """An absolute path of Windows."""
    return external(folder, "C:/secret")


@bad
def external_data_through_a_symbolic_link(folder: Path) -> Any:
    """A link beside the model that leads elsewhere."""
    secret = folder / "elsewhere"
    secret.write_bytes(bytes(432))
    beside = folder / "model"
    beside.mkdir()
    (beside / "weights.bin").symlink_to(secret)
    return external(beside, "weights.bin")


@bad
def external_data_in_a_linked_folder(folder: Path) -> Any:
    """A linked folder beside the model."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights.bin").write_bytes(bytes(432))
    beside = folder / "model"
    beside.mkdir()
    (beside / "data").symlink_to(elsewhere)
    return external(beside, "data/weights.bin")


@bad
def external_data_with_two_names(folder: Path) -> Any:
    """A hard link to a file elsewhere."""
    (folder / "secret").write_bytes(bytes(432))
    (folder / "weights.bin").hardlink_to(folder / "secret")
    return external(folder, "weights.bin")


@bad
def external_data_missing(folder: Path) -> Any:
    """The data file was not copied along."""
    return external(folder, "weights.bin")


@bad
def external_data_truncated(folder: Path) -> Any:
    """A data file that ends too early."""
    (folder / "weights.bin").write_bytes(bytes(100))
    return external(folder, "weights.bin", length="432")


@bad
def external_data_too_short_for_dims(folder: Path) -> Any:
    """A stated length that is not that of the tensor."""
    (folder / "weights.bin").write_bytes(bytes(1000))
    return external(folder, "weights.bin", length="100")


@bad
def external_data_offset_negative(folder: Path) -> Any:
    """An offset that is no number."""
    (folder / "weights.bin").write_bytes(bytes(1000))
    return external(folder, "weights.bin", offset="-8")


@bad
def external_data_offset_past_the_end(folder: Path) -> Any:
    """An offset behind the file."""
    (folder / "weights.bin").write_bytes(bytes(1000))
    return external(folder, "weights.bin", offset="4096", length="432")


@bad
def external_data_of_a_model_in_memory(folder: Path) -> Any:
    """Bytes have no folder."""
    return external(folder, "weights.bin").read_bytes()
