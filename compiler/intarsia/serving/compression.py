"""Bodies over HTTP that are compressed, with an end to what comes of them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

from intarsia.serving.refusal import Outcome, Refusal, invalid, quoted
from intarsia.serving.tensors import Data

ENCODINGS = ("gzip", "deflate")

_WINDOW = {"gzip": 31, "deflate": 15}
"""Of zlib: with 16 more its own head and end are those of gzip."""

_LEAST_BYTES = 1024
"""Of an answer that is worth it."""

_LEVEL = 1

_NEVER = re.compile(r";q=0(\.0*)?$")


def encoding_of(value: bytes) -> str:
    """How a header says that a body is compressed, "" for not at all; a Refusal for what is not taken."""
    name = value.decode("latin-1").strip().lower()
    name = {"identity": "", "x-gzip": "gzip"}.get(name, name)
    if name and name not in ENCODINGS:
        raise Refusal(
            Outcome.ENCODED, f"bodies are taken as they are, or as {' or '.join(ENCODINGS)}, not {quoted(name)}"
        )
    return name


def decompressed(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """What a body says; a Refusal where it is damaged or longer than so many bytes."""
    unpacker = zlib.decompressobj(_WINDOW[encoding])
    try:
        text = unpacker.decompress(body, most_bytes + 1)
    except zlib.error:
        raise invalid(f"the body is no {encoding}") from None
    if len(text) > most_bytes:
        raise Refusal(Outcome.TOO_LARGE, f"what the body holds is larger than {most_bytes} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise invalid(f"the body is {encoding} that does not end where the body does")
    return text


def wished(value: bytes) -> str:
    """The encoding of an answer that the header Accept-Encoding asks for; "" for none."""
    asked = {part.replace(" ", "") for part in value.decode("latin-1").lower().split(",")}
    names = {part.partition(";")[0] for part in asked if not _NEVER.search(part)}
    return next((name for name in ENCODINGS if name in names), "")


def compressed(parts: Sequence[Data], encoding: str) -> bytes | None:
    """The parts of an answer in one; None where that is not worth it."""
    if sum(map(len, parts)) < _LEAST_BYTES:
        return None
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[encoding])
    return b"".join([*map(packer.compress, parts), packer.flush()])
