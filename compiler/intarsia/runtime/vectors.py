"""The artifact's own test vectors: inputs, and the outputs that every machine must give for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.artifact import Artifact
from intarsia.artifact.arrays import from_npy
from intarsia.artifact.manifest import Tensor
from intarsia.artifact.parts import whole_graph
from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.runtime.session import Session


@dataclass(frozen=True)
class VectorResult:
    """One output of one test vector.

    ok           equal bytes, or within the tolerances that the artifact states
    elements     how many there are
    different    how many differ in their bytes
    largest      largest absolute difference; 0.0 where none differs, nan where it has no meaning
    tolerance    (absolute, relative) that the artifact states
    """

    vector: int
    output: str
    ok: bool
    elements: int
    different: int
    largest: float
    tolerance: tuple[float, float]


def read_vectors(artifact: Artifact) -> list[tuple[list[Array], list[Array]]]:
    """Inputs and expected outputs of each test vector. Raises RunError where a file is not the array it should be."""
    contents = artifact.contents

    def arrays(paths: Sequence[str], items: Sequence[Tensor]) -> list[Array]:
        return [
            from_npy(artifact.files[path], item.dtype, f"file '{path}'", item.shape) for path, item in zip(paths, items)
        ]

    inputs, outputs = contents.inputs, contents.outputs
    return [(arrays(entry.inputs, inputs), arrays(entry.outputs, outputs)) for entry in contents.vectors]


def verify_vectors(session: Session, *, timeout: float | None = None) -> list[VectorResult]:
    """Run every test vector of the session's artifact; one result for each output of each. Empty without vectors.

    timeout  seconds for each vector, as of `Session.run`
    """
    results = []
    vectors = read_vectors(session.artifact)
    for index, (entry, (inputs, expected)) in enumerate(zip(session.artifact.contents.vectors, vectors)):
        for info, wanted, found in zip(session.outputs, expected, session.run(*inputs, timeout=timeout)):
            tolerance = (entry.absolute_tolerance, entry.relative_tolerance)
            results.append(compare_outputs(index, info.name, tolerance, wanted, found))
    return results


def verify_samples(
    session: Session,
    samples: Sequence[Mapping[str, Array]],
    progress: Callable[[str, int, int], None] | None = None,
    told: Callable[[list[Array]], None] | None = None,
) -> list[VectorResult]:
    """Run samples here and by the integer reference, the meaning of the artifact's whole graph in NumPy.

    samples   inputs by name, each of the compiled batch: see `Session.batches`
    progress  called with (what, done, total)
    told      called with the outputs of each sample
    returns   one result for each output of each sample. What the artifact allows on its own vectors holds for other
              inputs of the same size too; integers allow nothing
    """
    graph = whole_graph(session.artifact.files)
    entries = session.artifact.contents.vectors
    tolerance = (
        max((entry.absolute_tolerance for entry in entries), default=0.0),
        max((entry.relative_tolerance for entry in entries), default=0.0),
    )
    results = []
    for index, sample in enumerate(samples):
        if progress is not None:
            progress("comparing outputs", index, len(samples))
        found = session.execute(sample).outputs
        if told is not None:
            told(found)
        for info, wanted, array in zip(session.outputs, evaluate(graph, sample), found):
            results.append(compare_outputs(index, info.name, tolerance, wanted, array))
    return results


def compare_outputs(
    index: int, output: str, tolerance: tuple[float, float], wanted: Array, found: Array
) -> VectorResult:
    """Compare one output; `VectorResult` says what with. Both tolerances 0: only equal bytes are ok."""
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return VectorResult(index, output, False, wanted.size, wanted.size, float("nan"), tolerance)
    if wanted.dtype == object:
        different = int(np.count_nonzero(wanted != found))
        return VectorResult(index, output, not different, wanted.size, different, float("nan"), tolerance)
    width = wanted.dtype.itemsize
    raw = [np.frombuffer(array.tobytes(), np.uint8).reshape(-1, width) for array in (wanted, found)]
    different = int(np.count_nonzero((raw[0] != raw[1]).any(axis=1)))
    if not different:
        return VectorResult(index, output, True, wanted.size, 0, 0.0, tolerance)
    kind = np.complex128 if wanted.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        left, right = wanted.astype(kind), found.astype(kind)
        largest = float(np.max(np.abs(left - right)))
        near = any(tolerance) and bool(
            np.isclose(right, left, atol=tolerance[0], rtol=tolerance[1], equal_nan=True).all()
        )
    return VectorResult(index, output, near, wanted.size, different, largest, tolerance)
