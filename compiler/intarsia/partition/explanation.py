"""What `intarsia explain` says: every op and its place; off the accelerator also the reason, the fix and the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from intarsia.artifact.parts import EVALUATOR
from intarsia.ir.facts import needs_onnx
from intarsia.partition import Partition
from intarsia.partition.placement import Placement
from intarsia.targets import Target

HOST_MACS_PER_SECOND = 0.8e9
HOST_BYTES_PER_SECOND = 0.4e9
"""Assumed, not measured: a board's CPU (Cortex-A9 at 650 MHz, NEON) on compiled code that streams from DRAM."""


@dataclass(frozen=True)
class Reason:
    """Why one target refused one op: its rule, what was found against the limit, what to change."""

    target: str
    rule: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Row:
    """One op. `fallback_seconds` is an estimate of its time off the accelerator, 0 for what is on it."""

    name: str
    op: str
    place: str
    shape: str
    compute: bool
    macs: int
    bytes: int
    cycles: int
    fallback_seconds: float
    needs_onnx: bool
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Explanation:
    """Placement of a model on a target.

    rows     one an op, in order of running
    regions  name, place and number of ops of each region, in order of running
    notes    (node, text) pairs from earlier stages, e.g. why an op stayed float, weights of -128
    assumed  True when activation ranges were assumed, as no calibration data was given: places hold, numbers do not
    """

    model: str
    target: str
    precision: str
    rows: tuple[Row, ...]
    regions: tuple[Mapping[str, Any], ...]
    notes: tuple[tuple[str, str], ...] = field(default=())
    assumed: bool = False

    @property
    def summary(self) -> dict[str, Any]:
        """Counts and the share of the multiply-accumulates that the accelerator takes."""
        compute = [row for row in self.rows if row.compute]
        here = [row for row in compute if row.place == self.target]
        total = sum(row.macs for row in self.rows)
        return {
            "ops": len(self.rows),
            "compute_ops": len(compute),
            "compute_ops_on_target": len(here),
            "macs": total,
            "macs_on_target": sum(row.macs for row in here),
            "regions": len(self.regions),
            "cycles_estimated": sum(row.cycles for row in self.rows),
            "fallback_seconds_estimated": sum(row.fallback_seconds for row in self.rows),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "summary": self.summary}


def explain_partition(
    parts: Partition,
    targets: Sequence[Target],
    *,
    model: str,
    precision: str,
    notes: Sequence[tuple[str, str]],
    assumed: bool,
) -> Explanation:
    """Put a partition into words."""
    by_name = {target.name: target for target in targets}
    regions = tuple(
        {"name": region.name, "place": region.place, "ops": len(region.graph.nodes)} for region in parts.regions
    )
    rows = tuple(_row(placement, by_name, targets[0].name) for placement in parts.placements)
    return Explanation(model, targets[0].name, precision, rows, regions, tuple(notes), assumed)


def _row(placement: Placement, targets: Mapping[str, Target], wanted: str) -> Row:
    node, target = placement.node, targets.get(placement.place)
    cost = target.cost(node) if target is not None else None
    seconds = 0.0
    if placement.place != wanted:
        seconds = max(placement.macs / HOST_MACS_PER_SECOND, placement.bytes / HOST_BYTES_PER_SECOND)
    return Row(
        name=node.name,
        op=node.op,
        place=placement.place,
        shape=str(next(value.type for value in node.outputs if value is not None)),
        compute=placement.compute,
        macs=placement.macs,
        bytes=placement.bytes,
        cycles=0 if cost is None else cost.cycles,
        fallback_seconds=seconds,
        needs_onnx=placement.place == EVALUATOR and needs_onnx(node),
        reasons=tuple(
            Reason(name, answer.rule, answer.reason, answer.fix)
            for name, answer in placement.refused
            if placement.place != wanted
        ),
    )
