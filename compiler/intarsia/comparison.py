"""An artifact beside the float model that it was made from: outputs against the integer meaning, layers in decibels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from intarsia.artifact.manifest import Tensor
from intarsia.artifact.parts import whole_graph
from intarsia.driver import Model, lower
from intarsia.dtypes import Array
from intarsia.errors import CompileError, RunError
from intarsia.ir.graph import Graph
from intarsia.ir.types import Quantization
from intarsia.runtime.session import Session
from intarsia.runtime.sqnr import LayerNoise, compare_layers, decibels, real_numbers
from intarsia.runtime.vectors import VectorResult, verify_samples

MIN_SQNR = 15.0
"""dB below which an output does not stand for the model's: a fifth of it is noise then, and a bit of int8 adds 6 dB."""

_MIN_EQUAL = 0.5


@dataclass(frozen=True)
class OutputNoise:
    """An output of the artifact beside that of the float model, over all samples.

    sqnr   dB, see `runtime.sqnr.sqnr_db`; inf where there is no noise, -inf for noise without a signal; None where the
           output is no real number
    equal  part of the elements that are equal, 0 to 1, for what is no real number; else None
    """

    output: str
    sqnr: float | None
    equal: float | None


class _Outputs:
    """Sums over samples, for `OutputNoise`."""

    def __init__(self, infos: Sequence[Tensor]) -> None:
        self.infos = infos
        self.found: list[list[Array]] = []
        self.signal = [0.0] * len(infos)
        self.noise = [0.0] * len(infos)
        self.equal = [0] * len(infos)
        self.elements = [0] * len(infos)
        self.real = [True] * len(infos)

    def compare(self, wanted: Sequence[Any]) -> None:
        """The float model's outputs for the next sample of those in `found`."""
        found = self.found.pop(0)
        for index, (info, mine, theirs) in enumerate(zip(self.infos, found, wanted)):
            if not isinstance(mine, np.ndarray) or not isinstance(theirs, np.ndarray):
                continue
            if mine.shape != theirs.shape:  # sizes that depend on data, such as the boxes that a detector finds
                self.real[index] = False
                self.elements[index] += max(mine.size, theirs.size)
                continue
            scale = None if info.quantization is None else Quantization(*info.quantization)
            self.real[index] &= scale is not None or mine.dtype.kind == "f"
            self.equal[index] += int(np.count_nonzero(mine == theirs))
            self.elements[index] += mine.size
            if self.real[index]:
                exact = (theirs if theirs.dtype.kind == "f" else real_numbers(theirs, scale)).astype(np.float64)
                self.signal[index] += float(np.sum(exact**2))
                self.noise[index] += float(np.sum((exact - real_numbers(mine, scale)) ** 2))

    def result(self) -> Iterator[OutputNoise]:
        """One for every output of which there was anything."""
        for index, info in enumerate(self.infos):
            if not self.elements[index]:
                continue
            if self.real[index]:
                signal, noise = self.signal[index], self.noise[index]
                yield OutputNoise(
                    info.name, decibels(signal, noise) if signal else -math.inf if noise else math.inf, None
                )
            else:
                yield OutputNoise(info.name, None, self.equal[index] / self.elements[index])


@dataclass(frozen=True)
class Comparison:
    """What `compare_with_model` found.

    outputs  of this machine against the integer reference: equal bytes, or within the artifact's tolerances
    layers   values of the quantized graph that the float model has too, in order of making, with their SQNR in dB;
             none where it is another model
    noise    outputs beside those of the float model
    """

    outputs: tuple[VectorResult, ...]
    layers: tuple[LayerNoise, ...]
    noise: tuple[OutputNoise, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all outputs are right. Noise is no mistake."""
        return all(result.ok for result in self.outputs)

    def failures(self, min_sqnr: float = MIN_SQNR) -> list[str]:
        """Sentences about what keeps the artifact from standing for the model: outputs that are less than `min_sqnr` dB
        from the model's, or, where they are no real numbers, mostly others."""
        found = [] if self.ok else ["outputs differ from the integer reference"]
        if not self.layers and all(item.sqnr != math.inf for item in self.noise):
            found.append("no value of the artifact has its like in the model: it is another model")
        for item in self.noise:
            if item.sqnr is not None and not item.sqnr >= min_sqnr:
                found.append(
                    f"output '{item.output}' is {item.sqnr:.3g} dB from the float model, below {min_sqnr:g} dB"
                )
            if item.equal is not None and item.equal < _MIN_EQUAL:
                found.append(f"output '{item.output}' is that of the float model in {item.equal:.1%} of its elements")
        return found


def compare_with_model(
    session: Session,
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    progress: Callable[[str, int, int], None] | None = None,
    told: Callable[[list[Array]], None] | None = None,
) -> Comparison:
    """Compare a session's outputs with the integer reference, and every layer with a float model.

    model     the ONNX model that the artifact was compiled from: a path, bytes or a ModelProto
    samples   inputs by name, each of the compiled batch: see `Session.batches`
    progress  called with (what, done, total)
    told      called with the float model's outputs for each sample

    Raises RunError where the model has other inputs or outputs, CompileError where it cannot be read.
    """
    reference = _reference(session, model)
    if [value.name for value in reference.inputs] != [info.name for info in session.inputs]:
        raise RunError(
            where=f"model {model if isinstance(model, str) else reference.name}",
            what="its inputs are not those of the artifact",
            help="give the float model that the artifact was compiled from",
        )
    contents = session.artifact.contents
    if len(reference.outputs) != len(contents.outputs):
        raise RunError(
            where=f"model {model if isinstance(model, str) else reference.name}",
            what=f"it has {len(reference.outputs)} outputs, and the artifact {len(contents.outputs)}",
            help="give the float model that the artifact was compiled from",
        )
    noise = _Outputs(contents.outputs)

    def compare(wanted: list[Array]) -> None:
        noise.compare(wanted)
        if told is not None:
            told(wanted)

    outputs = verify_samples(session, samples, progress, noise.found.append)
    layers = compare_layers(whole_graph(session.artifact.files), reference, samples, progress, compare)
    return Comparison(tuple(outputs), tuple(layers), tuple(noise.result()))


def _reference(session: Session, model: Model) -> Graph:
    """The float graph, of the sizes that the artifact has where the model leaves them open or has others."""
    contents = session.artifact.contents
    lowered = partial(
        lower, model, target=contents.target, precision=contents.precision, batch=contents.batch, until="fused"
    )
    wanted = {info.name: info.shape for info in session.inputs}
    known = {name: [size or 0 for size in shape] for name, shape in wanted.items() if shape and None not in shape}
    try:
        graph = lowered().graph
    except CompileError as error:
        try:
            return lowered(shapes=known).graph
        except CompileError:
            raise error from None
    found = {value.name: value.shape for value in graph.inputs if value.type.shape is not None}
    if any(name in found and found[name] != tuple(shape) for name, shape in known.items()) and wanted.keys() <= {
        value.name for value in graph.inputs
    }:
        return lowered(shapes=known).graph
    return graph
