"""Programs as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa import (
    SEMAPHORES,
    End,
    Instruction,
    Memory,
    Run,
    Segment,
    VecOperation,
    decode_program,
)


def disassemble(program: bytes, config: OverlayConfig, tags: Sequence[str] = ()) -> str:
    """One line a word: number, queue, name, and the fields that are not as usual; run words name their layer.

    tags  layer names by tag, as Blob.metadata has them

    Raises EncodingError, naming the word, for bytes that are no program.
    """
    lines = [f"; overlay {config.name}, configuration {config.hash}"]
    for number, word in enumerate(decode_program(program)):
        lines.append(f"{number:5d}  {word.queue.name:<5s} {word_text(word)}{_layer(word, tags)}")
    return "\n".join(lines) + "\n"


_NAMES: Mapping[str, type[IntEnum]] = {"segment": Segment, "memory": Memory, "operation": VecOperation}


def word_text(word: Instruction) -> str:
    """One word: its name, the semaphores it waits for and signals, and the fields that are not as usual."""
    parts, usual = [type(word).__name__], type(word)()
    for name, _, _ in word.layout():
        value = getattr(word, name)
        if name in ("wait", "signal"):
            if value:
                parts.append(f"{name}={','.join(str(bit) for bit in range(SEMAPHORES) if value >> bit & 1)}")
        elif name in _NAMES and value in tuple(_NAMES[name]):
            parts.append(f"{name}={_NAMES[name](value).name.lower()}")
        elif value != getattr(usual, name) and name != "tag":
            parts.append(f"{name}={value}")
    return " ".join(parts)


def _layer(word: Instruction, tags: Sequence[str]) -> str:
    if not isinstance(word, Run) or isinstance(word, End):
        return ""
    return f"  ; {tags[word.tag]}" if word.tag < len(tags) else f"  ; tag {word.tag}"
