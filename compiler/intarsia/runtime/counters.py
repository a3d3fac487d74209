"""Figures of a run, summed over the images of a batch and over regions."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

KEPT = ("tag", "utilisation")
"""Numbers that do not add up: they are those of the first image."""

TOTALS = ("cycles", "macs", "bytes_read", "bytes_written", "seconds")
"""Figures of whole regions that may be added up to figures of the model."""


def add(before: Any, after: Any, name: str = "") -> Any:
    """Two counters of the same shape as one.

    Numbers are added, save those called as in KEPT, and of those with "peak" in their name the larger is kept. Texts
    and truth values stay as they were; objects and lists are taken entry by entry.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return {key: add(before.get(key), after.get(key), str(key)) for key in {**before, **after}}
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        shared = [add(one, other) for one, other in zip(before, after)]
        return shared + list(before[len(after) :]) + list(after[len(before) :])
    if _is_number(before) and _is_number(after) and name not in KEPT:
        return max(before, after) if "peak" in name else before + after
    return after if before is None else before


def per_image(counters: Any, images: int, name: str = "") -> Any:
    """Counters of several images as those of one: what `add` has added is divided."""
    if isinstance(counters, Mapping):
        return {key: per_image(value, images, str(key)) for key, value in counters.items()}
    if isinstance(counters, (list, tuple)):
        return [per_image(value, images) for value in counters]
    if not _is_number(counters) or name in KEPT or "peak" in name:
        return counters
    return counters // images if isinstance(counters, int) and counters % images == 0 else counters / images


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole_model(images: int, regions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counters of a run: {"images", totals that any region counts, "regions": [{"name", "device", ...}]}."""
    totals: dict[str, Any] = {}
    for name in TOTALS:
        counted = [region[name] for region in regions if _is_number(region.get(name))]
        if counted:
            totals[name] = sum(counted)
    # Devices may hand out the same objects every time; the caller gets ones of his own.
    return {"images": images, **totals, "regions": [copy.deepcopy(dict(region)) for region in regions]}


def layers_of(counters: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """By region name, the layers that counters of a run have: what `Artifact.report` takes."""
    return {region["name"]: region["layers"] for region in counters["regions"] if region.get("layers")}
