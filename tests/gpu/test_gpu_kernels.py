"""Kernels of every kind on the OpenCL of this machine: right numbers, nothing read or written outside, no race."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu_kernels import Kinds, every_kind, functions
from gpu_regions import check, device, region_files
from hypothesis import given, settings

from generated_graphs import examples, graphs, layers, random_inputs
from intarsia.dtypes import Array
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.targets import Blob
from intarsia_backends.gpu.compiler import coded, compile_region
from intarsia_backends.gpu.emit.generate import generate
from intarsia_backends.gpu.emit.grid import schedule_of
from intarsia_backends.gpu.emit.surround import emit_surround
from intarsia_backends.gpu.launches import Launches
from intarsia_backends.gpu.lower import lower_region
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.region import LAUNCHES, WEIGHTS_FILE, GpuRegion, with_mark
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Surround
from intarsia_backends.lowering.program import Program, buffer_of
from intarsia_backends.opencl.device import KIND, SOURCE, open_device
from intarsia_backends.opencl.dialect import OPENCL_C

MACHINE = GpuMachine()
GUARD_BYTES = 4096
PATTERN = 0xA5


def test_every_kind_of_kernel() -> None:
    kinds = every_kind()
    check(kinds.graph, kinds.inputs)


@given(layers(limit_elements=3000))
@settings(max_examples=examples(12))
def test_integer_layers_have_the_bytes_of_evaluate(graph: Graph) -> None:
    check(graph, random_inputs(graph, 0))


@given(graphs(limit_elements=3000, longest=4))
@settings(max_examples=examples(4))
def test_integer_graphs_have_the_bytes_of_evaluate(graph: Graph) -> None:
    check(graph, random_inputs(graph, 1))


@pytest.mark.slow  # a thousand graphs, a second or more each
@given(graphs(limit_elements=3000, longest=4))
@settings(max_examples=examples(1000))
def test_a_thousand_graphs_have_the_bytes_of_evaluate(graph: Graph) -> None:
    check(graph, random_inputs(graph, 2))


def test_a_number_that_is_float16_on_its_way_alone() -> None:
    """OpenCL C has no name for such a conversion: it is spelled out."""
    kinds = Kinds()
    narrow = kinds.graph.add_node(
        "Cast",
        [kinds.graph.add_input("x", TensorType("float32", (40,)))],
        [TensorType("float16", (40,))],
        {"to": 10},
        opset=18,
    ).output
    wide = kinds.graph.add_node("Cast", [narrow], [TensorType("float32", (40,))], {"to": 1}, opset=18).output
    kinds.graph.outputs = [wide]
    check(kinds.graph, {"x": kinds.numbers(40)})


def test_every_function_is_taken_by_the_compiler() -> None:
    import pyopencl as cl

    device()
    names: dict[Kernel, str] = {kernel: f"function_{number}" for number, kernel in enumerate(functions())}
    made = generate(names, GpuMachine(floats_64=True), OPENCL_C).values()
    text = OPENCL_C.preamble + "".join(source.text for source in made)
    program = cl.Program(open_device()[1], text).build(["-cl-std=CL1.2", "-Werror"], cache_dir=False)
    assert len(program.kernel_names.split(";")) == len(names) > 300
    with_doubles = [source for source in made if "double" in source.text]
    assert with_doubles and all(source.extensions == ("cl_khr_fp64",) for source in with_doubles)


# ---- guards: what is written stays where it should


def guarded_blob(graph: Graph) -> tuple[Blob, Launches, Program]:
    """A region whose buffers share no memory and have bytes between them that no kernel writes."""
    program = lower_region(graph, MACHINE)
    for call in program.calls:
        for buffer in map(buffer_of, call.operands):
            if buffer.kind == "arena" and not buffer.offset:
                buffer.offset = program.arena + GUARD_BYTES
                program.arena = buffer.offset + -(-buffer.size // 64) * 64
    code = coded(program, graph, MACHINE, OPENCL_C, guard_bytes=GUARD_BYTES)
    launches = code.launches.to_json()
    files = {SOURCE: with_mark(code.text, launches).encode(), LAUNCHES: launches, WEIGHTS_FILE: code.weights}
    return Blob(KIND, files), code.launches, program


def intact(graph: Graph, inputs: dict[str, Array], blob: Blob, launches: Launches, program: Program) -> bool:
    """Whether a run leaves all bytes alone that belong to no buffer."""
    region = device().load(region_files(graph, blob))
    assert isinstance(region, GpuRegion)
    (lane,) = region._lanes
    arena = np.full(launches.arena_bytes, PATTERN, np.uint8)
    lane.write(0, arena)
    region.run([inputs[value.name] for value in graph.inputs])
    lane.read(0, arena)
    region.close()
    places = [(start, value.type.size_bytes) for start, value in zip(launches.inputs, graph.inputs)]
    places += [(start, value.type.size_bytes) for start, value in zip(launches.outputs, graph.outputs)]
    buffers = {buffer_of(operand) for call in program.calls for operand in call.operands}
    places += [(buffer.offset, buffer.size) for buffer in buffers if buffer.kind == "arena"]
    assert len({start for start, size in places if size}) == len([size for _, size in places if size])
    for start, size in places:
        arena[start : start + size] = PATTERN
    return bool(np.all(arena == PATTERN))


def test_nothing_is_written_outside_of_buffers() -> None:
    kinds = every_kind()
    assert intact(kinds.graph, kinds.inputs, *guarded_blob(kinds.graph))


@given(graphs(limit_elements=3000, longest=3))
@settings(max_examples=examples(3))
def test_nothing_is_written_outside_of_buffers_of_integer_graphs(graph: Graph) -> None:
    assert intact(graph, random_inputs(graph, 3), *guarded_blob(graph))


def test_a_write_outside_is_noticed() -> None:
    kinds = every_kind()
    blob, launches, program = guarded_blob(kinds.graph)
    lines = blob.files[SOURCE].decode().splitlines()
    stores = [number for number, line in enumerate(lines) if line.lstrip().startswith("p2[p2_start + ")]
    lines[stores[0]] = lines[stores[0]].replace("p2[p2_start + ", "p2[p2_start + 500 + ", 1)
    files = {**blob.files, SOURCE: "\n".join(lines).encode()}
    assert not intact(kinds.graph, kinds.inputs, Blob(KIND, files), launches, program)


# ---- reads, and threads that do not wait


def interpreted(*options: str) -> str:
    command = [sys.executable, str(Path(__file__).parent / "interpreted_kernels.py"), *options]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_no_kernel_reads_outside_or_races() -> None:
    assert interpreted() == ""


def test_a_missing_barrier_is_noticed() -> None:
    assert "data race at local memory" in interpreted("--without-barriers")


# ---- pieces


def test_a_halo_is_filled_and_images_are_left_alone() -> None:
    import pyopencl as cl

    device()
    kernel = Surround("int16", 2, 3, 4, 5, top=1, left=2, bottom=3, right=1, fill=7)
    source = generate({kernel: "surround"}, MACHINE, OPENCL_C)[kernel]
    assert str(emit_surround(kernel, schedule_of(MACHINE))).count("thread_binding") == 2
    shape = (2, 1 + 3 + 3, 2 + 4 + 1, 5)
    memory, wanted = np.ones(shape, np.int16), np.full(shape, 7, np.int16)
    wanted[:, 1:4, 2:6] = 1
    context = open_device()[1]
    queue = cl.CommandQueue(context)
    buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=memory)
    made = cl.Kernel(cl.Program(context, OPENCL_C.preamble + source.text).build(cache_dir=False), "surround")
    made.set_args(buffer, np.int32(0))
    items = tuple(blocks * threads for blocks, threads in zip(source.facts.grid, source.facts.block))
    cl.enqueue_nd_range_kernel(queue, made, items, source.facts.block)
    cl.enqueue_copy(queue, memory, buffer)
    np.testing.assert_array_equal(memory, wanted)


def test_equal_regions_have_equal_text() -> None:
    made = [compile_region(every_kind().graph, MACHINE, OPENCL_C) for _ in range(2)]
    assert made[0].text == made[1].text and made[0].launches.to_json() == made[1].launches.to_json()


def test_text_keeps_to_what_all_compilers_take() -> None:
    text = compile_region(every_kind().graph, MACHINE, OPENCL_C).text
    assert "**" not in text and "double" not in text and "goto" not in text
    assert all(line.startswith(("__kernel ", "//", "#", " ", "}")) or not line for line in text.splitlines())
