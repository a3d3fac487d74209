"""What a BatchNormalization knows of the data that its model was trained on, noted before it is folded into weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph

_AFFINE = ("BatchNormalization", "Mul", "Div", "Add", "Sub")


@dataclass(frozen=True)
class Trained:
    """What the output of an op, with the BatchNormalization behind it folded in, was in training: before an activation.

    mean, deviation  float64 [C], of all positions of all images
    """

    mean: Array
    deviation: Array


def trained_statistics(graph: Graph) -> Iterator[tuple[str, Trained]]:
    """By name of the Conv or dense op that a BatchNormalization follows and nobody else reads.

    y = (x - mean) / sqrt(variance + epsilon) * gamma + beta has the mean beta and, but for epsilon, the deviation gamma
    where x has those of training. One behind which channels are scaled again says nothing of what folding leaves, and
    one with the statistics that it starts with, 0 and 1, has seen nothing.
    """
    for node in graph.nodes:
        producer = node.input(0).producer if node.op == "BatchNormalization" and node.domain == "" else None
        if producer is None or producer.op not in ("Conv", "dense") or node.input(0).user_count > 1:
            continue
        if any(user.op in _AFFINE for user in node.output.users):
            continue
        gamma, beta, mean, variance = (
            None if (data := node.input(index).data) is None else data.astype(np.float64) for index in (1, 2, 3, 4)
        )
        if gamma is None or beta is None or mean is None or variance is None:
            continue
        if not mean.any() and (variance == 1.0).all():
            continue
        with np.errstate(all="ignore"):
            deviation = np.abs(gamma) * np.sqrt(variance / (variance + float(node.attributes.get("epsilon", 1e-5))))
        if np.isfinite(beta).all() and np.isfinite(deviation).all():
            yield producer.name, Trained(beta, deviation)
