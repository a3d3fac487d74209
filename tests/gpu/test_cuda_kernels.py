"""Kernels of every kind as CUDA C++, run by the processor: right numbers in every order of threads, nothing written
beside, nothing that is read beside matters, and no barrier too few."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from cuda_on_cpu import KernelError, Kernels
from cuda_regions import FOLDER, check, compiled, run
from gpu_kernels import every_kind, functions
from gpu_regions import compare
from hypothesis import given, settings

from artifact_examples import small_graph
from generated_graphs import examples, graphs, layers, random_inputs
from intarsia.ir.graph import Graph
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.gpu.emit.generate import generate
from intarsia_backends.gpu.launches import KernelFacts, Parameter
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.lowering.kernel import Kernel


def test_every_kind_of_kernel() -> None:
    kinds = every_kind()
    check(kinds.graph, kinds.inputs)


def test_a_quantized_network() -> None:
    image = np.random.default_rng(0).standard_normal((1, 2, 5, 5)).astype(np.float32)
    check(small_graph(), {"image": image})


@given(layers(limit_elements=2000))
@settings(max_examples=examples(8))
def test_integer_layers_have_the_bytes_of_evaluate(graph: Graph) -> None:
    check(graph, random_inputs(graph, 0))


@given(graphs(limit_elements=2000, longest=4))
@settings(max_examples=examples(4))
def test_integer_graphs_have_the_bytes_of_evaluate(graph: Graph) -> None:
    check(graph, random_inputs(graph, 1))


@pytest.mark.slow  # a thousand graphs, each compiled as C++
@given(graphs(limit_elements=3000, longest=4))
@settings(max_examples=examples(1000))
def test_a_thousand_graphs_have_the_bytes_of_evaluate(graph: Graph) -> None:
    check(graph, random_inputs(graph, 2))


def test_every_function_is_taken_by_the_compiler() -> None:
    names: dict[Kernel, str] = {kernel: f"function_{number}" for number, kernel in enumerate(functions())}
    made = generate(names, GpuMachine(floats_64=True), CUDA_CPP).values()
    Kernels(CUDA_CPP.preamble + "".join(source.text for source in made), FOLDER)


def test_without_barriers_some_order_is_wrong() -> None:
    kinds = every_kind()
    code = compiled(kinds.graph)
    bare = replace(code, text=re.sub(r"__syncthreads\(\);", "", code.text))
    assert bare.text != code.text
    wrong = 0
    for order in (0, 1, 7):
        try:
            compare(kinds.graph, kinds.inputs, run(kinds.graph, bare, kinds.inputs, order))
        except AssertionError:
            wrong += 1
    assert wrong == 3


# ---- the judge itself

_HEAD = 'extern "C" __global__ void __launch_bounds__(64) one(int *__restrict__ p0, const int p0_start) {\n'
_ONE = KernelFacts("one", (Parameter("int32", 64, True),), (1, 1, 1), (64, 1, 1), 0)


@pytest.mark.parametrize(
    "body, says",
    [
        ("if (threadIdx.x < 63) p0[p0_start + threadIdx.x + 2] = 1;", "writes beside parameter 0"),
        ("p0[p0_start + (int)threadIdx.x - 1] = 1;", "writes beside parameter 0"),
        ("if (threadIdx.x < 10) __syncthreads();", "a barrier waits for threads that are done"),
        ("if (threadIdx.x < 10) __syncwarp();", "its warp waits for lanes that are done"),
        ("if (threadIdx.x < 10) __syncwarp(); else __syncthreads();", "it waits for ever"),
    ],
)
def test_what_no_gpu_would_end_well_is_seen(body: str, says: str) -> None:
    text = _HEAD + body + "}"
    with pytest.raises(KernelError, match=says):
        Kernels(text, FOLDER).launch(_ONE, [np.zeros(64, np.int32)])


def test_orders_differ_where_threads_race() -> None:
    body = "__shared__ int last; last = threadIdx.x; __syncthreads(); p0[p0_start + threadIdx.x] = last;"
    text = _HEAD + body + "}"
    kernels, seen = Kernels(text, FOLDER), []
    for order in (0, 1, 7):
        array = np.zeros(64, np.int32)
        kernels.launch(_ONE, [array], order)
        assert len(set(array.tolist())) == 1
        seen.append(int(array[0]))
    assert seen[:2] == [63, 0] and seen[2] not in (0, 63)


def test_lanes_show_each_other_what_they_hold() -> None:
    body = (
        "int own = threadIdx.x, a = __shfl_xor_sync(~0u, own, 5), b = __shfl_down_sync(~0u, own, 3), "
        "c = __shfl_up_sync(~0u, own, 2), d = __shfl_sync(~0u, own, 9); "
        "p0[p0_start + own] = a + 1000 * b + 1000000 * c + (d << 28);"
    )
    text = _HEAD + body + "}"
    array = np.zeros(64, np.int32)
    Kernels(text, FOLDER).launch(_ONE, [array], 7)
    own = np.arange(64)
    lane, first = own % 32, own // 32 * 32
    down, up = np.where(lane + 3 < 32, own + 3, own), np.where(lane >= 2, own - 2, own)
    wanted = (own ^ 5) + 1000 * down + 1000000 * up + ((first + 9) << 28)
    assert np.array_equal(array, wanted.astype(np.uint32).view(np.int32))
