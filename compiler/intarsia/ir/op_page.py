"""The op table as a page to read, in Markdown: every op of every family, with whose meaning it has and its facts."""

from __future__ import annotations

from collections.abc import Iterable

from intarsia.ir.op import Op, never, no_macs
from intarsia.ir.ops import FAMILIES, LONG_TAIL


def op_page() -> str:
    """The page. `python -c "from intarsia.ir.op_page import op_page; print(op_page())"` prints it."""
    families = {**FAMILIES, "long_tail": tuple(LONG_TAIL.values())}
    return "# The op table\n" + "".join(_family(name, rows) for name, rows in families.items())


def _family(name: str, rows: Iterable[Op]) -> str:
    lines = [f"| {op.name} | {_meaning(op)} | {op.work} | {', '.join(facts_of(op))} |" for op in rows]
    return "\n".join(
        [f"\n## {name}\n", "| op | meaning | counts as | facts |", "| --- | --- | --- | --- |", *lines, ""]
    )


def _meaning(op: Op) -> str:
    if op.control is not None:
        return "NumPy, where its graphs hold tensors alone"
    if op.evaluate is None:
        return "onnx"
    return "NumPy" if op.rare is never else "NumPy, rare forms onnx"


def facts_of(op: Op) -> tuple[str, ...]:
    """Names of the fields of `Op` that say something of an op, beside `work`."""
    facts = {
        "integer": op.integer,
        "macs": op.macs is not no_macs,
        "carries_activation": op.carries_activation,
        "keeps_scale": op.keeps_scale,
        "keeps_range": op.keeps_range,
        "nonnegative": op.nonnegative,
        "random": op.random is not never,
        "grows": op.grows,
        "optional_outputs": op.optional_outputs,
    }
    return tuple(name for name, holds in facts.items() if holds)
