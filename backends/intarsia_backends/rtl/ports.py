"""Reads the state of a Verilated module out of the header that Verilator writes, and writes the table of its ports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PORT = re.compile(r"VL_(IN|OUT|INOUT)(?:8|16|64|W)?\((\w+),(\d+),(\d+)(?:,\d+)?\);")
_INNER = re.compile(
    r"(?:VlUnpacked<)?(?:CData|SData|IData|QData|VlWide<\d+>)/\*(\d+):(\d+)\*/(?:, (\d+)>)? (\w+__DOT__\w+);"
)


@dataclass(frozen=True)
class StatePort:
    """A port or a public signal.

    name       as in the source; inner signals with their path, "u_fifo.count_q"
    member     of Verilator's root class
    direction  0 input, 1 output, 2 inner
    bits       of one element
    elements   of an unpacked array; 1 otherwise
    """

    name: str
    member: str
    direction: int
    bits: int
    elements: int


def find_ports(header: str, signals: Iterable[str]) -> Iterator[StatePort]:
    """Ports of the top and the signals asked for.

    header   text of V*___024root.h
    signals  names of public signals, without a path
    """
    wanted = set(signals)
    for line in header.splitlines():
        text = line.strip()
        port = _PORT.fullmatch(text)
        if port is not None:
            kind, name, high, low = port.groups()
            yield StatePort(_plain(name), name, 0 if kind == "IN" else 1, int(high) - int(low) + 1, 1)
            continue
        inner = _INNER.fullmatch(text)
        if inner is None:
            continue
        high, low, elements, member = inner.groups()
        path = [_plain(part) for part in member.split("__DOT__")[1:]]
        if path[-1] in wanted:
            yield StatePort(".".join(path), member, 2, int(high) - int(low) + 1, int(elements or 1))


def _plain(name: str) -> str:
    """Verilator writes a character that C++ does not take as ___0xx, and the brackets of a generate block as words."""
    found = re.sub(r"___0([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), name)
    return found.replace("__BRA__", "[").replace("__KET__", "]")


def table_source(ports: Iterable[StatePort]) -> str:
    """C++ that fills the table of ports."""
    lines = [
        "void ia::list_ports(Vtop___024root& root, std::vector<ia::Port>& ports) {",
    ]
    for port in ports:
        place = f"root.{port.member}"
        element = f"{place}[0]" if port.elements > 1 else place
        lines.append(
            f'  ports.push_back({{"{port.name}", reinterpret_cast<uint8_t*>(&{place}), {port.bits}, {port.elements}, '
            f"sizeof({element}), {port.direction}}});"
        )
    return "\n".join([*lines, "}", ""])
