"""The instructions of kernels, as `nvdisasm` prints them: how many there are of each kind, and in the hottest loop."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from intarsia.errors import CompileError
from intarsia_backends.cuda.toolchain.compiler import file_name, workplace

_FUNCTION = re.compile(r"^\.text\.(\S+):$")
_LABEL = re.compile(r"^(\.L_x_\d+):$")
_INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*)$")
_TARGET = re.compile(r"`\((\.L_x_\d+)\)")
_SHAPE = re.compile(r"\.(\d{3,6})(?:\.|$)")

TENSOR = ("IMMA", "HMMA", "DMMA", "QMMA", "OMMA", "IGMMA", "HGMMA", "QGMMA")
"""What tensor cores do."""

_MOVES = ("IMAD.MOV", "IMAD.SHL", "IMAD.IADD", "IMAD.U32")
_ZEROS = "-RZ, RZ"
"""Moves are spelled as multiplications, for multipliers often have time: HFMA2 is one where it takes zeros."""

_OPERATIONS = {"IDP": 8, "FFMA2": 4, "HFMA2": 4, "FFMA": 2, "IMAD": 2, "DFMA": 2, "FADD": 1, "FMUL": 1, "MUFU": 1}
"""Multiplications and additions of one thread, where they are what a kernel is for."""

_SHAPES = {"884": 8 * 8 * 4, "8816": 8 * 8 * 16, "8832": 8 * 8 * 32, "1684": 16 * 8 * 4, "1688": 16 * 8 * 8}
_SHAPES |= {"16816": 16 * 8 * 16, "16832": 16 * 8 * 32, "16864": 16 * 8 * 64}
_WARP = 32


@dataclass(frozen=True)
class Code:
    """Instructions by kind, the first part of their names: "IMMA", "LDG".

    all   of the kernel
    hot   of that innermost loop which computes most; of the whole kernel where more is computed outside of loops, as
          where the compiler unrolled them
    """

    all: Mapping[str, int]
    hot: Mapping[str, int]

    @property
    def loops(self) -> bool:
        """Whether the hot part is a loop."""
        return self.hot != self.all

    @property
    def tensor(self) -> int:
        """Instructions for tensor cores."""
        return sum(self.all.get(kind, 0) for kind in TENSOR)

    @property
    def spill_share(self) -> float:
        """Of the hot part's instructions, those that move registers to memory of the thread's own, or back."""
        return sum(self.hot.get(kind, 0) for kind in ("LDL", "STL")) / max(1, sum(self.hot.values()))


class Codes:
    """Instructions of the kernels of several files of machine code, each disassembled when it is asked about.

    program  path of nvdisasm; None where there is none
    trouble  why nothing is known: for the user; "" where something is, or nobody asked yet
    """

    def __init__(self, program: str | None, files: Mapping[str, bytes]) -> None:
        self.program, self.files = program, files
        self.trouble = "" if program else "there is no nvdisasm"
        self._found: dict[str, Mapping[str, Code]] = {}

    def of(self, name: str) -> Mapping[str, Code]:
        """By name of a kernel, its instructions in the machine code for "sm_86". {} where nothing is known."""
        if name not in self._found:
            self._found[name] = self._read(name)
        return self._found[name]

    def _read(self, name: str) -> Mapping[str, Code]:
        if self.program is None:
            return {}
        try:
            return disassemble(self.program, self.files[file_name(name)])
        except CompileError as error:  # such as one that is older than the compiler
            self.trouble = error.what
            return {}


def disassemble(program: str, cubin: bytes) -> dict[str, Code]:
    """By name of a kernel, its instructions. CompileError where nvdisasm, at the path `program`, does not read them."""
    with workplace() as place:
        path = place / "kernels.cubin"
        path.write_bytes(cubin)
        done = subprocess.run([program, "-c", str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompileError(
            where="nvdisasm",
            what=f"{program} does not read machine code: {done.stderr.strip()[:200]}",
            help="install one that is as new as the compiler",
        )
    return read_sass(done.stdout)


def read_sass(text: str) -> dict[str, Code]:
    """By name of a function, its instructions."""
    return {name: _code(lines) for name, lines in _functions(text)}


@dataclass(frozen=True)
class _Instruction:
    address: int
    name: str
    operands: str

    @property
    def kind(self) -> str:
        """The first part of the name, but "MOV" for a multiplication that only moves."""
        if self.name.startswith(_MOVES) or (self.name.startswith("HFMA2") and _ZEROS in self.operands):
            return "MOV"
        return self.name.partition(".")[0]


def _functions(text: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", list[str]()
    for line in text.splitlines():
        if found := _FUNCTION.match(line):
            if name:
                yield name, lines
            name, lines = found[1], []
        else:
            lines.append(line)
    if name:
        yield name, lines


def _code(lines: Sequence[str]) -> Code:
    instructions: list[_Instruction] = []
    labels: dict[str, int] = {}
    waiting: list[str] = []
    for line in lines:
        if found := _LABEL.match(line):
            waiting.append(found[1])
        elif found := _INSTRUCTION.match(line):
            address = int(found[1], 16)
            labels.update(dict.fromkeys(waiting, address))
            waiting.clear()
            instructions.append(_Instruction(address, found[2], found[3]))
    spans = _loops(instructions, labels)
    within = [[each for each in instructions if first <= each.address <= last] for first, last in _innermost(spans)]
    outside = [each for each in instructions if not any(first <= each.address <= last for first, last in spans)]
    hottest = max(within, key=_operations, default=[])
    loops = _TURNS * _operations(hottest) >= max(1, _operations(outside))
    return Code(_counted(instructions), _counted(hottest if loops else instructions))


_TURNS = 2
"""Of a loop, at least."""


def _loops(instructions: Sequence[_Instruction], labels: Mapping[str, int]) -> set[tuple[int, int]]:
    """Addresses of what branches backwards lead to, and of these branches."""
    spans = set()
    for each in instructions:
        target = _TARGET.search(each.operands) if each.name.startswith("BRA") else None
        if target and labels.get(target[1], each.address) < each.address:
            spans.add((labels[target[1]], each.address))
    return spans


def _innermost(spans: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """The loops that no other lies within."""
    return [
        (first, last)
        for first, last in sorted(spans)
        if not any((first, last) != other and first <= other[0] and other[1] <= last for other in spans)
    ]


def _counted(instructions: Sequence[_Instruction]) -> dict[str, int]:
    return dict(sorted(Counter(each.kind for each in instructions).items()))


def _operations(instructions: Sequence[_Instruction]) -> int:
    return sum(map(_operations_of, instructions))


def _operations_of(instruction: _Instruction) -> int:
    kind = instruction.kind
    if kind in TENSOR:
        shape = _SHAPE.search(instruction.name)
        return 2 * _SHAPES.get(shape[1] if shape else "", _SHAPES["16816"]) // _WARP
    return _OPERATIONS.get(kind, 0)
