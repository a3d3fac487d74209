"""From a path or bytes to an onnx.ModelProto, saying what the file is when it is no ONNX model."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from intarsia.arguments import check_path
from intarsia.errors import CompileError
from intarsia.importer.limits import Limits
from intarsia.ir.budget import raising

_EXPORT = "export the model to ONNX and pass the .onnx file"
_TORCH = "this is a PyTorch file: load it and write it with torch.onnx.export"
_KERAS = "this is a Keras file: load it and convert it with tf2onnx"
_SIGNS: tuple[tuple[int, bytes, str, str], ...] = (
    (4, b"TFL3", "a TensorFlow Lite model", "convert it with tf2onnx --tflite"),
    (0, b"PK\x03\x04", "a zip archive", "unpack it first, or export the model to ONNX"),
    (0, b"\x1f\x8b", "a gzip file", "unpack it first"),
    (0, b"\x89HDF", "an HDF5 file, as Keras writes", _KERAS),
    (0, b"\x89PNG", "a PNG picture", _EXPORT),
    (0, b"\xff\xd8\xff", "a JPEG picture", _EXPORT),
    (0, b"\x7fELF", "a program or shared library", _EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", _EXPORT),
    (0, b"GGUF", "a GGUF model", _EXPORT),
    (0, b"ORTM", "an onnxruntime .ort model", "pass the .onnx file that it was made from"),
    (4, b"ORTM", "an onnxruntime .ort model", "pass the .onnx file that it was made from"),
    (0, b"\x80\x02", "a Python pickle, as older PyTorch writes", _TORCH),
    (0, b"\x80\x04", "a Python pickle", _EXPORT),
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself: git lfs pull"),
    (0, b"<!DOCTYPE", "a web page", "download the file itself, not the page that shows it"),
    (0, b"<html", "a web page", "download the file itself, not the page that shows it"),
)


def read_model(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto, limits: Limits
) -> tuple[onnx.ModelProto, str, Path | None]:
    """The model, how errors name it, and the folder that its external data may lie in (None: nowhere)."""
    if isinstance(model, onnx.ModelProto):
        return model, "the model", None
    if isinstance(model, (bytes, bytearray, memoryview)):
        return parse(bytes(model), "the model"), "the model", None
    path = check_path(CompileError, "model", model)
    where = f"model file '{path}'"
    return parse(_read_file(path, where, limits), where), where, path.absolute().parent


def _read_file(path: Path, where: str, limits: Limits) -> bytes:
    if path.is_dir():
        saved = (path / "saved_model.pb").exists()
        what = "it is a folder, a TensorFlow SavedModel" if saved else "it is a folder"
        help = "convert it with tf2onnx --saved-model" if saved else "pass the .onnx file itself"
        raise CompileError(where=where, what=what, help=help)
    try:
        size_bytes = path.stat().st_size
        if not path.is_file():
            raise CompileError(
                where=where, what="it is a device or pipe", help="pass a regular file, or the bytes themselves"
            )
        if size_bytes > limits.file_bytes:
            raise CompileError(
                where=where,
                what=f"it has {size_bytes} bytes; the limit is {limits.file_bytes}",
                help=f"if you trust the file, raise it: {raising('file_bytes')}",
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise CompileError(where=where, what="there is no such file", help="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CompileError(where=where, what=f"it cannot be read: {reason}", help="check the path") from None


def parse(data: bytes, where: str) -> onnx.ModelProto:
    """A ModelProto that has a graph, from the bytes of a file."""
    if not data:
        raise CompileError(where=where, what="it is empty", help="export the model again; the disk may have been full")
    _refuse_other_formats(data, where)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise CompileError(
            where=where,
            what=f"it is not a whole ONNX model ({len(data)} bytes do not parse as one)",
            help="the file is truncated, damaged or of another format; copy or export it again",
        ) from error
    if not model.HasField("graph"):
        raise CompileError(
            where=where,
            what=f"it holds no ONNX graph in its {len(data)} bytes",
            help="the file is truncated or of another format; copy or export it again",
        )
    return model


def _refuse_other_formats(data: bytes, where: str) -> None:
    for start, sign, kind, help in _SIGNS:
        if data[start : start + len(sign)] == sign:
            if sign == b"PK\x03\x04":
                kind, help = _zip_kind(data, kind, help)
            raise CompileError(where=where, what=f"it is no ONNX model but {kind}", help=help)
    head = data[:512]
    if head.strip() and all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        start_text = head.decode("ascii").strip().splitlines()[0][:40]
        raise CompileError(
            where=where,
            what=f"it is no ONNX model but text, starting with {start_text!r}",
            help="pass the binary .onnx file; text forms are read by onnx.parser and onnx.load",
        )


def _zip_kind(data: bytes, kind: str, help: str) -> tuple[str, str]:
    head = data[:4096]
    if b"/data.pkl" in head or b"/version" in head or b"constants.pkl" in data[-65536:]:
        return "a zip archive, as PyTorch writes", _TORCH
    if b"config.json" in head:
        return "a zip archive, as Keras writes", _KERAS
    if b"manifest.json" in head:
        return "a zip archive; it may be a compiled artifact", "run it with intarsia.load, or pass the .onnx file"
    return kind, help
