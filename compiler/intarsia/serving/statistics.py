"""What one model has done since it was loaded, as Triton's extension `statistics` tells it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from intarsia.serving.metrics import RunMetrics
from intarsia.serving.refusal import Outcome

_MOST_SIZES = 64
"""Numbers of rows that runs are told apart by: clients choose them, so that they must have an end."""


class Statistics:
    """Counts, and sums of nanoseconds. It is the `Watch` of a model's batcher, and tells the metrics too."""

    def __init__(self, metrics: RunMetrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._last_milliseconds = 0
        self._rows = self._runs = 0
        self._sums = {name: [0, 0] for name in ("success", "fail", "queue", "compute_infer", "cache_hit", "cache_miss")}
        self._sizes: dict[int, list[int]] = {}

    def ran(self, rows: int, seconds: float, waits: Sequence[float]) -> None:
        """See `Watch`."""
        self._metrics.ran(rows, seconds, waits)
        nanoseconds = int(seconds * 1e9)
        with self._lock:
            self._rows += rows
            self._runs += 1
            self._add("queue", sum(waits), len(waits))
            self._add("compute_infer", seconds * len(waits), len(waits))  # each of them waited for all of it
            size = self._sizes.get(rows)
            if size is None and len(self._sizes) < _MOST_SIZES:
                size = self._sizes[rows] = [0, 0]
            if size is not None:
                size[0] += 1
                size[1] += nanoseconds

    def looked_up(self, hit: bool, seconds: float) -> None:
        """The cache was asked for the answer to a request."""
        self._metrics.looked_up(hit)
        with self._lock:
            self._add("cache_hit" if hit else "cache_miss", seconds)

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """A request is over."""
        with self._lock:
            self._add("success" if outcome is Outcome.OK else "fail", seconds)
            self._last_milliseconds = int(time.time() * 1000)

    def _add(self, name: str, seconds: float, count: int = 1) -> None:
        found = self._sums[name]
        found[0] += count
        found[1] += int(seconds * 1e9)

    def told(self, name: str, version: str) -> dict[str, Any]:
        """A ModelStatistics. Inputs are not copied, and outputs are written by who answers: both take 0."""
        with self._lock:
            sums = {key: {"count": count, "ns": total} for key, (count, total) in self._sums.items()}
            nothing = {"count": sums["compute_infer"]["count"], "ns": 0}
            return {
                "name": name,
                "version": version,
                "last_inference": self._last_milliseconds,
                "inference_count": self._rows,
                "execution_count": self._runs,
                "inference_stats": {**sums, "compute_input": nothing, "compute_output": nothing},
                "batch_stats": [
                    {
                        "batch_size": rows,
                        "compute_input": {"count": count, "ns": 0},
                        "compute_infer": {"count": count, "ns": total},
                        "compute_output": {"count": count, "ns": 0},
                    }
                    for rows, (count, total) in sorted(self._sizes.items())
                ],
            }
