"""A histogram of a stream whose range is not known beforehand: bins double in width when a value falls outside."""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array

BINS = 4096


class Histogram:
    """Counts of all numbers seen, in BINS bins that cover at least the numbers seen. Memory does not grow.

    low, high  the smallest and the largest number seen, exactly; 0 and 0 before the first
    """

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self._seen = False
        self._counts = np.zeros(BINS, np.int64)
        self._width = 0.0
        self._first = 0
        """Bin i holds numbers in [(first + i) * width, (first + i + 1) * width)."""

    def add(self, numbers: Array, low: float, high: float) -> None:
        """Count numbers.

        numbers    float, any shape, finite, not empty
        low, high  their minimum and maximum
        """
        self.low, self.high = (min(self.low, low), max(self.high, high)) if self._seen else (low, high)
        self._seen = True
        self._cover()
        bins = numbers.reshape(-1) / numbers.dtype.type(self._width)
        np.floor(bins, out=bins)
        bins -= numbers.dtype.type(self._first)
        np.clip(bins, 0, BINS - 1, out=bins)
        self._counts += np.bincount(bins.astype(np.int32), minlength=BINS)

    def _cover(self) -> None:
        """Make the bins reach from low to high: choose a width at first, and double it, merging bins, ever after."""
        if not self._width:
            extent = max(self.high - self.low, abs(self.high), abs(self.low), 2.0**-120)
            self._width = float(2.0 ** np.ceil(np.log2(extent / (BINS // 4))))
            self._first = int(np.floor(self.low / self._width)) - BINS // 4
        while not (self._first * self._width <= self.low and self.high < (self._first + BINS) * self._width):
            self._double()

    def _double(self) -> None:
        # Pairs of bins merge at even bin numbers; the covered stretch then doubles, half of it before, half behind.
        start = self._first // 2
        offset = self._first - 2 * start
        paired = np.zeros(BINS + 2, np.int64)
        paired[offset : offset + BINS] = self._counts
        merged = paired.reshape(-1, 2).sum(axis=1)
        self._counts = np.zeros(BINS, np.int64)
        room = (BINS - len(merged)) // 2
        self._counts[room : room + len(merged)] = merged
        self._width *= 2.0
        self._first = start - room

    def central(self, percent: float) -> tuple[float, float]:
        """The range that leaves out (100 - percent) / 2 per cent of the numbers at each end, to the width of a bin."""
        total = int(self._counts.sum())
        if not total:
            return 0.0, 0.0
        tail = total * (100.0 - percent) / 200.0
        cumulated = np.cumsum(self._counts)
        first = int(np.searchsorted(cumulated, tail, side="right"))
        last = int(np.searchsorted(cumulated, total - tail, side="left"))
        low = (self._first + first) * self._width
        high = (self._first + last + 1) * self._width
        return max(low, self.low), min(high, self.high)
