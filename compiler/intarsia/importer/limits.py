"""How much a model may ask for before it is refused. A file of a few bytes can ask for any amount of memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What an untrusted model may take.

    file_bytes      of the model file, and of each file of external data
    tensor_bytes    of any one tensor, stored or computed
    nodes           after model-local functions are inlined, subgraphs included
    function_nodes  that stand in the model for calls of model-local functions, which call functions in turn
    function_depth  of functions that call functions
    fold_elements   by how much constants that are computed may be larger than what they are made of
    fold_work       multiply-adds, or what takes as long, for computing constants, all together
    fold_bytes      that one node may hold while it is computed
    vector_work     multiply-adds, or what takes as long, for evaluating the model for test vectors
    vector_bytes    that one node may hold meanwhile

    What passes a limit of the importer is refused. What passes one for constants is computed at run time, and without
    test vectors an artifact has none: notes say so. A model that brings many constants may have more for folding them.
    """

    file_bytes: int = 4 << 30
    tensor_bytes: int = 2 << 30
    nodes: int = 200_000
    function_nodes: int = 30_000
    function_depth: int = 32
    fold_elements: int = 1 << 24
    fold_work: int = 1 << 33
    fold_bytes: int = 1 << 28
    vector_work: int = 1 << 37
    vector_bytes: int = 1 << 30
