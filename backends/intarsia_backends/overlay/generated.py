"""What is written out of the instruction set and the configurations: SystemVerilog package, manual page, JSON.

`python -m intarsia_backends.overlay.generated hw/generated` rewrites the files; a test fails when they are stale.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from intarsia_backends.overlay import isa
from intarsia_backends.overlay.config import CONFIGS, LANES, PARAMETER_GROUP_BYTES, TABLE_BYTES, WEIGHT_ROW_BYTES

_COMMAND = "python -m intarsia_backends.overlay.generated hw/generated"


def snake(name: str) -> str:
    """ConvSource -> conv_source."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def systemverilog_package() -> str:
    """The package that the RTL reads words with: opcodes, enumerations, one packed struct a word.

    The subset is what Verilator, Yosys' own front end and Vivado read alike.
    """
    lines = [
        f"// Generated from overlay/isa.py by `{_COMMAND}`. Do not edit.",
        "package ia_isa_pkg;",
        f"  localparam int unsigned WordBits = {isa.WORD_BITS};",
        f"  localparam int unsigned OpcodeBits = {isa.OPCODE_BITS};",
        f"  localparam int unsigned Semaphores = {isa.SEMAPHORES};",
        f"  localparam int unsigned TagBits = {isa.TAG_BITS};",
        f"  localparam int unsigned MultiplierBits = {isa.MULTIPLIER_BITS};",
        f"  localparam int unsigned Lanes = {LANES};",
        f"  localparam int unsigned WeightRowBytes = {WEIGHT_ROW_BYTES};",
        f"  localparam int unsigned ParameterGroupBytes = {PARAMETER_GROUP_BYTES};",
        f"  localparam int unsigned TableBytes = {TABLE_BYTES};",
        "",
    ]
    lines += _enumeration(
        "opcode_e", isa.OPCODE_BITS, {f"Op{kind.__name__}": kind.opcode() for kind in isa.INSTRUCTIONS}
    )
    lines += _enumeration("queue_e", 2, {f"Queue{_camel(item.name)}": item.value for item in isa.Queue})
    lines += _enumeration("segment_e", 2, {f"Segment{_camel(item.name)}": item.value for item in isa.Segment})
    lines += _enumeration("memory_e", 2, {f"Memory{_camel(item.name)}": item.value for item in isa.Memory})
    lines += _enumeration("vec_operation_e", 4, {f"Vec{_camel(item.name)}": item.value for item in isa.VecOperation})
    for kind in isa.INSTRUCTIONS:
        used = isa.OPCODE_BITS + sum(width for _, width, _ in kind.layout())
        lines += [f"  // {_summary(kind)}", "  typedef struct packed {"]
        if used < isa.WORD_BITS:
            lines.append(f"    logic [{isa.WORD_BITS - used - 1}:0] unused;")
        for name, width, signed in reversed(list(kind.layout())):
            lines.append(f"    logic {'signed ' if signed else ''}[{width - 1}:0] {name};")
        lines += ["    opcode_e opcode;", f"  }} {snake(kind.__name__)}_t;", ""]
    return "\n".join([*lines, "endpackage", ""])


def _enumeration(name: str, width: int, values: Mapping[str, int]) -> list[str]:
    rows = ",\n".join(f"    {key} = {width}'d{value}" for key, value in values.items())
    return [f"  typedef enum logic [{width - 1}:0] {{", rows, f"  }} {name};", ""]


def _summary(kind: type[isa.Instruction]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").splitlines()[0]


def manual() -> str:
    """The manual page: what overlay/isa.py says, with the place of every field."""
    lines = [
        f"<!-- Generated from overlay/isa.py by `{_COMMAND}`. Do not edit. -->",
        "# Instruction set of the overlay",
        "",
        "```",
        inspect.cleandoc(isa.__doc__ or "").split("\n\n", 1)[1],
        "```",
        "",
        "| word | queue | opcode | kind | bits used |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in isa.INSTRUCTIONS:
        used = isa.OPCODE_BITS + sum(width for _, width, _ in kind.layout())
        role = "run" if kind.is_run() else "setup"
        lines.append(f"| {kind.__name__} | {kind.queue.name} | {kind.opcode()} | {role} | {used} |")
    for kind in isa.INSTRUCTIONS:
        lines += ["", f"## {kind.__name__}", "", "```", inspect.cleandoc(kind.__doc__ or ""), "```", ""]
        lines += ["| field | bits | range | default |", "| --- | --- | --- | --- |"]
        low = isa.OPCODE_BITS
        for name, width, signed in kind.layout():
            first, last = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
            place = f"{low + width - 1}:{low}" if width > 1 else str(low)
            lines.append(f"| {name} | {place} | {first} to {last} | {getattr(kind(), name)} |")
            low += width
    return "\n".join([*lines, ""])


def files() -> dict[str, str]:
    """All generated files by name."""
    found = {"ia_isa_pkg.sv": systemverilog_package(), "isa.md": manual()}
    for config in CONFIGS.values():
        data = {**config.to_dict(), "hash": config.hash}
        found[f"{config.name}.json"] = json.dumps(data, indent=2) + "\n"
    return found


def write(folder: Path) -> None:
    """Write all generated files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / name).write_text(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
