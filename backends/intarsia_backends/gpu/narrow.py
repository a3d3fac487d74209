"""float16 as the form in which float32 numbers lie in memory between kernels, which compute in float32 as before.

What is narrowed is decided for a whole program: a buffer all of whose readers and writers can take it. Inputs and
outputs of a region stay float32, and so does what could suffer more than a rounding to 11 digits:

* numbers that were made of whole numbers alone, such as positions, and numbers of which whole numbers are made;
* weights that float16 would change by more than 2**-11 of the largest: those beyond 65504, and very small ones;
* what such weights, or numbers beyond 65504 in the code, are added to or chosen between, as masks are, up to the next
  sum, softmax or norm: rows that are masked whole would be infinite.

What stays float32 and is a factor of matrix products is copied once as float16, since tensor cores take no float32.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.gpu.kernels import Attention, Narrowed
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Apply, Constant, Expression, Gather, Input, apply
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest, Normalize, Softmax, Surround, nest
from intarsia_backends.lowering.program import (
    ALIGNMENT_BYTES,
    Buffer,
    Call,
    Operand,
    Part,
    Program,
    buffer_of,
)

LARGE, STEPS = 1024, 8
"""Weights are narrowed that have so many numbers, or are read in so many steps of a sum."""

DIGITS = 2.0**-11
"""Of the largest weight, what rounding may change any by."""

_WIDE, _NARROW = np.dtype(np.float32).itemsize, np.dtype(np.float16).itemsize


LINES = 8
"""Of both factors that a product must have for a copy of one to be worth while: what tensor cores take at least."""


def narrow(program: Program, *, tensor_cores: bool = False) -> int:
    """Have float32 numbers of a program lie in memory as float16, wherever that is safe; before its arena is planned.

    tensor_cores  whether factors that stay float32 are copied

    Gives how many buffers do now.
    """
    chosen, exact = _chosen(program)
    if tensor_cores:
        chosen |= _copy_factors(program, chosen, exact)
    weights = {buffer: _contents(program, buffer) for buffer in _weights(program)}
    program.calls = [_rewritten(call, chosen) for call in program.calls]
    program.weights = bytearray()
    for buffer, numbers in weights.items():
        content = (numbers.view(np.float32).astype(np.float16) if buffer in chosen else numbers).tobytes()
        program.weights.extend(bytes(-len(program.weights) % ALIGNMENT_BYTES))
        buffer.offset = len(program.weights)
        program.weights.extend(content)
    for buffer in chosen:
        buffer.size = buffer.size // _WIDE * _NARROW
    program.arranged = [each for each in program.arranged if each.buffer not in chosen and each.buffer in weights]
    return len(chosen)


# ---- which buffers


def _uses(call: Call) -> Iterator[tuple[Operand, bool]]:
    """The operands of a call, and whether it can take each as float16; a copy, which asks for nothing, is no use."""
    if call.kernel is not None:
        able = takes(call.kernel) if isinstance(call.kernel, Kernel) else ()
        for position, operand in enumerate(call.operands):
            yield operand, position in able


def takes(kernel: Kernel) -> tuple[int, ...]:
    """Which operands of a kernel, all of them float32, may be float16."""
    match kernel:
        case Nest() | Attention():
            accesses = (*kernel.operands, kernel.output)
            return tuple(index for index, access in enumerate(accesses) if access.dtype == "float32")
        case Softmax():
            return (0, 1)
        case Normalize():
            return (0, 1, 2, 3)
        case Surround(dtype="float32"):
            return (0,)
    return ()


def _chosen(program: Program) -> tuple[set[Buffer], set[Buffer]]:
    """Buffers that are narrowed, and those of which numbers of whole numbers must stay what they are."""
    able: dict[Buffer, bool] = {}
    for call in program.calls:
        for operand, fits in _uses(call):
            buffer = buffer_of(operand)
            able[buffer] = able.get(buffer, buffer.kind in ("arena", "weight")) and fits
    factors = _factors(program)
    weights = {
        buffer
        for buffer, fits in able.items()
        if fits and buffer.kind == "weight" and (buffer in factors or buffer.size >= LARGE * _WIDE)
        if _keeps(_contents(program, buffer).view(np.float32))
    }
    exact = _whole(program, weights) | _masked(program)
    return weights | {buffer for buffer, fits in able.items() if fits and buffer.kind == "arena"} - exact, exact


def _weights(program: Program) -> list[Buffer]:
    """Constants that calls read, in the order in which they lie."""
    read = dict.fromkeys(buffer_of(operand) for call in program.calls for operand in call.operands)
    return sorted((buffer for buffer in read if buffer.kind == "weight"), key=lambda buffer: buffer.offset)


def _contents(program: Program, buffer: Buffer) -> Array:
    return np.frombuffer(bytes(program.weights[buffer.offset : buffer.offset + buffer.size]), np.uint8)


def _keeps(numbers: Array) -> bool:
    """Whether weights are much the same as float16."""
    with np.errstate(over="ignore"):
        rounded = numbers.astype(np.float16).astype(np.float32)
    finite = np.isfinite(numbers)
    if (finite != np.isfinite(rounded)).any():
        return False
    largest = float(np.abs(numbers[finite]).max(initial=0.0))
    return float(np.abs(numbers[finite] - rounded[finite]).max(initial=0.0)) <= DIGITS * largest


def _factors(program: Program) -> set[Buffer]:
    """What is read in every step of a reduction that has some."""
    return {
        buffer_of(call.operands[index])
        for call in program.calls
        if isinstance(call.kernel, Nest) and math.prod(call.kernel.reduced) >= STEPS
        for index in call.kernel.body.operands
    }


def _whole(program: Program, weights: Collection[Buffer]) -> set[Buffer]:
    """Buffers of floats that were made of whole numbers alone, or of which whole numbers or truth values are made.

    weights  those that are narrowed: what is made of these is as rounded as they are
    """
    made_of, making, others = set[Buffer](), set[Buffer](), set[Buffer]()
    for call in program.calls:
        if not isinstance(call.kernel, Nest):
            continue
        kernel, buffers = call.kernel, [buffer_of(operand) for operand in call.operands]
        output = buffers[-1]
        floats = {buffer for buffer, access in zip(buffers, kernel.operands) if access.dtype == "float32"}
        if kernel.output.dtype != "float32":
            making |= floats if "float" not in kernel.output.dtype else set()
        elif floats.isdisjoint(weights) and {each for each in floats if each.kind != "weight"} <= made_of:
            made_of.add(output)
        else:
            others.add(output)  # of several kernels that write there, one brings other numbers
        made_of -= others
    return made_of | making


_MOST = float(np.finfo(np.float16).max)


def _masked(program: Program) -> set[Buffer]:
    """Buffers that masks of numbers beyond float16 have gone into, element by element."""
    floats = {
        buffer_of(operand)
        for call in program.calls
        if isinstance(call.kernel, Nest)
        for operand, access in zip(call.operands, call.kernel.operands)
        if access.dtype == "float32"
    }
    masks = {
        buffer
        for buffer in floats
        if buffer.kind == "weight" and _is_beyond(_contents(program, buffer).view(np.float32))
    }
    found = set[Buffer]()
    for call in program.calls:
        read, output = [buffer_of(operand) for operand in call.operands[:-1]], buffer_of(call.operands[-1])
        if call.kernel is None and read[0] in masks | found:
            found.add(output)
        if isinstance(call.kernel, Nest) and call.kernel.output.dtype == "float32":
            stored = call.kernel.epilogue if call.kernel.combine else call.kernel.body
            if _has_beyond(stored, read, masks, found):
                found.add(output)
    return found


def _has_beyond(
    expression: Expression, read: list[Buffer], masks: Collection[Buffer], found: Collection[Buffer]
) -> bool:
    """Whether a number beyond float16 goes into an expression, other than as a bound that values are clipped to."""
    match expression:
        case Constant("float32", value):
            return _MOST < abs(value) < math.inf
        case Input(operand) | Gather(operand, _) if read[operand] in masks or read[operand] in found:
            return True
        case Apply("min" | "max", arguments):
            parts = [
                part
                for part in arguments
                if not (isinstance(part, Constant) or (isinstance(part, Input) and read[part.operand] in masks))
            ]
        case _:
            parts = list(expression.arguments)
    return any(_has_beyond(part, read, masks, found) for part in parts)


def _is_beyond(numbers: Array) -> bool:
    magnitudes = np.abs(numbers)
    return bool((np.isfinite(magnitudes) & (magnitudes > _MOST)).any())


# ---- copies of factors


def _multiplied(kernel: object) -> tuple[int, ...]:
    """The float32 factors of a matrix product of several rows and columns; () for every other kernel."""
    match kernel:
        case Nest(combine="add", body=Apply("mul", (Input(left), Input(right)))) if left != right:
            one, other = kernel.operands[left], kernel.operands[right]
            walks = list(zip(kernel.kept, one.strides, other.strides))
            rows = math.prod(extent for extent, here, there in walks if here and not there)
            columns = math.prod(extent for extent, here, there in walks if there and not here)
            if min(rows, columns) >= LINES <= math.prod(kernel.reduced) and one.dtype == other.dtype == "float32":
                return left, right
    return ()


def _copy_factors(program: Program, chosen: Collection[Buffer], exact: Collection[Buffer]) -> set[Buffer]:
    """Copy what tensor cores could multiply if it were float16, in front of the first product; gives the copies."""
    calls, copies = list[Call](), dict[Buffer, Buffer]()
    last_write = {buffer_of(call.operands[-1]): index for index, call in enumerate(program.calls)}
    for index, call in enumerate(program.calls):
        factors = _multiplied(call.kernel)
        fitting = [
            place
            for place in factors
            for buffer in [buffer_of(call.operands[place])]
            if buffer not in chosen and buffer.kind != "weight" and buffer not in exact
            if last_write.get(buffer, -1) < index
        ]
        if all(place in fitting or buffer_of(call.operands[place]) in chosen for place in factors):
            operands = list(call.operands)
            for place in fitting:
                operand = operands[place]
                buffer = buffer_of(operand)
                if buffer not in copies:
                    copies[buffer] = Buffer("arena", buffer.size)
                    calls.append(Call(None, (buffer, copies[buffer])))
                copy = copies[buffer]
                operands[place] = Part(copy, operand.start) if isinstance(operand, Part) else copy
            call = Call(call.kernel, tuple(operands))
        calls.append(call)
    program.calls = calls
    return set(copies.values())


# ---- calls of them


def _rewritten(call: Call, chosen: Collection[Buffer]) -> Call:
    halves = tuple(index for index, operand in enumerate(call.operands) if buffer_of(operand) in chosen)
    if not halves:
        return call
    operands = tuple(_moved(operand) if index in halves else operand for index, operand in enumerate(call.operands))
    if call.kernel is None:
        return _copied(call, halves, operands)
    assert isinstance(call.kernel, Kernel)
    return Call(narrowed(call.kernel, halves), operands)


def _moved(operand: Operand) -> Operand:
    return Part(operand.buffer, operand.start // _WIDE * _NARROW) if isinstance(operand, Part) else operand


def _copied(call: Call, halves: Collection[int], operands: tuple[Operand, ...]) -> Call:
    """A copy, which converts where one side alone is narrowed."""
    if len(halves) == 2:
        return Call(None, operands)
    count = buffer_of(call.operands[-1]).size // _WIDE
    dtypes = ["float16" if index in halves else "float32" for index in range(2)]
    source, target = (Access(dtype, (1,)) for dtype in dtypes)
    body = apply("from_half" if dtypes[0] == "float16" else "to_half", Input(0))
    return Call(nest((count,), [source], target, body), operands)


def narrowed(kernel: Kernel, halves: Collection[int]) -> Kernel:
    """The kernel with some of the operands that it takes as float16."""
    match kernel:
        case Nest() | Attention():
            return _narrowed_walks(kernel, halves)
        case Surround():
            return replace(kernel, dtype="float16")
    return Narrowed(kernel, tuple(sorted(halves)))


def _narrowed_walks(kernel: Nest | Attention, halves: Collection[int]) -> Kernel:
    accesses = [
        replace(access, dtype="float16") if index in halves else access
        for index, access in enumerate((*kernel.operands, kernel.output))
    ]

    def widened(part: Expression) -> Expression:
        match part:
            case Input(operand) | Gather(operand, _) if operand in halves:
                return apply("from_half", part)
            case Apply("to_half", (Apply("from_half", (same,)),)):
                return same
        return part

    def stored(expression: Expression) -> Expression:
        whole = apply("to_half", expression) if len(kernel.operands) in halves else expression
        return whole.transformed(widened)

    operands, output = tuple(accesses[:-1]), accesses[-1]
    if isinstance(kernel, Attention):
        score = kernel.score.transformed(widened)
        return replace(kernel, operands=operands, output=output, score=score, end=stored(kernel.end))
    return replace(
        kernel,
        operands=operands,
        output=output,
        initial=kernel.initial.transformed(widened),
        body=kernel.body.transformed(widened) if kernel.combine else stored(kernel.body),
        epilogue=stored(kernel.epilogue) if kernel.combine else kernel.epilogue,
    )
