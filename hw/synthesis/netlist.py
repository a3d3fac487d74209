"""A mapped netlist as Yosys writes it in JSON: what it is made of, module by module, and its longest paths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LUTS = {"INV", *(f"LUT{inputs}" for inputs in range(1, 7))}

LUT_MEMORY = {
    **{f"RAM{depth}X1S": size for depth, size in ((16, 1), (32, 1), (64, 1), (128, 2), (256, 4), (512, 8))},
    **{f"RAM{depth}X1D": size for depth, size in ((16, 2), (32, 2), (64, 2), (128, 4))},
    **{"RAM32M": 4, "RAM64M": 4, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1},
}
"""LUTs that a cell of LUT memory takes."""

FLIP_FLOPS = {"FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1"}
BLOCK_MEMORY = {"RAMB36E1": 2, "RAMB18E1": 1}
"""Halves of a block memory of 36 kbit."""

RESOURCES = ("LUT", "LUTRAM", "FF", "CARRY4", "DSP48E1", "BRAM36")


@dataclass
class Part:
    """All instances of a module that stand below the same part.

    own       cells by type, without those of the parts below
    parts     by module
    """

    module: str
    instances: int = 0
    own: Counter[str] = field(default_factory=Counter)
    parts: dict[str, Part] = field(default_factory=dict)

    def cells(self) -> Counter[str]:
        """Cells by type, those of all parts below included."""
        found = Counter(self.own)
        for part in self.parts.values():
            found.update(part.cells())
        return found

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Part]]:
        """(depth, part) for this part and all below it."""
        yield depth, self
        for part in sorted(self.parts.values(), key=lambda item: item.module):
            yield from part.walk(depth + 1)


def resources(cells: Mapping[str, int]) -> dict[str, float]:
    """What cells take of a 7-series device, by the names of RESOURCES; LUTRAM is not in LUT."""
    found = dict.fromkeys(RESOURCES, 0.0)
    for kind, count in cells.items():
        if kind in LUTS:
            found["LUT"] += count
        elif kind in LUT_MEMORY:
            found["LUTRAM"] += count * LUT_MEMORY[kind]
        elif kind in FLIP_FLOPS:
            found["FF"] += count
        elif kind in BLOCK_MEMORY:
            found["BRAM36"] += count * BLOCK_MEMORY[kind] / 2
        elif kind in found:
            found[kind] += count
    return found


def module_name(name: str) -> str:
    """The module that a parametrised copy was made of: `$paramod$ab12\\ia_fifo` -> `ia_fifo`."""
    found = re.match(r"\$paramod(?:\$[0-9a-f]+)?\\(\w+)", name)
    return found.group(1) if found else name.lstrip("\\")


@dataclass(frozen=True)
class Cell:
    """One cell of the flattened netlist; nets are numbers, constants are text."""

    kind: str
    module: str
    pins: Mapping[str, list[int | str]]
    parameters: Mapping[str, Any]


class Netlist:
    """Modules elaborated from the top down.

    part   the top
    cells  all cells, flattened
    """

    def __init__(self, design: Mapping[str, Any], top: str) -> None:
        self._modules = design["modules"]
        self._nets = 0
        self.cells: list[Cell] = []
        self.part = Part(top, 1)
        found = [name for name in self._modules if module_name(name) == top and self._is_ours(name)]
        assert len(found) == 1, f"{len(found)} modules {top}"
        self._elaborate(found[0], {}, self.part)

    def _is_ours(self, name: str) -> bool:
        attributes = self._modules.get(name, {"attributes": {"blackbox": 1}})["attributes"]
        return not {"blackbox", "whitebox"} & attributes.keys()

    def _elaborate(self, name: str, nets: dict[int | str, int | str], part: Part) -> None:
        """Add the cells of a module; `nets` gives the nets at its ports."""

        def net(bit: int | str) -> int | str:
            if isinstance(bit, str):
                return bit
            if bit not in nets:
                self._nets += 1
                nets[bit] = self._nets
            return nets[bit]

        for cell in self._modules[name]["cells"].values():
            kind = cell["type"]
            if kind.startswith("$") and not self._is_ours(kind):
                continue  # $scopeinfo and other notes
            pins = {pin: [net(bit) for bit in bits] for pin, bits in cell["connections"].items()}
            if not self._is_ours(kind):
                part.own[kind] += 1
                self.cells.append(Cell(kind, part.module, pins, cell["parameters"]))
                continue
            inner: dict[int | str, int | str] = {}
            for pin, port in self._modules[kind]["ports"].items():
                inner.update(zip(port["bits"], pins.get(pin, ())))
            below = part.parts.setdefault(module_name(kind), Part(module_name(kind)))
            below.instances += 1
            self._elaborate(kind, inner, below)


@dataclass(frozen=True)
class Path:
    """A longest path: LUTs and carry chains from a register, a block memory or an input to the next one."""

    luts: int = 0
    chains: int = 0

    @property
    def levels(self) -> int:
        """Both together."""
        return self.luts + self.chains


_CARRY = [f"{name}{number}" for number in range(4) for name in ("O", "CO")]
_FREE = {"MUXF7", "MUXF8"}  # between the LUTs of a slice


def longest_paths(cells: list[Cell]) -> dict[str, Path]:
    """The longest path that ends in each module.

    LUTs count one level, LUT memory that is read too, a carry chain one where a path enters it, whatever its length;
    MUXF7 and MUXF8 count nothing. Block memories and DSPs begin and end paths. No wire and no delay is in this: it
    ranks paths, and shows where registers are missing; it is no clock frequency.
    """
    drivers: dict[int | str, tuple[Cell, str, int]] = {}
    for cell in cells:
        for pin in _outputs(cell):
            for index, net in enumerate(cell.pins.get(pin, ())):
                drivers[net] = (cell, pin, index)
    known: dict[int | str, Path] = {}
    found: dict[str, Path] = {}
    for cell in cells:
        ends = _ends(cell)
        for pin in ends:
            for net in cell.pins.get(pin, ()):
                path = _arrival(net, drivers, known)
                if path.levels > found.get(cell.module, Path()).levels:
                    found[cell.module] = path
    return found


def _outputs(cell: Cell) -> tuple[str, ...]:
    """Pins whose value follows from inputs without a clock."""
    if cell.kind in LUTS or cell.kind in _FREE:
        return ("O",)
    if cell.kind == "CARRY4":
        return ("O", "CO")
    if cell.kind in LUT_MEMORY:
        return tuple(pin for pin in ("O", "DPO", "SPO", "DOA", "DOB", "DOC", "DOD", "Q") if pin in cell.pins)
    return ()


def _ends(cell: Cell) -> tuple[str, ...]:
    """Pins that a path ends at."""
    if cell.kind in LUTS or cell.kind in _FREE or cell.kind == "CARRY4":
        return ()
    return tuple(pin for pin in cell.pins if pin not in ("Q", "C", "CLK", "WCLK"))


def _sources(cell: Cell, pin: str, index: int) -> list[tuple[int | str, int, int]]:
    """(net, LUTs, chains) that an output depends on, with what the way through the cell costs."""
    pins = cell.pins
    if cell.kind in _FREE:
        return [(net, 0, 0) for name in ("I0", "I1", "S") for net in pins[name]]
    if cell.kind == "CARRY4":
        last = index + 1 if pin == "CO" else index
        through = [(net, 0, 0) for name in ("CI",) for net in pins.get(name, ())]
        into = [*pins["S"][: index + 1], *pins["DI"][:last], *pins.get("CYINIT", ())]
        return through + [(net, 0, 1) for net in into]
    if cell.kind in LUT_MEMORY:
        if cell.kind.startswith("SRL"):
            return [(net, 1, 0) for net in pins.get("A", ())]
        letter = pin[-1] if pin.startswith("DO") else ""
        names = [name for name in pins if re.fullmatch(rf"ADDR{letter}|A\d?|DPRA\d?", name)]
        return [(net, 1, 0) for name in names for net in pins[name]]
    return [(net, 1, 0) for name, nets in pins.items() if name != "O" for net in nets]


def _arrival(end: int | str, drivers: Mapping[int | str, tuple[Cell, str, int]], known: dict[int | str, Path]) -> Path:
    """The longest path up to a net."""
    waiting, entered = [end], set()
    while waiting:
        net = waiting[-1]
        if net in known:
            waiting.pop()
            continue
        driver = drivers.get(net)
        if driver is None:
            known[net] = Path()
            continue
        sources = _sources(*driver)
        missing = [source for source, _, _ in sources if source not in known]
        if missing and net not in entered:
            entered.add(net)
            waiting += missing
            continue
        assert not missing, f"a loop of gates in {driver[0].module}"
        best = Path()
        for source, luts, chains in sources:
            before = known[source]
            here = Path(before.luts + luts, before.chains + chains)
            if here.levels > best.levels:
                best = here
        known[net] = best
    return known[end]
