"""Shapes of inputs that onnx's own inference lets pass, or names badly: normalization, recurrent ops, attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from intarsia.importer.draft import Draft
from intarsia.ir.ops.recurrent import GATES
from intarsia.ir.types import Dimension

Wanted = Mapping[int, tuple[str, tuple[Dimension, ...]]]
"""By input index: what the input is, and its shape; None for a size that may be anything."""


def check_weights(draft: Draft) -> None:
    """Refuse weights whose shape does not go with the op's first input and its attributes."""
    rule = _RULES.get(draft.op) if draft.domain == "" else None
    x = draft.input(0)
    if rule is None or x is None or x.type.shape is None:
        return
    for index, (title, wanted) in rule(draft, x.type.shape).items():
        value = draft.input(index)
        if value is None or value.type.shape is None:
            continue
        found = value.type.shape
        if len(found) != len(wanted) or any(a is not None and b is not None and a != b for a, b in zip(found, wanted)):
            sizes = ",".join("?" if size is None else str(size) for size in wanted)
            raise draft.refuse(
                f"its {title} '{value.name}' is {value.type}, not [{sizes}] as its input {x.type} needs",
                f"the {title} belongs to another layer, or the exporter is wrong; export the model again",
            )


def _per_channel(draft: Draft, x: tuple[Dimension, ...]) -> Wanted:
    if len(x) < 2 and not (draft.op == "BatchNormalization" and len(x) == 1):
        raise draft.refuse(f"its input has {len(x)} axes", "it needs a batch axis and a channel axis")
    channels = x[1] if len(x) > 1 else 1
    titles = ("scale", "bias", "mean", "variance")[: 4 if draft.op == "BatchNormalization" else 2]
    return {index: (title, (channels,)) for index, title in enumerate(titles, start=1)}


def _recurrent(draft: Draft, x: tuple[Dimension, ...]) -> Wanted:
    if len(x) != 3:
        raise draft.refuse(f"its input has {len(x)} axes, not 3", "it reads [sequence, batch, features]")
    steps_first = not draft.attributes.get("layout", 0)
    batch = x[1] if steps_first else x[0]
    ways = 2 if draft.attributes.get("direction", "forward") == "bidirectional" else 1
    recurrence = draft.input(2)
    hidden = draft.attributes.get("hidden_size")
    if hidden is None and recurrence is not None and recurrence.type.shape is not None:
        hidden = recurrence.type.shape[-1] if len(recurrence.type.shape) == 3 else None
    rows = None if hidden is None else GATES[draft.op] * hidden
    state: tuple[Dimension, ...] = (ways, batch, hidden) if steps_first else (batch, ways, hidden)
    wanted: dict[int, tuple[str, tuple[Dimension, ...]]] = {
        1: ("weight", (ways, rows, x[2])),
        2: ("recurrence weight", (ways, rows, hidden)),
        3: ("bias", (ways, None if rows is None else 2 * rows)),
        4: ("list of sequence lengths", (batch,)),
        5: ("initial state", state),
    }
    if draft.op == "LSTM":
        wanted[6] = ("initial cell state", state)
        wanted[7] = ("peephole weight", (ways, None if hidden is None else 3 * hidden))
    return wanted


def _attention(draft: Draft, q: tuple[Dimension, ...]) -> Wanted:
    """By the op's page: keys and values have the queries' batch; as many keys as values, of the queries' depth."""
    for name in ("scale", "softcap"):
        if not math.isfinite(draft.attributes.get(name) or 0.0):
            raise draft.refuse(f"its {name} is {draft.attributes[name]}", "give it a number; export the model again")
    keys = draft.input(1)
    found = None if keys is None else keys.type.shape
    if found is None or len(found) != len(q) or len(q) not in (3, 4):
        return {1: ("tensor of keys", (q[0], *(None,) * (len(q) - 1)))} if len(q) in (3, 4) else {}
    if len(q) == 4:
        return {
            1: ("tensor of keys", (q[0], None, None, q[3])),
            2: ("tensor of values", (q[0], found[1], found[2], None)),
        }
    heads, key_heads = draft.attributes.get("q_num_heads"), draft.attributes.get("kv_num_heads")
    width = None if q[2] is None or not heads or not key_heads else q[2] // heads * key_heads
    return {1: ("tensor of keys", (q[0], None, width)), 2: ("tensor of values", (q[0], found[1], None))}


_RULES: dict[str, Callable[[Draft, tuple[Dimension, ...]], Wanted]] = {
    "BatchNormalization": _per_channel,
    "InstanceNormalization": _per_channel,
    "Attention": _attention,
    **dict.fromkeys(GATES, _recurrent),
}
