"""Whether one sample of the calibration data is unlike all others: it alone would make the steps of int8 coarse."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

_TIMES = 4.0
"""So many times longer, by two bits, than the range of all other samples."""

_LEAST = 8
"""With fewer samples than this none is usual."""


class Extremes:
    """The two lowest and the two highest samples of a value.

    lows, highs  the lowest (highest) number, that of all other samples, and which sample the first is from
    """

    def __init__(self) -> None:
        self.lows = math.inf, math.inf, -1
        self.highs = -math.inf, -math.inf, -1

    def add(self, sample: int, low: float, high: float) -> None:
        """The lowest and the highest number of one sample."""
        first, second, which = self.lows
        self.lows = (low, first, sample) if low < first else (first, min(second, low), which)
        first, second, which = self.highs
        self.highs = (high, first, sample) if high > first else (first, max(second, high), which)

    def without(self, sample: int) -> tuple[float, float]:
        """The range of all other samples."""
        low, high = self.lows, self.highs
        return low[1] if low[2] == sample else low[0], high[1] if high[2] == sample else high[0]


def lone_sample(extremes: Mapping[str, Extremes], bounds: Mapping[str, tuple[float, float]], count: int) -> str | None:
    """A sentence about the sample that stretches most ranges; None where each has company.

    bounds  the ranges that are taken, by value name, with 0 in them or not
    count   how many samples there are
    """
    if count < _LEAST:
        return None
    stretched: Counter[int] = Counter()
    first: dict[int, str] = {}
    for name, (low, high) in bounds.items():
        parts = extremes[name]
        for sample in {parts.lows[2], parts.highs[2]}:
            usual = parts.without(sample)
            if max(high, 0.0) - min(low, 0.0) > _TIMES * (max(usual[1], 0.0) - min(usual[0], 0.0)) > 0.0:
                stretched[sample] += 1
                first.setdefault(sample, name)
    if not stretched:
        return None
    sample, values = max(stretched.items(), key=lambda item: (item[1], -item[0]))
    more = f" and {values - 1} more" if values > 1 else ""
    return (
        f"sample {sample} alone makes the range of '{first[sample]}'{more} over {_TIMES:g} times as long as all others "
        "do: take it out if it is no real input, "
        f"or use --calibrator percentile --percentile {_percentile(count):g}"
    )


def _percentile(count: int) -> float:
    """What leaves out two samples' worth of numbers."""
    return max(math.floor(1000.0 * (1.0 - 2.0 / count)) / 10.0, 50.1)
