"""NaN and infinities in the inputs of an integer model: integers have neither, so they become others.

What they become is the meaning of `quantize`: an infinity the integer at its end of the range, NaN the zero point,
which stands for 0. Every device gives the same bytes for them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.errors import warn
from intarsia.runtime.arguments import TensorInfo

_KINDS = ("float16", "float32", "float64")


class Nonfinite:
    """Counts them over all runs of a session, and warns of the first.

    counts  by name of an input, how many numbers were NaN and how many infinite; inputs that had none are left out
    """

    def __init__(self, infos: Sequence[TensorInfo]) -> None:
        self._floats = tuple((index, info.name) for index, info in enumerate(infos) if info.dtype in _KINDS)
        self._lock = threading.Lock()
        self.counts: dict[str, dict[str, int]] = {}

    def look(self, arrays: Sequence[Any]) -> None:
        """Look at the inputs of one run, in order."""
        for index, name in self._floats:
            array = arrays[index]
            if np.count_nonzero(np.isfinite(array)) != array.size:
                self._count(name, array)

    def _count(self, name: str, array: Any) -> None:
        nan, infinite = int(np.count_nonzero(np.isnan(array))), int(np.count_nonzero(np.isinf(array)))
        with self._lock:
            first = not self.counts
            known = self.counts.get(name, {"nan": 0, "infinite": 0})
            self.counts[name] = {"nan": known["nan"] + nan, "infinite": known["infinite"] + infinite}
        if first:
            warn(
                f"input '{name}' holds {nan} NaN and {infinite} infinite numbers: as integers NaN counts as 0, and an "
                "infinity as the end of the range; this is said once a session, Session.nonfinite counts on"
            )
