"""How a language of GPU kernels spells what all of them have: OpenCL C and CUDA C++ differ in words alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MULTIPLY_ADD = "MULTIPLY_ADD"
"""What a dialect's preamble defines for sums of products: fused where that is quick, else as it likes."""


@dataclass(frozen=True)
class Dialect:
    """The words of a language.

    preamble      text before all kernels; it defines MULTIPLY_ADD(a, b, c) for float32
    types         by element type, its name
    kernel        what stands before a kernel's name, given the threads of a block along x, y, z
    pointer       a parameter that points into memory: given its type's name, whether it is only read, and its name
    shared        what stands before an array that the threads of a block share
    barrier       the statement that lets the threads of a block wait for each other
    block_index, thread_index
                  by axis "x", "y", "z"
    reinterpret   by element types (from, to) of one size, the function that keeps the bits
    functions     by name and element type, where a function of `terms.FUNCTIONS` is spelled in another way
    long_suffix   what ends a constant of 64 bits
    extensions    by element type, what a device must offer beside the language itself
    load_half, store_half
                  of a language that converts float16 where it is read or written alone: the float32 of an element,
                  given the memory ("global", "shared" or "own"), an array and an index; and the statement that stores
                  one, given its value too. None where `functions` spell `HALF_TO_FLOAT` and `FLOAT_TO_HALF`
    """

    preamble: str
    types: Mapping[str, str]
    kernel: Callable[[tuple[int, int, int]], str]
    pointer: Callable[[str, bool, str], str]
    shared: str
    barrier: str
    block_index: Mapping[str, str]
    thread_index: Mapping[str, str]
    reinterpret: Mapping[tuple[str, str], str]
    functions: Mapping[tuple[str, str], str]
    long_suffix: str
    extensions: Mapping[str, str]
    load_half: Callable[[str, str, str], str] | None = None
    store_half: Callable[[str, str, str, str], str] | None = None
