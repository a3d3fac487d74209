"""How much a model may ask for before it is refused. A file of a few bytes can ask for any amount of memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What an untrusted model may take.

    file_bytes      of the model file, and of each file of external data
    tensor_bytes    of any one tensor, stored or computed
    nodes           after model-local functions are inlined, subgraphs included
    function_depth  of functions that call functions
    """

    file_bytes: int = 4 << 30
    tensor_bytes: int = 2 << 30
    nodes: int = 200_000
    function_depth: int = 32
