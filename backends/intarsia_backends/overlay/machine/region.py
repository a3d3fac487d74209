"""A region for the overlay as its engines read it: the simulator, the Verilated core and the board share this.

NumPy and the standard library only: it runs on boards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import RegionFiles
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.disassembler import word_text
from intarsia_backends.overlay.machine.isa import WORD_BYTES, EncodingError, Run, Segment, decode
from intarsia_backends.overlay.machine.layout import TensorLayout, pack_all, unpack_all

KIND = "overlay"
PROGRAM, CONSTANTS = "program.bin", "constants.bin"
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
    try:
        config = OverlayConfig.from_dict(facts["config_data"])
        inputs = [TensorLayout.from_dict(item) for item in facts["inputs"]]
        outputs = [TensorLayout.from_dict(item) for item in facts["outputs"]]
        segments = {Segment[name.upper()]: int(size) for name, size in facts["segments"].items()}
        for segment in (Segment.ARENA, Segment.INPUTS, Segment.OUTPUTS):
            segments[segment] = segments[segment]  # a KeyError names what is missing
        program, constants = region.files[PROGRAM], region.files[CONSTANTS]
    except KeyError as error:
        raise RunError(where=where, what=f"it lacks {error}", help=AGAIN) from None
    except (AttributeError, TypeError, ValueError) as error:
        raise RunError(where=where, what=f"its description cannot be read: {error}", help=AGAIN) from None
    if config.hash != facts.get("config_hash"):
        made_for = f"overlay '{config.name}' {facts.get('config_hash')}"
        raise RunError(where=where, what=f"it was compiled for {made_for}, here that is {config.hash}", help=AGAIN)
    for declared, layouts in ((region.inputs, inputs), (region.outputs, outputs)):
        wanted = [(name, dtype, tuple(shape)) for name, dtype, shape in declared]
        found = [(layout.name, layout.dtype, layout.shape) for layout in layouts]
        if wanted != found:
            raise RunError(where=where, what=f"it takes {found}, its description says {wanted}", help=AGAIN)
    constants += bytes(-len(constants) % WORD_BYTES)
    segments[Segment.CONSTANTS] = len(constants)
    tags = [str(name) for name in facts.get("tags", ())]
    return OverlayRegion(region.name, config, program, constants, segments, inputs, outputs, tags, region.layers)
