"""Reads the state of a Verilated module out of the headers that Verilator writes, and writes the table of its ports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PORT = re.compile(r"VL_(IN|OUT|INOUT)(?:8|16|64|W)?\((\w+),(\d+),(\d+)(?:,\d+)?\);")
_INNER = re.compile(r"(?:VlUnpacked<)?(?:CData|SData|IData|QData|VlWide<\d+>)/\*(\d+):(\d+)\*/(?:, (\d+)>)? (\w+);")
_SCOPE = re.compile(r"Vtop_(\w+)\s+TOP__(\w+);")


@dataclass(frozen=True)
class StatePort:
    """A port or a public signal.

    name       as in the source; inner signals with their path, "u_fifo.count_q"
    place      C++ that names it
    direction  0 input, 1 output, 2 inner
    bits       of one element
    elements   of an unpacked array; 1 otherwise
    """

    name: str
    place: str
    direction: int
    bits: int
    elements: int


def find_ports(folder: Path, signals: Iterable[str]) -> Iterator[StatePort]:
    """Ports of the top and the signals asked for.

    folder   where Verilator wrote its C++
    signals  names of public signals, without a path
    """
    wanted = set(signals)
    root = (folder / "Vtop___024root.h").read_text()
    for kind, name, high, low in _PORT.findall(root):
        yield StatePort(_plain(name), f"root.{name}", 0 if kind == "IN" else 1, int(high) - int(low) + 1, 1)
    yield from _inner(root, "root", "", wanted)
    # Modules that Verilator keeps apart.
    for module, scope in _SCOPE.findall((folder / "Vtop__Syms.h").read_text()):
        path = [part for part in re.split("__DOT__|__", _plain(scope)) if part][1:]
        header = (folder / f"Vtop_{module}.h").read_text()
        yield from _inner(header, f"root.vlSymsp->TOP__{scope}", ".".join(path), wanted)


def _inner(header: str, owner: str, path: str, wanted: set[str]) -> Iterator[StatePort]:
    for high, low, elements, member in _INNER.findall(header):
        parts = _plain(member.removeprefix("__PVT__")).split("__DOT__")
        if parts[-1] not in wanted:
            continue
        names = parts[1:] if owner == "root" else [path, *parts] if path else parts
        yield StatePort(".".join(names), f"{owner}.{member}", 2, int(high) - int(low) + 1, int(elements or 1))


def _plain(name: str) -> str:
    """Verilator writes a character that C++ does not take as ___0xx, and the brackets of a generate block as words."""
    found = re.sub(r"___0([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), name)
    return found.replace("__BRA__", "[").replace("__KET__", "]")


def table_source(ports: Iterable[StatePort]) -> str:
    """C++ that fills the table of ports."""
    lines = ["void ia::list_ports(Vtop___024root& root, std::vector<ia::Port>& ports) {"]
    for port in ports:
        element = f"{port.place}[0]" if port.elements > 1 else port.place
        lines.append(
            f'  ports.push_back({{"{port.name}", reinterpret_cast<uint8_t*>(&{port.place}), {port.bits}, '
            f"{port.elements}, sizeof({element}), {port.direction}}});"
        )
    return "\n".join([*lines, "}", ""])
