"""A region for the overlay as its engines read it: the simulator, the Verilated core and the board share this.

NumPy and the standard library only: it runs on boards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any

from intarsia.artifact.schema import Entry
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import RegionFiles
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.disassembler import word_text
from intarsia_backends.overlay.machine.isa import WORD_BYTES, EncodingError, Run, Segment, decode
from intarsia_backends.overlay.machine.layout import TensorLayout, pack_all, unpack_all

KIND = "overlay"
PROGRAM, CONSTANTS = "program.bin", "constants.bin"

SEGMENT_LIMIT = 1 << 32
"""Bytes that a program reaches in a segment: offsets have 28 bits and count words."""

SIDE_LIMIT = 1 << 20
AGAIN = "compile the model again with the version of intarsia that is installed here"


@dataclass(frozen=True)
class OverlayRegion:
    """What `compile_region` wrote, checked.

    config     the overlay that it was compiled for
    program    words of 16 bytes
    constants  contents of the segment CONSTANTS, padded to whole words
    segments   bytes of every segment, CONSTANTS included
    inputs     where each input stands in the segment INPUTS
    outputs    the same in OUTPUTS
    tags       layer name of each tag
    layers     one report row a tag
    """

    name: str
    config: OverlayConfig
    program: bytes
    constants: bytes
    segments: Mapping[Segment, int]
    inputs: Sequence[TensorLayout]
    outputs: Sequence[TensorLayout]
    tags: Sequence[str]
    layers: Sequence[Mapping[str, Any]]

    @property
    def where(self) -> str:
        """How an error names the region."""
        return f"region '{self.name}'"

    @property
    def words(self) -> int:
        """Words of the program, End included."""
        return len(self.program) // WORD_BYTES

    def word(self, index: int) -> str:
        """A word of the program for people: number, disassembly, layer."""
        if not 0 <= index < self.words:
            return f"program word {index}, behind the end"
        data = self.program[index * WORD_BYTES : (index + 1) * WORD_BYTES]
        try:
            word = decode(data)
        except EncodingError:
            return f"program word {index}, {data[::-1].hex()}"
        tag = word.tag if isinstance(word, Run) else len(self.tags)
        layer = f" of layer '{self.tags[tag]}'" if tag < len(self.tags) else ""
        return f"program word {index}, {word_text(word)}{layer}"

    def pack(self, arrays: Sequence[Array]) -> Array:
        """The inputs as they stand in DRAM: uint8 [segments[INPUTS]]."""
        return pack_all(arrays, self.inputs, self.segments[Segment.INPUTS])

    def unpack(self, segment: Array) -> list[Array]:
        """The outputs out of the bytes of the segment OUTPUTS, uint8; fresh arrays."""
        return unpack_all(segment, self.outputs)


def read_region(region: RegionFiles) -> OverlayRegion:
    """Read and check a region's description. RunError where it is damaged, or was made for another overlay."""
    where, facts = f"region '{region.name}'", region.metadata
    for name in (PROGRAM, CONSTANTS):
        if name not in region.files:
            raise RunError(where=where, what=f"it lacks '{name}'", help=AGAIN)
    entry = Entry(facts, f"{where}, metadata in manifest.json")
    config = _config(entry)
    if config.hash != facts.get("config_hash"):
        made_for = f"overlay '{config.name}' {str(facts.get('config_hash'))[:40]}"
        what = f"it was compiled for {made_for} ('config_hash' in manifest.json), here that is {config.hash}"
        raise RunError(where=where, what=what, help=AGAIN)
    segments = _segments(entry.entry("segments"))
    program, constants = region.files[PROGRAM], region.files[CONSTANTS]
    if len(constants) != segments[Segment.CONSTANTS]:
        entry.refuse(
            f"segments: 'constants' is {segments[Segment.CONSTANTS]}, '{CONSTANTS}' has {len(constants)} bytes"
        )
    inputs, outputs = entry.each("inputs", _layout), entry.each("outputs", _layout)
    for declared, layouts in ((region.inputs, inputs), (region.outputs, outputs)):
        wanted = [(name, dtype, tuple(shape)) for name, dtype, shape in declared]
        found = [(layout.name, layout.dtype, layout.shape) for layout in layouts]
        if wanted != found:
            which = "inputs" if declared is region.inputs else "outputs"
            what = (
                f"'{which}' of its metadata in manifest.json are {str(found)[:200]}, the region's {str(wanted)[:200]}"
            )
            raise RunError(where=where, what=what, help=AGAIN)
    _check_places(inputs, outputs, segments, entry)
    tags = entry.texts("tags") if "tags" in facts else ()
    for index, row in enumerate(region.layers):  # figures of runs are added to them
        layer = Entry(row, f"{where}, layers[{index}] in manifest.json")
        layer.text("name")
        if "macs" in row:
            layer.whole("macs", 0, 1 << 63)
    constants += bytes(-len(constants) % WORD_BYTES)
    segments[Segment.CONSTANTS] = len(constants)
    return OverlayRegion(region.name, config, program, constants, segments, inputs, outputs, tags, region.layers)


def _config(entry: Entry) -> OverlayConfig:
    data = entry.entry("config_data")
    names = {item.name for item in fields(OverlayConfig)}
    values = {name: data.take(name) for name in sorted(names)}
    data.done()
    config = OverlayConfig.from_dict(values)
    fault = config.fault()
    if fault is not None:
        data.refuse(fault)
    return config


def _segments(entry: Entry) -> dict[Segment, int]:
    segments = {}
    for segment in Segment:
        size_bytes = entry.whole(segment.name.lower(), 0, SEGMENT_LIMIT)
        if size_bytes % WORD_BYTES and segment != Segment.CONSTANTS:
            entry.refuse(f"'{segment.name.lower()}' is {size_bytes}, no whole number of words")
        segments[segment] = size_bytes
    entry.done()
    return segments


def _layout(data: Any, where: str) -> TensorLayout:
    entry = Entry(data, where)
    shape = entry.sequence("shape")
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 < size < SEGMENT_LIMIT for size in shape):
        entry.refuse(f"'shape' is {str(shape)[:80]}, not a list of sizes")
    layout = TensorLayout(
        name=entry.text("name"),
        form=entry.choice("form", ("blocks", "pixels")),
        shape=tuple(shape),
        channels=entry.whole("channels", 1, SIDE_LIMIT),
        height=entry.whole("height", 1, SIDE_LIMIT),
        width=entry.whole("width", 1, SIDE_LIMIT),
        channels_last=entry.flag("channels_last"),
        offset=entry.whole("offset", 0, SEGMENT_LIMIT),
        dtype=entry.choice("dtype", ("int8", "uint8")),
    )
    entry.done()
    sides = f"'channels', 'height' and 'width' are {layout.channels}, {layout.height}, {layout.width}"
    if layout.channels * layout.height * layout.width != prod(layout.shape):
        entry.refuse(f"{sides}, and 'shape' is {list(layout.shape)}")
    if layout.channels_last and layout.shape[-1:] != (layout.channels,):
        entry.refuse(f"{sides}, and the last of 'shape' {list(layout.shape)} are to be the channels")
    if layout.offset % WORD_BYTES:
        entry.refuse(f"'offset' is {layout.offset}, no multiple of {WORD_BYTES}")
    return layout


def _check_places(
    inputs: Sequence[TensorLayout], outputs: Sequence[TensorLayout], segments: Mapping[Segment, int], entry: Entry
) -> None:
    """Inputs fill their segment, one after the other; outputs lie inside of theirs, where they may share places."""
    end = 0
    for index, layout in enumerate(inputs):
        if layout.offset != end:
            entry.refuse(f"inputs[{index}]: 'offset' is {layout.offset}, the input before ends at {end}")
        end += layout.size_bytes
    if end != segments[Segment.INPUTS]:
        entry.refuse(f"segments: 'inputs' is {segments[Segment.INPUTS]}, the inputs have {end} bytes")
    for index, layout in enumerate(outputs):
        if layout.offset + layout.size_bytes > segments[Segment.OUTPUTS]:
            entry.refuse(
                f"outputs[{index}]: 'offset' {layout.offset} and {layout.size_bytes} bytes leave the "
                f"{segments[Segment.OUTPUTS]} of the segment 'outputs'"
            )
