"""What passes share beside the graph: the data of a compilation, and what one pass leaves for another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.ir.budget import Budget
from intarsia.passes.calibration import RANGES_FILE, Calibration, Ranges, ranges_text, read_ranges
from intarsia.passes.statistics import Trained

if TYPE_CHECKING:
    from intarsia.images import ImageOptions


@dataclass
class Folding:
    """What is left for computing constants.

    elements  by how many the results may be more than what they are made of
    """

    budget: Budget
    elements: int


@dataclass
class Context:
    """Options of a pass are its fields, which pipelines spell; what no text can spell is here.

    model        the model's name, for files and messages
    calibration  real inputs, or ranges measured before; None where none were given
    images       how a folder of images becomes samples
    progress     called with (what, done, total)
    ranges       of activations, as the last pass that measured, read or assumed them left them
    folding      what constant folding may still spend, all its passes together; None before the first
    trained      by name of a node, what a BatchNormalization knew of training when it was folded into it
    """

    model: str = ""
    calibration: Calibration | None = None
    images: ImageOptions | None = None
    progress: Callable[[str, int, int], None] | None = None
    ranges: Ranges | None = None
    folding: Folding | None = None
    trained: dict[str, Trained] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """What a pass finds here and a replay needs, as text by file name."""
        return {} if self.ranges is None or self.ranges.assumed else {RANGES_FILE: ranges_text(self.ranges)}

    @classmethod
    def of_folder(cls, folder: Path, calibration: Calibration | None = None) -> Context:
        """The context whose `files` lie in a folder."""
        path = folder / RANGES_FILE
        return cls(calibration=calibration, ranges=read_ranges(path) if path.exists() else None)
