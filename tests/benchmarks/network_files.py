"""The files that the CPU is measured with: networks of our own in float32 and int8, kept in a cache, and given ones.

The int8 forms are made by onnxruntime.quantization: QuantizeLinear and DequantizeLinear around every op that it knows
(of the transformer, around matrix products), uint8 activations, int8 weights with one scale a channel, calibrated with
the noise that the networks are measured with.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import network_models
import numpy as np
import onnx
from network_models import NETWORKS
from onnx import helper, version_converter

Array = Any

PRECISIONS = ("float32", "int8")

_ONLY = {"minilm": ["MatMul"]}
"""Ops that are quantized, where it is not all of them."""

_UNFIT = {"RNN", "GRU", "LSTM", "If", "Loop", "Scan", "DequantizeLinear"}
"""Of a float model: with one of these no int8 form is made. (The last one: weights that are compressed already.)"""

_MAKERS = b"".join(Path(file).read_bytes() for file in (network_models.__file__, __file__))
"""Files are known by what made them: a changed builder makes its own."""


def cache_folder() -> Path:
    """INTARSIA_CACHE, else the user's cache folder."""
    chosen = os.environ.get("INTARSIA_CACHE")
    cache = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "intarsia"
    return cache / "benchmarks"


def network_file(name: str, precision: str, folder: Path) -> Path:
    """The file of one of NETWORKS; made where it is not in the folder yet."""
    path = folder / f"{name}-float32-{_digest(_MAKERS)}.onnx"
    if not path.exists():
        _write(path, lambda place: onnx.save(NETWORKS[name](name), place))
    return path if precision == "float32" else quantized_file(path, name, folder, only=_ONLY.get(name))


def quantized_file(source: Path, name: str, folder: Path, only: Sequence[str] | None = None) -> Path:
    """The int8 form of a float32 model with one input, calibrated with noise; made where it is not there yet."""
    import onnxruntime

    path = folder / f"{name}-int8-{_digest(source.read_bytes() + _MAKERS + onnxruntime.__version__.encode())}.onnx"
    if not path.exists():
        _write(path, lambda place: _quantize(source, place, only))
    return path


def _quantize(source: Path, target: Path, only: Sequence[str] | None) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples: Iterator[dict[str, Array]] = iter([random_inputs(source, seed) for seed in range(100, 103)])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.samples, None)

    model = onnx.load(source)
    if any(item.domain in ("", "ai.onnx") and item.version < 13 for item in model.opset_import):
        model = version_converter.convert_version(model, 17)  # scales by channel came with opset 13
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it advises preprocessing, of which nothing is left to do here
    try:
        quantize_static(
            model,
            target,
            Noise(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=None if only is None else list(only),
        )
    finally:
        logging.getLogger().setLevel(level)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _write(path: Path, write: Callable[[Path], None]) -> None:
    """Written beside its place first: others may look for the same file meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="making-") as folder:
        write(Path(folder) / path.name)
        os.replace(Path(folder) / path.name, path)


def given_models(folder: Path) -> dict[str, Path]:
    """The ONNX files of a folder, by name, whose inputs have known shapes, save for a first axis that is the batch."""
    found = {path.stem: path for path in sorted(folder.glob("*.onnx"))}
    return {name: path for name, path in found.items() if all(None not in shape[1:] for _, _, shape in inputs_of(path))}


def _of_one_image(path: Path, folder: Path) -> Path:
    """The same model with a batch of 1 where its batch is open: peers are fastest when all shapes are known."""
    if all(None not in shape for _, _, shape in inputs_of(path)):
        return path
    made = folder / f"{path.stem}-batch1-{_digest(path.read_bytes())}.onnx"
    if not made.exists():
        model = onnx.load(path)
        for value in (*model.graph.input, *model.graph.output):
            axes = value.type.tensor_type.shape.dim
            if axes and not axes[0].HasField("dim_value"):
                axes[0].dim_value = 1
        del model.graph.value_info[:]
        _write(made, lambda place: onnx.save(model, place))
    return made


def given_file(path: Path, precision: str, folder: Path) -> Path | None:
    """The form of somebody's model in a precision; None where there is none: no float form is made of an int8 model."""
    name, path = path.stem, _of_one_image(path, folder)
    graph = onnx.load(path).graph
    ops = {node.op_type for node in graph.node}
    quantized = any(op.startswith(("QuantizeLinear", "QLinear")) for op in ops)
    inputs = inputs_of(path)
    if precision == "float32":
        return None if quantized else path
    if quantized:
        return path
    if ops & _UNFIT or len(inputs) != 1 or inputs[0][1] != "float32":
        return None
    return quantized_file(path, name, folder)


def inputs_of(path: Path) -> list[tuple[str, str, tuple[Any, ...]]]:
    """Name, dtype and shape of each input; None for a size that is not fixed."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {item.name for item in graph.initializer}
    rows = []
    for value in graph.input:
        if value.name not in constants:
            tensor = value.type.tensor_type
            shape = tuple(item.dim_value if item.HasField("dim_value") else None for item in tensor.shape.dim)
            rows.append((value.name, str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape))
    return rows


def random_inputs(path: Path, seed: int) -> dict[str, Array]:
    """Normal noise for float inputs, all values for int8 and uint8, zeros and ones for other integers."""
    random, inputs = np.random.default_rng(seed), {}
    for name, dtype, shape in inputs_of(path):
        if dtype in ("int8", "uint8"):
            low = np.iinfo(dtype).min
            inputs[name] = random.integers(low, low + 256, shape).astype(dtype)
        elif np.dtype(dtype).kind == "f":
            inputs[name] = random.standard_normal(shape).astype(dtype)
        else:
            inputs[name] = random.integers(0, 2, shape).astype(dtype)
    return inputs
