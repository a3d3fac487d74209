"""A histogram of a stream whose range is not known beforehand, and that is the same in whatever order the stream comes.

Bins are those of the numbers themselves: sign, exponent and the first bits of the fraction of a float32. One far number
leaves the bins of all others as fine as they were, and there is nothing to rescale.
"""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array

FRACTION_BITS = 8
BINS_PER_OCTAVE = 1 << FRACTION_BITS
"""From a power of two to the next: a bin is 1/256 of its numbers wide at most."""

_DROPPED = 23 - FRACTION_BITS
_HALF = 1 << 31 - _DROPPED
"""Bins of one sign; those of negative numbers come first, so that bins and numbers ascend together."""


class Histogram:
    """Counts of all numbers seen, by bin. Memory is that of the bins that hold any.

    low, high  the smallest and the largest number seen, exactly; 0 and 0 before the first
    """

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self._bins = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)

    def add(self, numbers: Array, low: float, high: float) -> None:
        """Count numbers.

        numbers    float, any shape, finite, not empty
        low, high  their minimum and maximum
        """
        self.low, self.high = (min(self.low, low), max(self.high, high)) if self._bins.size else (low, high)
        bits = np.ascontiguousarray(numbers.reshape(-1), np.float32).view(np.int32)
        magnitudes = (bits & 0x7FFFFFFF) >> _DROPPED
        bins = np.where(bits < 0, _HALF - 1 - magnitudes, _HALF + magnitudes)
        first = int(bins.min())
        counts = np.bincount(bins - first)
        filled = np.flatnonzero(counts)
        together = np.concatenate([self._bins, filled + first])
        self._bins, places = np.unique(together, return_inverse=True)
        weights = np.concatenate([self._counts, counts[filled]])
        self._counts = np.zeros(len(self._bins), np.int64)
        np.add.at(self._counts, places.reshape(-1), weights)

    def central(self, percent: float) -> tuple[float, float]:
        """The range that leaves out (100 - percent) / 2 per cent of the numbers at each end, to the width of a bin."""
        total = int(self._counts.sum())
        if not total:
            return 0.0, 0.0
        tail = total * (100.0 - percent) / 200.0
        cumulated = np.cumsum(self._counts)
        first = int(np.searchsorted(cumulated, tail, side="right"))
        last = int(np.searchsorted(cumulated, total - tail, side="left"))
        low, _ = _edges(int(self._bins[min(first, len(self._bins) - 1)]))
        _, high = _edges(int(self._bins[min(last, len(self._bins) - 1)]))
        return max(low, self.low), min(high, self.high)


def _edges(bin: int) -> tuple[float, float]:
    """The numbers between which a bin lies."""
    magnitude = bin - _HALF if bin >= _HALF else _HALF - 1 - bin
    near, far = (float(np.asarray((magnitude + more) << _DROPPED, np.int32).view(np.float32)) for more in (0, 1))
    return (near, far) if bin >= _HALF else (-far, -near)
