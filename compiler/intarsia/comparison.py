"""An artifact beside the float model that it was made from: outputs against the integer meaning, layers in decibels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from intarsia.artifact.parts import whole_graph
from intarsia.driver import Model, lower
from intarsia.dtypes import Array
from intarsia.errors import CompileError, RunError
from intarsia.ir.graph import Graph
from intarsia.runtime.session import Session
from intarsia.runtime.sqnr import LayerNoise, compare_layers
from intarsia.runtime.vectors import VectorResult, verify_samples


@dataclass(frozen=True)
class Comparison:
    """What `compare_with_model` found.

    outputs  of this machine against the integer reference: equal bytes, or within the artifact's tolerances
    layers   values of the quantized graph that the float model has too, in order of making, with their SQNR in dB;
             none where it is another model
    """

    outputs: tuple[VectorResult, ...]
    layers: tuple[LayerNoise, ...]

    @property
    def ok(self) -> bool:
        """Whether all outputs are right. Noise is no mistake."""
        return all(result.ok for result in self.outputs)


def compare_with_model(
    session: Session,
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Compare a session's outputs with the integer reference, and every layer with a float model.

    model     the ONNX model that the artifact was compiled from: a path, bytes or a ModelProto
    samples   inputs by name, each of the compiled batch: see `Session.batches`
    progress  called with (what, done, total)

    Raises RunError where the model has other inputs, CompileError where it cannot be read.
    """
    reference = _reference(session, model)
    if [value.name for value in reference.inputs] != [info.name for info in session.inputs]:
        raise RunError(
            where=f"model {model if isinstance(model, str) else reference.name}",
            what="its inputs are not those of the artifact",
            help="give the float model that the artifact was compiled from",
        )
    outputs = verify_samples(session, samples, progress)
    layers = compare_layers(whole_graph(session.artifact.files), reference, samples, progress)
    return Comparison(tuple(outputs), tuple(layers))


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
