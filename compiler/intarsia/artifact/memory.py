"""What an artifact takes of a board's memory, beside what the board has. NumPy-free: plain numbers of the manifest.

Targets of boards say in their facts what a board has:

    facts["memory"] = {"bytes", "contiguous_bytes", "system_bytes"}

    bytes             of DRAM
    contiguous_bytes  of it, what images for the board keep for buffers of the FPGA
    system_bytes      of it, what Linux, Python and NumPy take; an assumption

and what is compiled says what a run takes beside the files, which are read whole:

    region.metadata["memory"] = {"bytes", "contiguous_bytes"}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KEY = "memory"
_MIB = 1 << 20


@dataclass(frozen=True)
class Need:
    """Bytes that an artifact takes, and those that there are on the board; 0 where nobody says.

    files       the artifact, as it is read
    ordinary    copies of weights, scratch memory
    contiguous  buffers of the FPGA: programs, weights, activations
    """

    files: int
    ordinary: int
    contiguous: int
    board: int = 0
    board_contiguous: int = 0
    board_system: int = 0

    @property
    def total(self) -> int:
        return self.files + self.ordinary + self.contiguous

    def refusal(self) -> str | None:
        """Why it cannot run on the board; None where it can, or no board is known."""
        if self.board and self.total > self.board:
            return f"it needs {self._figures()}, and the board has {mebibytes(self.board)}"
        return None

    def warnings(self) -> list[str]:
        """What the user should know before the board is tried."""
        found: list[str] = []
        if not self.board or self.refusal() is not None:
            return found
        if self.contiguous > self.board_contiguous:
            found.append(
                f"the overlay's buffers take {mebibytes(self.contiguous)} of contiguous memory, and images for the "
                f"board keep {mebibytes(self.board_contiguous)} for them: boot with a larger cma= area"
            )
        left = self.board - max(self.contiguous, self.board_contiguous) - self.board_system
        if self.files + self.ordinary > left:
            found.append(
                f"a run takes {self._figures()}; of the board's {mebibytes(self.board)} some {mebibytes(max(0, left))} "
                "are left beside Linux and the memory of the overlay"
            )
        return found

    def _figures(self) -> str:
        return (
            f"{mebibytes(self.total)} of memory ({mebibytes(self.files)} for its files, {mebibytes(self.ordinary)} for "
            f"code on the CPU, {mebibytes(self.contiguous)} for the overlay)"
        )

    def __str__(self) -> str:
        return (
            f"memory on the board: {mebibytes(self.total)} of {mebibytes(self.board)}, of it for the overlay "
            f"{mebibytes(self.contiguous)} of {mebibytes(self.board_contiguous)}"
        )


def need(files_bytes: int, regions: Iterable[Mapping[str, Any]], facts: Any) -> Need:
    """What an artifact takes.

    files_bytes  of all its files
    regions      metadata of each region
    facts        of the target, as the manifest has them
    """
    parts = [_whole(metadata.get(KEY), ("bytes", "contiguous_bytes")) for metadata in regions]
    names = ("bytes", "contiguous_bytes", "system_bytes")
    board = _whole(facts.get(KEY) if isinstance(facts, Mapping) else None, names)
    return Need(files_bytes, sum(part[0] for part in parts), sum(part[1] for part in parts), *board)


def _whole(data: Any, names: tuple[str, ...]) -> list[int]:
    """Numbers of an object out of a file; 0 for what is none."""
    found = [data.get(name) if isinstance(data, Mapping) else None for name in names]
    return [value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0 for value in found]


def mebibytes(size_bytes: int) -> str:
    """A number of bytes for people."""
    return f"{size_bytes / _MIB:,.1f} MiB" if size_bytes < 100 * _MIB else f"{size_bytes / _MIB:,.0f} MiB"
