"""What reports say of a region's kernels: what each takes of a GPU and does there, and the least time that a card needs
for the region."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from intarsia.ir.graph import Graph
from intarsia_backends.cuda.estimate.cards import CARDS, Card
from intarsia_backends.cuda.estimate.roofline import bound_seconds, roofline
from intarsia_backends.cuda.estimate.work import Work
from intarsia_backends.cuda.toolchain.build import Binaries
from intarsia_backends.cuda.toolchain.compiler import capability_of
from intarsia_backends.cuda.toolchain.multiprocessors import Occupancy, occupancy
from intarsia_backends.cuda.toolchain.sass import TENSOR, Code, Codes
from intarsia_backends.gpu.launches import KernelFacts, Launch, Launches

_SHOWN = (*TENSOR, "IDP", "FFMA", "HFMA2", "IMAD", "DFMA", "MUFU", "LDGSTS", "LDG", "LDSM", "LDS", "STS", "STG", "BAR")
"""Kinds of instructions that a line on a loop has, in this order; all others are in the sum before them."""

_COLUMNS = (
    "kernel", "launches", "blocks", "threads", "registers", "spilled B", "shared B", "occupancy %", "by", "tensor",
    "bytes", "operations", "least us", "hot loop",
)  # fmt: skip


@dataclass(frozen=True)
class Region:
    """A compiled region.

    graph     what it is
    launches  its kernels, and when they are launched
    works     by kernel, what one launch comes to
    halves    whether floats are float16 between kernels
    """

    graph: Graph
    launches: Launches
    works: Sequence[Work]
    halves: bool


def figures(region: Region, binaries: Binaries, codes: Codes, card: Card, name: str) -> dict[str, Any]:
    """Metadata of a region, {"figures", "tables"} as reports read them.

    card, name  what the estimate is for, and the machine code that the table tells of, such as "sm_80"
    """
    kernels, steps = region.launches.kernels, region.launches.steps
    counts = Counter(step.kernel for step in steps if isinstance(step, Launch))
    shown = codes.of(name)
    taken = binaries.resources[name]
    rooms = [occupancy(capability_of(name)[0], taken[kernel.name], kernel.threads) for kernel in kernels]
    estimate = roofline(
        region.graph,
        [region.works[step.kernel] for step in steps if isinstance(step, Launch)],
        card,
        region.halves,
    )
    everywhere = [each for of_kernels in binaries.resources.values() for each in of_kernels.values()]
    found: dict[str, Any] = {
        "launches": sum(counts.values()),
        "kernels": len(kernels),
        "most_registers": max((each.registers for each in everywhere), default=0),
        "spilled_bytes": sum(each.spill_bytes for each in everywhere),
        f"least_occupancy_on_{name}": min((room.share for room in rooms), default=1.0),
    }
    if shown:
        found["tensor_core_kernels"] = sum(bool(code.tensor) for code in shown.values())
    found |= {
        "estimate_for": card.title,
        "least_us": 1e6 * estimate.necessary_seconds,
        "least_us_of_kernels": 1e6 * estimate.issued_seconds,
        "necessary_bytes": estimate.necessary_bytes,
        "issued_bytes": estimate.issued_bytes,
        "brought_bytes": estimate.brought_bytes,
        "bytes_ratio": estimate.bytes_ratio,
        "necessary_operations": estimate.necessary_operations,
        "issued_operations": estimate.issued_operations,
        "operations_ratio": estimate.operations_ratio,
    }
    if estimate.beyond_cache:
        found["launches_beyond_cache"] = estimate.beyond_cache
    rows = [
        _row(kernel, counts[index], region.works[index], binaries, name, rooms[index], shown.get(kernel.name), card)
        for index, kernel in enumerate(kernels)
    ]
    title = f"kernels as {name}, by {binaries.compiler}; least times on {card.title}"
    return {"figures": found, "tables": [{"title": title, "columns": _COLUMNS, "rows": rows}]}


def card_for(names: Sequence[str]) -> str:
    """The card that an estimate is for where nobody chose one: the first that the machine code is made for."""
    made = {capability_of(name)[0] for name in names}
    return "a100" if 80 in made else next(name for name, card in CARDS.items() if card.capability in made)


def code_for(card: Card, names: Sequence[str]) -> str | None:
    """The machine code that a card runs: the latest for its generation. None where there is none."""
    able = [capability_of(name) for name in names]
    fitting = [
        own for own, is_ptx in able if not is_ptx and own // 10 == card.capability // 10 and own <= card.capability
    ]
    return f"sm_{max(fitting)}" if fitting else None


def _row(
    kernel: KernelFacts,
    launches: int,
    work: Work,
    binaries: Binaries,
    name: str,
    room: Occupancy,
    code: Code | None,
    card: Card,
) -> list[Any]:
    taken = binaries.resources[name][kernel.name]
    return [
        kernel.name, launches, math.prod(kernel.grid), kernel.threads, taken.registers, taken.spill_bytes,
        taken.shared_bytes, round(100 * room.share, 1), room.limit, None if code is None else code.tensor,
        work.size_bytes, work.operations, round(1e6 * bound_seconds(work, card), 3),
        None if code is None else _told(code),
    ]  # fmt: skip


def _told(code: Code) -> str:
    """The hot part in words."""
    shown = ", ".join(f"{code.hot[kind]} {kind}" for kind in _SHOWN if kind in code.hot)
    return f"{'' if code.loops else 'unrolled, '}{sum(code.hot.values())}: {shown}"
