"""What kernels issue, as far as their descriptions and their launches tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from intarsia_backends.gpu.kernels import Attention, Narrowed
from intarsia_backends.gpu.launches import KernelFacts, Parameter
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Apply, Cast, Expression, Gather, Input
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest, Recurrent

if TYPE_CHECKING:
    from intarsia_backends.gpu.source.kernels import KernelSource


@dataclass(frozen=True)
class Work:
    """What one launch of a kernel comes to.

    operations  multiplications and additions that it issues, of products that are added up
    dtype       of what is multiplied: "float32", "float16" or "int8"
    size_bytes  of the elements that it reads and writes, each once: what it reads again, a cache has
    brought_bytes
                what its blocks bring to shared memory, each for itself, where that is how they share it; else 0
    """

    operations: int
    dtype: str
    size_bytes: int
    brought_bytes: int = 0


def work_of(kernel: Kernel, source: KernelSource) -> Work:
    """The work of a kernel, by its description and what became of it."""
    facts, inner = source.facts, kernel.kernel if isinstance(kernel, Narrowed) else kernel
    size_bytes = _touched(inner, facts)
    match inner:
        case Nest() if factors := _factors(inner):
            products = source.work.issued if source.work else math.prod(inner.kept) * math.prod(inner.reduced)
            dtype = _multiplied({inner.operands[factor].dtype for factor in factors}, source.work is not None)
            return Work(2 * products, dtype, size_bytes, source.work.brought_bytes if source.work else 0)
        case Attention():
            rows, keys = (-(-size // tile) * tile for size, tile in inner.tiled)
            products = math.prod(inner.batch) * rows * keys * (inner.depth + inner.columns)
            return Work(2 * products, "float32", size_bytes)
        case Recurrent():
            products = inner.steps * inner.batch * inner.hidden * inner.hidden * inner.gates
            return Work(2 * products, "float32", size_bytes)
    return Work(0, "float32", size_bytes)


def _multiplied(stored: set[str], staged: bool) -> str:
    """The type whose peak counts, of factors that lie as these types. float16 is multiplied as such by kernels that
    bring it to tensor cores in stages, and as float32 by all others."""
    if stored <= {"int8", "uint8"}:
        return "int8"
    return "float16" if staged and stored == {"float16"} else "float32"


def _factors(kernel: Nest) -> tuple[int, ...]:
    """The operands whose products are added up; none where nothing is."""
    if kernel.combine == "add" and isinstance(kernel.body, Apply) and kernel.body.function == "mul":
        parts = [_bare(part) for part in kernel.body.arguments]
        return tuple(part.operand for part in parts if isinstance(part, Input))
    return ()


def _bare(part: Expression) -> Expression:
    """A number without its conversions."""
    while isinstance(part, Cast) or (isinstance(part, Apply) and part.function in ("from_half", "to_half")):
        (part,) = part.arguments
    return part


def _touched(kernel: Kernel, facts: KernelFacts) -> int:
    if not isinstance(kernel, Nest):
        return sum(parameter.size_bytes for parameter in facts.parameters)
    loops = (*kernel.kept, *kernel.reduced)
    gathered = set(_gathered(kernel.body)) | set(_gathered(kernel.epilogue)) | set(_gathered(kernel.initial))
    total = 0
    for index, (access, parameter) in enumerate(zip((*kernel.operands, kernel.output), facts.parameters)):
        most = math.prod(loops) if index in gathered else _steps(access, loops)
        total += _size_bytes(parameter, most)
    return total


def _steps(access: Access, loops: tuple[int, ...]) -> int:
    """Elements that a walk comes to, at most."""
    return math.prod(extent for extent, stride in zip(loops, access.strides) if stride)


def _size_bytes(parameter: Parameter, most: int) -> int:
    return min(parameter.elements, most) * np.dtype(parameter.dtype).itemsize


def _gathered(part: Expression) -> list[int]:
    """Operands that are read at computed places."""
    own = [part.operand] if isinstance(part, Gather) else []
    return own + [operand for inner in part.arguments for operand in _gathered(inner)]
