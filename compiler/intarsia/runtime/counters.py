"""Figures of a run, summed over the images of a batch and over regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PEAK = "peak_"
TOTALS = ("cycles", "macs", "bytes_read", "bytes_written", "seconds")
"""Figures of whole regions that may be added up to figures of the model."""


def add(before: Any, after: Any) -> Any:
    """Two counters of the same shape as one: numbers are added, or for names with "peak_" in front the larger is kept;
    texts and truth values stay as they were; objects and lists are taken entry by entry."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return {
            key: _peak(before.get(key), after.get(key))
            if str(key).startswith(PEAK)
            else add(before.get(key), after.get(key))
            for key in {**before, **after}
        }
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        shared = [add(one, other) for one, other in zip(before, after)]
        return shared + list(before[len(after) :]) + list(after[len(before) :])
    if _is_number(before) and _is_number(after):
        return before + after
    return after if before is None else before


def _peak(before: Any, after: Any) -> Any:
    return max(before, after) if _is_number(before) and _is_number(after) else (after if before is None else before)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole_model(images: int, regions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counters of a run: {"images", totals that any region counts, "regions": [{"name", "device", ...}]}."""
    totals: dict[str, Any] = {}
    for name in TOTALS:
        counted = [region[name] for region in regions if _is_number(region.get(name))]
        if counted:
            totals[name] = sum(counted)
    return {"images": images, **totals, "regions": [dict(region) for region in regions]}
