"""One program on the NumPy machine and on the Verilated core: every byte that it leaves in DRAM must be the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.disassembler import disassemble
from intarsia_backends.overlay.machine.isa import Segment
from intarsia_backends.overlay.machine.region import OverlayRegion
from intarsia_backends.rtl.core import Core, Image
from intarsia_backends.simulator.machine import Machine, load_program

KEPT = (Segment.ARENA, Segment.INPUTS, Segment.OUTPUTS)


@dataclass(frozen=True)
class Memory:
    """How DRAM behaves in a case; fields as in attachments.DramOptions."""

    bytes_per_cycle: float
    latency_cycles: int
    jitter_cycles: int = 0
    stall: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class Case:
    """A program with its data.

    inputs       uint8, contents of the segment INPUTS
    shift_words  words by which everything in DRAM lies behind a page boundary
    text         what it was made from, for people
    """

    config: OverlayConfig
    program: bytes
    constants: bytes
    segments: Mapping[Segment, int]
    inputs: Array
    memory: Memory
    shift_words: int = 0
    text: str = field(default="", compare=False)

    @property
    def region(self) -> OverlayRegion:
        sizes = {**self.segments, Segment.CONSTANTS: len(self.constants)}
        return OverlayRegion("case", self.config, self.program, self.constants, sizes, [], [], [], [])


def random_memory(random: np.random.Generator) -> Memory:
    """The board's DRAM, a fast one, a slow one, or one that stalls at random."""
    seed = int(random.integers(1, 1 << 31))
    kind = int(random.integers(4))
    if kind == 0:
        return Memory(10.4, 50, seed=seed)
    if kind == 1:
        return Memory(0.0, int(random.integers(1, 6)), seed=seed)
    if kind == 2:
        return Memory(float(random.uniform(0.5, 6)), int(random.integers(1, 300)), int(random.integers(100)), seed=seed)
    stall = float(random.uniform(0.05, 0.9))
    return Memory(float(random.choice([0.0, 10.4])), int(random.integers(1, 80)), int(random.integers(60)), stall, seed)


def expected(case: Case) -> dict[Segment, Array]:
    """What the NumPy machine leaves in DRAM: uint8 by segment. RunError where the program is not valid."""
    machine = Machine(load_program(case.program, case.config, case.constants, case.segments))
    machine.state.act[...] = _before(case).view(np.int8)
    machine.run(case.inputs)
    return {segment: machine.state.dram[segment].reshape(-1).view(np.uint8).copy() for segment in KEPT}


def _before(case: Case) -> Array:
    """What activation memory holds at the start: lanes that stand for no channel may show in the outputs."""
    return np.random.default_rng(case.memory.seed).integers(0, 256, (case.config.activation_words, 16), np.uint8)


def found_on(core: Core, case: Case, limit_cycles: int = 3_000_000) -> tuple[dict[Segment, Array], int]:
    """What the core leaves in DRAM, and its cycles. RunError where it fails."""
    core.memory.configure(**asdict(case.memory))
    image = Image(case.region, case.shift_words)
    image.segments[Segment.INPUTS][:] = case.inputs
    constants, program = image.segments[Segment.CONSTANTS].copy(), image.program.copy()
    image.attach(core.memory)
    core.fill_activations(_before(case))
    figures = core.run(image.job, limit_cycles)
    assert np.array_equal(constants, image.segments[Segment.CONSTANTS]), "the constants were overwritten"
    assert np.array_equal(program, image.program), "the program was overwritten"
    return {segment: image.segments[segment] for segment in KEPT}, figures.cycles


def difference(core: Core, case: Case) -> tuple[str, int]:
    """ "" where all bytes agree, else what differs; and the core's cycles, 0 where it failed."""
    wanted = expected(case)
    try:
        found, cycles = found_on(core, case)
    except (RunError, AssertionError) as error:
        return str(error), 0
    lines = []
    for segment in KEPT:
        places = np.flatnonzero(wanted[segment] != found[segment])
        if len(places):
            at = int(places[0])
            size, place = wanted[segment].size, f"{at} (word {at // 16}, lane {at % 16})"
            values = f"{found[segment][at]} instead of {wanted[segment][at]}"
            lines.append(f"{segment.name}: {len(places)} of {size} bytes differ, the first at {place}: {values}")
    return "\n".join(lines), cycles


def save(case: Case, folder: Path, what: str) -> None:
    """Everything that `load` needs to run the case again, and what people want to see."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.bin").write_bytes(case.program)
    (folder / "constants.bin").write_bytes(case.constants)
    (folder / "inputs.bin").write_bytes(case.inputs.tobytes())
    facts = {
        "config": case.config.to_dict(),
        "segments": {segment.name: size for segment, size in case.segments.items()},
        "memory": asdict(case.memory),
        "shift_words": case.shift_words,
    }
    (folder / "case.json").write_text(json.dumps(facts, indent=2) + "\n")
    (folder / "difference.txt").write_text(what + "\n")
    (folder / "graph.txt").write_text(case.text + "\n")
    (folder / "program.txt").write_text(disassemble(case.program, case.config, []))


def load(folder: Path) -> Case:
    """The case that `save` wrote."""
    facts: dict[str, Any] = json.loads((folder / "case.json").read_text())
    return Case(
        OverlayConfig.from_dict(facts["config"]),
        (folder / "program.bin").read_bytes(),
        (folder / "constants.bin").read_bytes(),
        {Segment[name]: size for name, size in facts["segments"].items()},
        np.frombuffer((folder / "inputs.bin").read_bytes(), np.uint8),
        Memory(**facts["memory"]),
        facts["shift_words"],
        (folder / "graph.txt").read_text(),
    )
