"""What `intarsia explain` says: every op and its place; off the accelerator also the reason, the fix and the cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from intarsia.artifact.parts import EVALUATOR
from intarsia.ir.facts import needs_onnx
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType
from intarsia.partition import Partition
from intarsia.partition.crossings import HOST_BYTES_PER_SECOND, NONE, Crossings, crossings
from intarsia.partition.placement import Placement
from intarsia.partition.refusal import Refusal, refusal_of
from intarsia.passes.decompose import Decompose, Kept
from intarsia.targets import Target, settled

if TYPE_CHECKING:
    import networkx

HOST_MACS_PER_SECOND = 0.8e9
"""Assumed, as HOST_BYTES_PER_SECOND is."""


@dataclass(frozen=True)
class Reason:
    """Why one target refused one op: its rule, what was found against the limit, what to change.

    target  its name; or that of the pass that could not make the op out of parts that the targets take; or "compile",
            where no artifact can be made with the op in it
    """

    target: str
    rule: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.target} refuses ({self.rule}): {self.reason}; help: {self.fix}"


@dataclass(frozen=True)
class Row:
    """One op. `fallback_seconds` is an estimate of its time off the accelerator, 0 for what is on it.

    shape   element type and shape of its first output, as text
    region  name of the region that it runs in
    """

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
    region: str = ""


def shares(rows: Sequence[Mapping[str, Any]], target: str) -> dict[str, int]:
    """Counts of ops and of multiply-accumulates, all of them and those on a target.

    rows  as `Row` has them, or the placements of an artifact
    """
    compute = [row for row in rows if row.get("compute")]
    here = [row for row in compute if row.get("place") == target]
    return {
        "ops": len(rows),
        "compute_ops": len(compute),
        "compute_ops_on_target": len(here),
        "macs": sum(row.get("macs") or 0 for row in rows),
        "macs_on_target": sum(row.get("macs") or 0 for row in here),
    }


End = tuple[str, str]
"""An end of a link: ("op", its name), or ("input", name) and ("output", name) of the model."""


@dataclass(frozen=True)
class Link:
    """A value on its way from where it is made to one of those that read it.

    source, target  see End
    value           its name in the graph that is partitioned
    dtype, shape    its type; None for a size that depends on data, or for the shape where the rank does
    """

    source: End
    target: End
    value: str
    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def type(self) -> str:
        """Element type and shape as text: "int8[1,16,32,32]"."""
        return str(TensorType(self.dtype, self.shape))


@dataclass(frozen=True)
class Explanation:
    """Placement of a model on a target.

    rows     one an op, in order of running
    regions  name, place and number of ops of each region, in order of running
    notes    (node, text) pairs from earlier stages, e.g. why an op stayed float, weights of -128
    assumed  True when activation ranges were assumed, as no calibration data was given: places hold, numbers do not
    refusal  why no artifact can be made, in the words with which `compile_model` says it; None where one can
    crossed  what goes from place to place in a run
    links    values between ops, from the model's inputs and to its outputs, in order of making; constants are left out
    codes    names of the targets that make code for what the host takes: this machine's, and a board's processor's
    left_out name of the one that makes code for the board's processor, where that is left out
    """

    model: str
    target: str
    precision: str
    rows: tuple[Row, ...]
    regions: tuple[Mapping[str, Any], ...]
    notes: tuple[tuple[str, str], ...] = field(default=())
    assumed: bool = False
    links: tuple[Link, ...] = ()
    refusal: Refusal | None = None
    crossed: Crossings = NONE
    codes: tuple[str, ...] = ()
    left_out: str | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """Counts and the share of the multiply-accumulates that the accelerator takes."""
        return {
            **shares([vars(row) for row in self.rows], self.target),
            "regions": len(self.regions),
            "crossings": self.crossed.count,
            "crossing_bytes": self.crossed.bytes,
            "crossing_seconds_estimated": self.crossed.seconds,
            "cycles_estimated": sum(row.cycles for row in self.rows),
            "fallback_seconds_estimated": sum(row.fallback_seconds for row in self.rows),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "summary": self.summary}

    def to_networkx(self) -> networkx.MultiDiGraph:
        """The model as a graph of networkx, which is imported here and nowhere before; `pictures` draws it.

        nodes  ("op", name), ("input", name), ("output", name), with an attribute `kind` of these and the fields of
               `Row`, where an op's `reasons` are text, one a line
        edges  values, each keyed by its name, with attributes `value`, `dtype`, `shape` (text, "1x16x?") and `type`
        graph  attributes `model`, `target`, `precision`
        """
        import networkx

        graph = networkx.MultiDiGraph(model=self.model, target=self.target, precision=self.precision)
        for row in self.rows:
            facts = {**vars(row), "reasons": "\n".join(map(str, row.reasons))}
            graph.add_node(("op", row.name), kind="op", **facts)
        for link in self.links:
            for kind, name in (link.source, link.target):
                if kind != "op":
                    graph.add_node((kind, name), kind=kind, name=name)
            sizes = "?" if link.shape is None else "x".join("?" if size is None else str(size) for size in link.shape)
            facts = {"value": link.value, "dtype": link.dtype, "shape": sizes, "type": link.type}
            graph.add_edge(link.source, link.target, key=link.value, **facts)
        return graph


def explain_partition(
    parts: Partition,
    targets: Sequence[Target],
    *,
    model: str,
    precision: str,
    notes: Sequence[tuple[str, str]],
    assumed: bool,
    kept: Mapping[str, Kept] | None = None,
    outputs: Sequence[str] = (),
    host_only: bool = False,
) -> Explanation:
    """Put a partition into words.

    kept     by name of a node, why it is not made of parts that the targets take
    outputs  names of the model's outputs, where they are not those of the values
    host_only
             whether code for a board's own processor is left out
    """
    by_name = {target.name: target for target in targets}
    regions = tuple(
        {"name": region.name, "place": region.place, "ops": len(region.graph.nodes)} for region in parts.regions
    )
    owner = {node.name: region.name for region in parts.regions for node in region.graph.nodes}
    rows = []
    refusal = refusal_of(parts, targets)
    with settled(targets):
        for placement in parts.placements:
            name = placement.node.name
            refused = refusal if refusal is not None and name in refusal.nodes else None
            rows.append(_row(placement, by_name, targets[0].name, (kept or {}).get(name), refused, owner[name]))
    links = tuple(_links(parts.graph, outputs))
    code = targets[-1]
    makers = (code, *([] if code.beside is None else [code.beside]))
    coded = any(region.place == code.name for region in parts.regions)
    return Explanation(
        model,
        targets[0].name,
        precision,
        tuple(rows),
        regions,
        tuple(notes),
        assumed,
        links,
        refusal,
        crossings(parts),
        codes=tuple(target.name for target in makers) if coded else (),
        left_out=targets[0].processor if coded and host_only else None,
    )


def _links(graph: Graph, outputs: Sequence[str]) -> Iterator[Link]:
    def link(value: Value, target: End) -> Link:
        source = ("input", value.name) if value.producer is None else ("op", value.producer.name)
        return Link(source, target, value.name, value.type.dtype, value.type.shape)

    for node in graph.nodes:
        read = dict.fromkeys(value for value in node.inputs if value is not None and not value.is_constant)
        yield from (link(value, ("op", node.name)) for value in read)
    names = outputs or [value.name for value in graph.outputs]
    for name, value in zip(names, graph.outputs):
        if not value.is_constant:
            yield link(value, ("output", name))


def _row(
    placement: Placement,
    targets: Mapping[str, Target],
    wanted: str,
    kept: Kept | None,
    refusal: Refusal | None,
    region: str,
) -> Row:
    node, target = placement.node, targets.get(placement.place)
    cost = target.cost(node) if target is not None else None
    seconds = 0.0
    if placement.place != wanted:
        seconds = max(placement.macs / HOST_MACS_PER_SECOND, placement.bytes / HOST_BYTES_PER_SECOND)
    reasons = [
        Reason(name, answer.rule, answer.reason, answer.fix)
        for name, answer in placement.refused
        if placement.place != wanted
    ]
    if kept is not None:
        reasons.append(Reason(Decompose.name, kept.rule, kept.reason, kept.fix))
    if refusal is not None:  # whoever would leave it to the evaluator knows nothing of that
        reasons = [*reasons[:1], *(replace(reason, fix=refusal.help) for reason in reasons[1:])]
        reasons.append(Reason("compile", refusal.rule, refusal.what, refusal.help))
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
        reasons=tuple(reasons),
        region=region,
    )
