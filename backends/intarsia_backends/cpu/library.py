"""What a region's library says of itself, read from its bytes before any of it is mapped.

The sizes that a run relies on stand in the library, beside the code that was made for them: a manifest that says others
is refused, whoever wrote it. What the code does cannot be checked so; see SECURITY.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.dtypes import ELEMENT_NUMBERS, ELEMENT_TYPES

FACTS = "intarsia_region_facts"
"""Name of the array in the library: uint64, as `Facts.numbers` lists them."""

SEVERAL = 4
"""Version of the C interface from which on a region takes several images."""

_MARK = 0x5343_4146_4149  # "IAFACS" in little endian: no other array of this name is meant
_MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64"}
_LOADED, _DYNAMIC_SYMBOLS, _SHARED = 1, 11, 3
_MAPPED_LIMIT = 1 << 30
_COUNT_LIMIT = 1 << 16


class LibraryError(ValueError):
    """Bytes that are no shared library of a region."""


Tensor = tuple[str, tuple[int, ...]]
"""Element type and shape."""


@dataclass(frozen=True)
class Facts:
    """What the code of a region was made for.

    interface      version of the C interface
    arena_bytes    scratch memory that it writes
    weights_bytes  length of the file of weights
    checks         how many checks of indices it has
    images         that it takes at once; 0 in versions of the interface before SEVERAL, which take one
    images_arena_bytes
                   scratch memory of a thread that runs several images
    """

    interface: int
    arena_bytes: int
    weights_bytes: int
    checks: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    images: int = 0
    images_arena_bytes: int = 0

    @property
    def numbers(self) -> tuple[int, ...]:
        """As the library holds them; of each tensor the number of its type in ONNX, its rank, its sizes."""
        numbers = [_MARK, self.interface, self.arena_bytes, self.weights_bytes, self.checks]
        if self.interface >= SEVERAL:
            numbers += [self.images, self.images_arena_bytes]
        numbers += [len(self.inputs), len(self.outputs)]
        for dtype, shape in (*self.inputs, *self.outputs):
            numbers += [ELEMENT_NUMBERS[dtype], len(shape), *shape]
        return tuple(numbers)

    def source(self) -> str:
        """The array as C text."""
        numbers = ", ".join(f"{number}u" if number < 1 << 31 else f"{number}ull" for number in self.numbers)
        return f"__attribute__((used)) const uint64_t {FACTS}[] = {{{numbers}}};"

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Facts:
        """From what `numbers` gave. LibraryError for anything else."""
        several = 2 if len(numbers) > 1 and numbers[1] >= SEVERAL else 0
        start = 7 + several
        if len(numbers) < start or numbers[0] != _MARK:
            raise LibraryError(f"its array '{FACTS}' does not begin as intarsia writes it")
        tensors: list[Tensor] = []
        at = start
        while at + 1 < len(numbers) and numbers[at] in ELEMENT_TYPES and at + 2 + numbers[at + 1] <= len(numbers):
            following = at + 2 + numbers[at + 1]
            tensors.append((ELEMENT_TYPES[numbers[at]], tuple(numbers[at + 2 : following])))
            at = following
        inputs = numbers[start - 2]
        if at != len(numbers) or len(tensors) != inputs + numbers[start - 1]:
            raise LibraryError(f"its array '{FACTS}' does not go on as intarsia writes it")
        images, images_arena_bytes = numbers[5:7] if several else (0, 0)
        interface, arena_bytes, weights_bytes, checks = numbers[1:5]
        return cls(
            interface,
            arena_bytes,
            weights_bytes,
            checks,
            tuple(tensors[:inputs]),
            tuple(tensors[inputs:]),
            images,
            images_arena_bytes,
        )


@dataclass(frozen=True)
class _Segment:
    offset: int
    address: int
    file_bytes: int


def library_machine(code: bytes) -> str:
    """The kind of machine that a shared library is for. LibraryError for other files."""
    return _Library(code).machine


def read_facts(code: bytes) -> Facts | None:
    """What a region's library says of itself; None where it says nothing, as those of older versions.

    code  contents of an ELF shared library, 32 or 64 bits, little endian

    Raises LibraryError for anything else, and where parts that would be mapped are missing.
    """
    library = _Library(code)
    place = library.symbol(FACTS)
    if place is None:
        return None
    start, size_bytes = place
    if size_bytes % 8 or size_bytes > 8 * _COUNT_LIMIT:
        raise LibraryError(f"its array '{FACTS}' has {size_bytes} bytes")
    return Facts.of(struct.unpack(f"<{size_bytes // 8}Q", library.part(start, size_bytes)))


class _Library:
    """Headers of an ELF file, as far as they tell where things are."""

    def __init__(self, code: bytes) -> None:
        self._code = code
        if code[:4] != b"\x7fELF" or len(code) < 52 or code[4] not in (1, 2) or code[5] != 1:
            raise LibraryError("it does not begin as a shared library of Linux does")
        self._wide = code[4] == 2
        layout = "<2HI3QI6H" if self._wide else "<2H5I6H"
        fields = self._unpack(layout, 16)
        kind, machine, _, _, programs, sections, _, _, program_bytes, program_count, section_bytes, section_count, _ = (
            fields
        )
        if kind != _SHARED or machine not in _MACHINES:
            raise LibraryError(f"it is of kind {kind} for machine number {machine}, no shared library that is known")
        self.machine = _MACHINES[machine]
        if (program_bytes, section_bytes) != ((56, 64) if self._wide else (32, 40)):
            raise LibraryError("its headers have sizes of their own")
        self._segments = [self._segment(programs + index * program_bytes) for index in range(program_count)]
        self._sections = [sections + index * section_bytes for index in range(section_count)]

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack(layout, self.part(offset, struct.calcsize(layout)))

    def part(self, offset: int, size_bytes: int) -> bytes:
        """Bytes of the file. LibraryError where it ends before."""
        if offset + size_bytes > len(self._code):
            raise LibraryError(f"it ends at byte {len(self._code)}, and its headers name byte {offset + size_bytes}")
        return self._code[offset : offset + size_bytes]

    def _segment(self, header: int) -> _Segment:
        if self._wide:
            kind, _, offset, address, _, file_bytes, memory_bytes, _ = self._unpack("<2I6Q", header)
        else:
            kind, offset, address, _, file_bytes, memory_bytes, _, _ = self._unpack("<8I", header)
        if kind != _LOADED:
            return _Segment(0, 0, 0)
        # What is mapped past the end of a file ends the process when it is touched.
        if offset + file_bytes > len(self._code):
            raise LibraryError(
                f"it ends at byte {len(self._code)}, and {file_bytes} from byte {offset} are to be mapped"
            )
        if not file_bytes <= memory_bytes <= _MAPPED_LIMIT or address > _MAPPED_LIMIT:
            raise LibraryError(f"{memory_bytes} bytes at {address:#x} are to be mapped, of {file_bytes} in the file")
        return _Segment(offset, address, file_bytes)

    def symbol(self, name: str) -> tuple[int, int] | None:
        """(offset in the file, bytes) of what a name stands for; None where it stands for nothing."""
        for header in self._sections:
            kind, offset, size_bytes, link = self._section(header)
            if kind != _DYNAMIC_SYMBOLS or link >= len(self._sections):
                continue
            _, names, names_bytes, _ = self._section(self._sections[link])
            texts = self.part(names, names_bytes)
            entry_bytes = 24 if self._wide else 16
            for entry in range(offset, offset + size_bytes - entry_bytes + 1, entry_bytes):
                if self._wide:
                    text, _, _, _, value, length = self._unpack("<I2BH2Q", entry)
                else:
                    text, value, length, _, _, _ = self._unpack("<3I2BH", entry)
                if texts[text : text + len(name) + 1] == name.encode("ascii") + b"\0":
                    return self._place(value, length), length
        return None

    def _section(self, header: int) -> tuple[int, int, int, int]:
        """(kind, offset, bytes, section that it refers to)."""
        if self._wide:
            _, kind, _, _, offset, size_bytes, link, _, _, _ = self._unpack("<2I4Q2I2Q", header)
        else:
            _, kind, _, _, offset, size_bytes, link, _, _, _ = self._unpack("<10I", header)
        return kind, offset, size_bytes, link

    def _place(self, address: int, size_bytes: int) -> int:
        for segment in self._segments:
            if segment.address <= address and address + size_bytes <= segment.address + segment.file_bytes:
                return segment.offset + address - segment.address
        raise LibraryError(f"its array '{FACTS}' lies outside of the file")
