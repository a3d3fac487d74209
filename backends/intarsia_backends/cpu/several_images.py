"""A program for several images in one call: products of one row take the rows of all, the rest goes image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from intarsia_backends.cpu.image_rows import MOST_IMAGES, ImageRows, image_rows
from intarsia_backends.cpu.kernels import MatrixProduct
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.memory_plan import plan
from intarsia_backends.lowering.program import ALIGNMENT_BYTES, Buffer, Call, Operand, Program, buffer_of

_ARENA_BYTES = 512 << 10
"""What the memory of all images together may take, so that it stays in the second cache."""

_LEAST_IMAGES = 8
"""From which on it pays."""


@dataclass
class SeveralImages:
    """How a program does several images at once.

    images   that one call takes at most; 1 where they go one after the other anyway
    arena    bytes of scratch memory
    kernels  by the index of a call, the one for the rows of all images
    groups   calls from..to that go together: those of one kernel for all images, or, image by image, the others
    steps    bytes from an image to the next one, by buffer; none for what all share
    places   where buffers of the arena begin
    """

    images: int = 1
    arena: int = 0
    kernels: dict[int, ImageRows] = field(default_factory=dict)
    groups: list[range] = field(default_factory=list)
    steps: dict[Buffer, int] = field(default_factory=dict)
    places: dict[Buffer, int] = field(default_factory=dict)


def several_images(program: Program, machine: Machine) -> SeveralImages:
    """How the images of a planned program go together; image by image where none of its calls can be shared."""
    candidates = [index for index, call in enumerate(program.calls) if isinstance(call.kernel, MatrixProduct)]
    made = SeveralImages(MOST_IMAGES, steps=_steps(program, candidates))
    for index in candidates:
        kernel = _shared(program.calls[index], machine, made.steps)
        if kernel is not None:
            made.kernels[index] = kernel
    alone = SeveralImages(1, program.arena)
    if not made.kernels:
        return alone
    made.groups, made.steps = _groups(program, made.kernels), _steps(program, made.kernels)
    kept = sum(step for buffer, step in made.steps.items() if buffer.kind == "arena")
    made.images = min(MOST_IMAGES, max(_LEAST_IMAGES, _ARENA_BYTES // max(1, kept)))
    copies = {buffer: _copy(buffer, made) for call in program.calls for buffer in map(buffer_of, call.operands)}
    planned = Program([call for group in made.groups for call in _lives(program, group, made.steps, copies)])
    plan(planned)
    made.arena = planned.arena
    made.places = {buffer: copy.offset for buffer, copy in copies.items()}
    return made


def _groups(program: Program, kernels: dict[int, ImageRows]) -> list[range]:
    groups, start = [], 0
    for index in sorted(kernels):
        groups += [range(start, index), range(index, index + 1)]
        start = index + 1
    return [group for group in (*groups, range(start, len(program.calls))) if group]


def _steps(program: Program, shared: Sequence[int] | dict[int, ImageRows]) -> dict[Buffer, int]:
    """Bytes from image to image of what there is once for each: inputs, outputs, and what crosses from group to group,
    where calls by `shared` indices are groups of their own."""
    group_of: dict[Buffer, int] = {}
    steps: dict[Buffer, int] = {}
    group = 0
    for index, call in enumerate(program.calls):
        group += index in shared or index - 1 in shared
        for buffer in map(buffer_of, call.operands):
            if buffer.kind in ("input", "output"):
                steps[buffer] = buffer.size
            elif buffer.kind == "arena" and (group_of.setdefault(buffer, group) != group or index in shared):
                steps[buffer] = -(-buffer.size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return steps


def _shared(call: Call, machine: Machine, steps: dict[Buffer, int]) -> ImageRows | None:
    """The kernel of a product for all images."""
    product = call.kernel
    assert isinstance(product, MatrixProduct)
    x, weights, *others = call.operands
    bias = 1 if product.bias else 0
    constants, read, y = [weights, *others[:bias]], others[bias:-1], others[-1]
    if any(buffer_of(item).kind != "weight" for item in constants):
        return None
    x_access = Access("int32", product.x.strides) if product.products in ("dot2", "dot4") else product.x
    walks = [(x, x_access), (y, product.y), *zip(read, product.further)]
    elements = [_elements(item, access, steps) for item, access in walks]
    found = [element for element in elements if element is not None]
    if len(found) < len(elements):
        return None
    return image_rows(product, machine, found[0], found[1], found[2:])


_BYTES = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "int32": 4, "uint32": 4}
_BYTES |= {"float32": 4, "int64": 8, "uint64": 8, "float64": 8}


def _elements(item: Operand, access: Access, steps: dict[Buffer, int]) -> int | None:
    """Elements from image to image; None where these are no whole ones."""
    elements, rest = divmod(steps.get(buffer_of(item), 0), _BYTES[access.dtype])
    return None if rest else elements


def _copy(buffer: Buffer, made: SeveralImages) -> Buffer:
    step = made.steps.get(buffer)
    size = buffer.size if step is None else made.images * step
    return Buffer(buffer.kind, size, buffer.index, buffer.offset)


def _lives(program: Program, group: range, steps: Mapping[Buffer, int], copies: Mapping[Buffer, Buffer]) -> list[Call]:
    """The calls of a group, as far as they say which memory lives when: what all images have their own of, from the
    first call to the last, since the first call comes again for the next image."""
    calls = [[buffer_of(item) for item in program.calls[index].operands] for index in group]
    crossing = [buffer for buffers in calls for buffer in buffers if buffer in steps]
    calls[0] = calls[0] + crossing
    calls[-1] = calls[-1] + crossing
    return [Call(None, tuple(copies[buffer] for buffer in buffers)) for buffers in calls]
