"""What is written out of instruction set, registers and configurations: SystemVerilog packages, manual pages, JSON.

`python -m intarsia_backends.overlay.machine.generated hw/intarsia_hw/generated` rewrites the files; a test fails when
they are stale.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from intarsia_backends.overlay.machine import isa, registers
from intarsia_backends.overlay.machine.config import (
    CONFIGS,
    LANES,
    PARAMETER_GROUP_BYTES,
    TABLE_BYTES,
    WEIGHT_ROW_BYTES,
    OverlayConfig,
)
from intarsia_backends.overlay.machine.parameters import VLNV, core_parameters

_COMMAND = "python -m intarsia_backends.overlay.machine.generated hw/intarsia_hw/generated"

_PACKAGE_LINT = ("// A design need not use everything that a package offers.", "// verilator lint_off UNUSEDPARAM")
_PACKAGE_END = ("// verilator lint_on UNUSEDPARAM",)


def snake(name: str) -> str:
    """ConvSource -> conv_source."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def field_name(name: str) -> str:
    """How a field is called in SystemVerilog, where two of the names are keywords: they get an underscore."""
    return f"{name}_" if name in ("table", "wait") else name


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def systemverilog_package() -> str:
    """The package that the RTL reads words with: opcodes, enumerations, one packed struct a word.

    The subset is what Verilator, Yosys' own front end and Vivado read alike.
    """
    lines = [
        f"// Generated from overlay/machine/isa by `{_COMMAND}`. Do not edit.",
        *_PACKAGE_LINT,
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
            lines.append(f"    logic {'signed ' if signed else ''}[{width - 1}:0] {field_name(name)};")
        lines += ["    opcode_e opcode;", f"  }} {snake(kind.__name__)}_t;", ""]
    lines += _run_words() + _malformed() + _needed_setups()
    return "\n".join([*lines, "endpackage", *_PACKAGE_END, ""])


def _run_words() -> list[str]:
    """The function that tells run words from setup words."""
    opcodes = ", ".join(f"{isa.OPCODE_BITS}'d{kind.opcode()}" for kind in isa.INSTRUCTIONS if kind.is_run())
    return [
        f"  function automatic logic is_run(input logic [{isa.OPCODE_BITS - 1}:0] opcode);",
        "    case (opcode)",
        f"      {opcodes}: is_run = 1'b1;",
        "      default: is_run = 1'b0;",
        "    endcase",
        "  endfunction",
        "",
    ]


def _malformed() -> list[str]:
    """The function that tells malformed words by themselves: opcode, bits above the fields, limits of fields."""
    lines = [
        "  // Whether a word is malformed whatever stands before it: opcode, bits above its fields, limits of fields.",
        f"  function automatic logic is_malformed(input logic [{isa.WORD_BITS - 1}:0] word);",
        f"    case (word[{isa.OPCODE_BITS - 1}:0])",
    ]
    for kind in isa.INSTRUCTIONS:
        places, low = _places(kind)
        faults = [f"|word[{isa.WORD_BITS - 1}:{low}]"] if low < isa.WORD_BITS else []
        for name, least, most in kind.limits():
            place, width = places[name]
            if least is not None:
                faults.append(f"{place} == {width}'d0" if least == 1 else f"{place} < {width}'d{least}")
            if most is not None:
                faults.append(f"{place} > {width}'d{most}")
        lines.append(f"      {isa.OPCODE_BITS}'d{kind.opcode()}:  // {kind.__name__}")
        assert faults, "every word leaves some bits unused"
        lines.append(f"        is_malformed = {faults[0]}" + ("" if faults[1:] else ";"))
        lines += [f"            || {fault}" + (";" if fault == faults[-1] else "") for fault in faults[1:]]
    return [*lines, "      default:", "        is_malformed = 1'b1;", "    endcase", "  endfunction", ""]


def _places(kind: type[isa.Instruction]) -> tuple[dict[str, tuple[str, int]], int]:
    """Where the fields of a word stand, as an expression and a number of bits, and how many bits there are."""
    places, low = {}, isa.OPCODE_BITS
    for name, width, _ in kind.layout():
        places[name] = f"word[{low + width - 1}:{low}]", width
        low += width
    return places, low


def _needed_setups() -> list[str]:
    """The functions that tell which setup words must stand before a run word: one bit for each that holds counts."""
    runs = [kind for kind in isa.INSTRUCTIONS if issubclass(kind, isa.Run)]
    read = {item.setup for kind in runs for item in kind.setups if item.setup.holds_counts()}
    counted = [kind for kind in isa.INSTRUCTIONS if kind in read]
    bits = len(counted)
    masks = {kind: f"{bits}'b{1 << number:0{bits}b}" for number, kind in enumerate(counted)}
    lines = [
        "  // Setup words that hold counts have a bit each: those that read them stand behind them.",
        f"  localparam int unsigned CountedSetups = {bits};",
        "",
        "  // The bit of a setup word; none for other words.",
        f"  function automatic logic [{bits - 1}:0] counted_setup(input logic [{isa.OPCODE_BITS - 1}:0] opcode);",
        "    case (opcode)",
        *(
            f"      {isa.OPCODE_BITS}'d{kind.opcode()}: counted_setup = {masks[kind]};  // {kind.__name__}"
            for kind in counted
        ),
        f"      default: counted_setup = {bits}'d0;",
        "    endcase",
        "  endfunction",
        "",
        "  // The bits of those that must stand before a word.",
        "  // verilator lint_off UNUSEDSIGNAL",
        f"  function automatic logic [{bits - 1}:0] needed_setups(input logic [{isa.WORD_BITS - 1}:0] word);",
        f"    case (word[{isa.OPCODE_BITS - 1}:0])",
    ]
    for kind in runs:
        places, _ = _places(kind)
        terms = []
        for item in kind.setups:
            if item.setup not in masks:
                continue
            term = masks[item.setup]
            if item.field:
                place, width = places[item.field]
                found = " || ".join(f"{place} == {width}'d{int(value)}" for value in item.values)
                term = f"({found} ? {term} : {bits}'d0)"
            terms.append(term)
        if terms:
            lines += [
                f"      {isa.OPCODE_BITS}'d{kind.opcode()}:  // {kind.__name__}",
                f"        needed_setups = {terms[0]}" + ("" if terms[1:] else ";"),
                *(f"            | {term}" + (";" if term == terms[-1] else "") for term in terms[1:]),
            ]
    return [
        *lines,
        f"      default: needed_setups = {bits}'d0;",
        "    endcase",
        "  endfunction",
        "  // verilator lint_on UNUSEDSIGNAL",
        "",
    ]


def _enumeration(name: str, width: int, values: Mapping[str, int]) -> list[str]:
    rows = ",\n".join(f"    {key} = {width}'d{value}" for key, value in values.items())
    return [f"  typedef enum logic [{width - 1}:0] {{", rows, f"  }} {name};", ""]


def _summary(kind: type[isa.Instruction]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").splitlines()[0]


def manual() -> str:
    """The manual page: what overlay/machine/isa says, with the place of every field."""
    lines = [
        f"<!-- Generated from overlay/machine/isa by `{_COMMAND}`. Do not edit. -->",
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
        limits = {name: (least, most) for name, least, most in kind.limits()}
        for name, width, signed in kind.layout():
            first, last = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
            least, most = limits.get(name, (None, None))
            first, last = (first if least is None else least), (last if most is None else most)
            place = f"{low + width - 1}:{low}" if width > 1 else str(low)
            default = getattr(kind(), name)
            shown = default if first <= default <= last else "-"
            lines.append(f"| {name} | {place} | {first} to {last} | {shown} |")
            low += width
        if issubclass(kind, isa.Run) and kind.setups:
            lines += ["", "| reads the registers of | where | they hold counts |", "| --- | --- | --- |"]
            lines += [_manual_row(item) for item in kind.setups]
    return "\n".join([*lines, ""])


def _manual_row(item: isa.Reads) -> str:
    """A row of the table of setup words that a run word reads."""
    names = (value.name if isinstance(value, isa.VecOperation) else str(value) for value in item.values)
    where = f"{item.field} = {' or '.join(names)}" if item.field else "always"
    counts = "yes: must stand before" if item.setup.holds_counts() else "no"
    return f"| {item.setup.__name__} | {where} | {counts} |"


def register_package() -> str:
    """The package that the register file is written with: addresses, places of bits, causes of errors."""
    address = registers.ADDRESS_BITS
    lines = [
        f"// Generated from overlay/machine/registers.py by `{_COMMAND}`. Do not edit.",
        *_PACKAGE_LINT,
        "package ia_registers_pkg;",
        f"  localparam int unsigned AddressBits = {address};",
        f"  localparam logic [31:0] Identification = 32'h{registers.IDENTIFICATION_VALUE:08x};",
        f"  localparam logic [31:0] Version = 32'd{registers.VERSION_VALUE};",
        f"  localparam int unsigned DeadlockCycles = {registers.DEADLOCK_CYCLES};",
        f"  localparam int unsigned ProgramWordsBits = {registers.PROGRAM_WORDS_BITS};",
        f"  localparam int unsigned Queues = {len(isa.Queue)};",
        f"  localparam logic [2:0] Fetcher = 3'd{registers.FETCHER};",
        "",
        "  // Counters: 0 counts cycles, CounterKinds * (1 + queue) + kind what a queue does.",
        f"  localparam int unsigned CounterKinds = {len(registers.CounterKind)};",
        f"  localparam int unsigned Counters = {len(registers.CounterKind) * (1 + len(isa.Queue))};",
    ]
    lines += [f"  localparam int unsigned Counter{_camel(kind.name)} = {kind};" for kind in registers.CounterKind]
    lines += ["", "  // Byte addresses; the counters stand from RegCounters on, 8 bytes each."]
    counters = registers.COUNTERS_OFFSET
    for register in registers.REGISTERS:
        if register.offset >= counters:
            continue
        for word in range(register.words):
            name = _camel(register.name) + ("High" if word else "")
            lines.append(
                f"  localparam logic [{address - 1}:0] Reg{name} = {address}'h{register.offset + 4 * word:03x};"
            )
    lines += [f"  localparam logic [{address - 1}:0] RegCounters = {address}'h{counters:03x};", ""]
    for register in registers.REGISTERS:
        for bits in register.bits:
            lines.append(f"  localparam int unsigned {_camel(register.name)}{_camel(bits.name)} = {bits.low};")
    lines.append("")
    lines += _enumeration("cause_e", 4, {f"Cause{_camel(item.name)}": item.value for item in registers.Cause})
    return "\n".join([*lines, "endpackage", *_PACKAGE_END, ""])


def register_manual() -> str:
    """The manual page of the registers: what overlay/machine/registers.py says."""
    lines = [
        f"<!-- Generated from overlay/machine/registers.py by `{_COMMAND}`. Do not edit. -->",
        "# Registers of the overlay",
        "",
        inspect.cleandoc(registers.__doc__ or "").split("\n\n", 2)[2],
        "",
        "R: read only. RW: read and write. C: commands.",
        "",
        "| address | register | access | bits | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for register in registers.REGISTERS:
        width = 32 * register.words
        lines.append(
            f"| {register.offset:#05x} | {register.name} | {register.access.value} | {width} | {register.meaning} |"
        )
        for bits in register.bits:
            place = f"{bits.low + bits.width - 1}:{bits.low}" if bits.width > 1 else str(bits.low)
            lines.append(f"| | {register.name}.{bits.name} | | {place} | {bits.meaning} |")
    lines += [
        "",
        "Counters are cleared by a start and exact once STATUS.running is 0. While a program runs they lag by up to 32",
        "cycles, and the two words of one are not read at once: read high, low and high again.",
    ]
    return "\n".join([*lines, ""])


def board_settings(config: OverlayConfig) -> str:
    """What the Vivado scripts in hw/boards set, as variables of Tcl."""
    parameters = []
    for name, value in core_parameters(config).items():
        text = str(value) if isinstance(value, int) else f"0x{value[1]:0{value[0] // 4}x}"
        parameters.append(f"  {name} {text}")
    lines = [
        f"# Generated from overlay/machine/parameters.py by `{_COMMAND}`. Do not edit.",
        f"set name {config.name}",
        f"set part {config.part}",
        f"set clock_mhz {config.clock_mhz_assumption}",
        f"set vlnv {VLNV}",
        f"set register_bytes {registers.SPAN_BYTES}",
        "set parameters {",
        *parameters,
        "}",
        "",
    ]
    return "\n".join(lines)


def rtl_parameters(config: OverlayConfig) -> dict[str, str]:
    """Parameters of ia_core as Verilog numbers, by name; modules take those that they declare."""
    found = {}
    for name, value in core_parameters(config).items():
        bits, number = value if isinstance(value, tuple) else (32, value)
        found[name] = f"{bits}'d{number}"
    return found


def files() -> dict[str, str]:
    """All generated files by name."""
    found = {
        "ia_isa_pkg.sv": systemverilog_package(),
        "isa.md": manual(),
        "ia_registers_pkg.sv": register_package(),
        "registers.md": register_manual(),
    }
    for config in CONFIGS.values():
        data = {**config.to_dict(), "hash": config.hash, "rtl_parameters": rtl_parameters(config)}
        found[f"{config.name}.json"] = json.dumps(data, indent=2) + "\n"
        if config.part.startswith("xc"):
            found[f"{config.name}.tcl"] = board_settings(config)
    return found


def write(folder: Path) -> None:
    """Write all generated files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / name).write_text(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
