"""What kind of processor this is: the words by which compiled code and machines are matched. Standard library only."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

_SPELLINGS = {"amd64": "x86_64", "arm64": "aarch64", "armv7": "armv7l", "armv8l": "armv7l"}

_AVX2 = ("avx2", "f16c", "fma", "sse4_1")
_AVX512 = ("avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "f16c", "fma", "sse4_1")

_LEVELS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "x86_64": (
        ("avx512vnni", (*_AVX512, "avx512_vnni")),
        ("avx512", _AVX512),
        ("avxvnni", (*_AVX2, "avx_vnni")),
        ("avx2", _AVX2),
        ("baseline", ()),
    ),
    "aarch64": (("baseline", ()),),
    "armv7l": (("neon", ("neon",)), ("baseline", ())),
}
"""Per machine, levels of instructions from the best down: the features that code of the level needs."""

_LANES = {"avx512vnni": 16, "avx512": 16, "avxvnni": 8, "avx2": 8, "baseline": 4, "neon": 4}
_REGISTERS = {"avx512vnni": 32, "avx512": 32, "avxvnni": 16, "avx2": 16, "neon": 16}


@dataclass(frozen=True)
class Machine:
    """A kind of processor that code is made for.

    name      as `platform.machine()` says it: "x86_64", "aarch64", "armv7l"
    level     set of instructions: "avx512vnni", "avx512", "avxvnni", "avx2", "neon" or "baseline"
    features  what the level needs, in the spelling of /proc/cpuinfo
    strict    keep float32 convolutions to plain sums, whose errors are some ten times smaller than Winograd's
    """

    name: str
    level: str
    features: tuple[str, ...]
    strict: bool = False

    @property
    def lanes(self) -> int:
        """float32 numbers in a vector register."""
        return _LANES[self.level]

    def whole_vectors(self, channels: int) -> int:
        """The channels, rounded up to what fills vectors of float32."""
        return -(-channels // self.lanes) * self.lanes

    @property
    def registers(self) -> int:
        """Vector registers."""
        return _REGISTERS.get(self.level, 32 if self.name == "aarch64" else 16)

    @property
    def adds_products(self) -> bool:
        """Whether one instruction multiplies integers and adds the products to a sum (VNNI): pairs of int16, or four
        uint8 by as many int8."""
        return "avx512_vnni" in self.features or "avx_vnni" in self.features

    @property
    def wide_products(self) -> str:
        """Numbers in which products of 53 bits are made exactly; there are vectors of them."""
        return "float64"

    @property
    def fuses_multiply_add(self) -> bool:
        """Whether float32 products are added to a sum without being rounded before."""
        return "fma" in self.features or self.name == "aarch64"


def machine_name() -> str:
    """The processor family of this machine, in one spelling."""
    name = platform.machine().lower()
    return _SPELLINGS.get(name, name)


def machine_features() -> frozenset[str]:
    """Instruction set extensions of this machine as /proc/cpuinfo lists them; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, words = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(words.split())
    return frozenset()


def this_machine(*, portable: bool = False) -> Machine:
    """The best level that this machine has; `portable` for the level that every machine of the family has."""
    name, present = machine_name(), machine_features()
    levels = _LEVELS.get(name, (("baseline", ()),))
    for level, features in levels:
        if (not portable or not features) and present.issuperset(features):
            return Machine(name, level, features)
    raise AssertionError("every family has a level without needs")


def machine_of(name: str, level: str) -> Machine:
    """A kind of processor by family and level, whatever this machine is."""
    return Machine(name, level, dict(_LEVELS[name])[level])
