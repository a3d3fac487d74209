"""What all layers share while their words are emitted: units, constants, rings, and banks for tiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from intarsia_backends.overlay.compiler.constants import ConstantPool, Ring
from intarsia_backends.overlay.compiler.schedule import Unit
from intarsia_backends.overlay.compiler.tensors import Resident, Tensor, ceil_div
from intarsia_backends.overlay.machine.config import OverlayConfig


class ProgramBuilder:
    """Collects the units of a program."""

    def __init__(self, config: OverlayConfig) -> None:
        self.config = config
        self.units: list[Unit] = []
        self.pool = ConstantPool()
        self.weights = Ring(config.weight_rows)
        self.parameters = Ring(config.parameter_groups)
        self.tables = Ring(config.tables)
        self.peak_words = 0
        self._rotation = 0

    def unit(self) -> Unit:
        """A new unit at the end."""
        self.units.append(Unit())
        return self.units[-1]

    def tile_banks(self, live: Iterable[Tensor]) -> TileBanks:
        """Banks that no resident tensor of `live` lies in."""
        used = [False] * self.config.activation_banks
        for tensor in live:
            place = tensor.place
            assert isinstance(place, Resident)
            for bank in banks_of(place.base, tensor.words, self.config):
                used[bank] = True
        return TileBanks(self, used)


def banks_of(base: int, words: int, config: OverlayConfig) -> range:
    """Banks that a run of words lies in."""
    return range(base // config.bank_words, ceil_div(base + words, config.bank_words))


class TileBanks:
    """Free banks of one step, given to tiles. Tiles of one step never share a bank."""

    def __init__(self, builder: ProgramBuilder, used: list[bool]) -> None:
        self._builder = builder
        self._used = used

    @property
    def free(self) -> int:
        """How many banks hold no resident tensor."""
        return self._used.count(False)

    def fits(self, sizes: Iterable[int]) -> bool:
        """Whether buffers of so many words each could all be had."""
        return assign_banks(list(sizes), self._used, self._builder.config) is not None

    def take(self, sizes: Iterable[int]) -> list[int]:
        """First words of buffers of so many words each (0 words: any address)."""
        places = assign_banks(list(sizes), self._used, self._builder.config)
        assert places is not None, "tiles were chosen larger than the memory"
        words = self._builder.config.bank_words
        return [place * words for place in places]


def assign_banks(sizes: Sequence[int], used: Sequence[bool], config: OverlayConfig) -> list[int] | None:
    """Banks at which buffers of so many words begin, largest first into the first gap that holds them; None if none."""
    taken = list(used)
    counts = [ceil_div(size, config.bank_words) for size in sizes]
    places = [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda at: (-counts[at], at)):
        count = counts[index]
        if not count:
            continue
        for bank in range(len(taken) - count + 1):
            if not any(taken[bank : bank + count]):
                taken[bank : bank + count] = [True] * count
                places[index] = bank
                break
        else:
            return None
    return places
