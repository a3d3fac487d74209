"""Precision float16 on GPUs: what lies in memory as float16, that conversions are exact, what it costs."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import cuda_regions
import numpy as np
import pytest
from gpu_kernels import Kinds, chain, every_kind
from gpu_regions import load

import intarsia
from intarsia.artifact.parts import whole_graph
from intarsia.dtypes import ELEMENT_NUMBERS, Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.runtime.vectors import verify_vectors
from intarsia_backends.cuda.machine import CUDA
from intarsia_backends.gpu.kernels import Narrowed
from intarsia_backends.gpu.lower import lower_region
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.narrow import narrow
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest, Surround
from intarsia_backends.lowering.program import Program
from intarsia_backends.opencl.target import OpenClTarget

MODELS = Path(__file__).parent.parent / "models"
MACHINE = replace(CUDA, halves=True)
TARGET = OpenClTarget().for_precision("float16")


def check(graph: Graph, inputs: dict[str, Array], within: float, cuda: bool = True) -> None:
    """On OpenCL, and as CUDA in an order of threads, against float32: integers alike, floats near."""
    arrays, wanted = [inputs[value.name] for value in graph.inputs], evaluate(graph, inputs)
    region = load(graph, TARGET)
    on_opencl = region.run(arrays).outputs
    region.close()
    engines = [on_opencl]
    if cuda:
        engines.append(cuda_regions.run(graph, cuda_regions.compiled(graph, MACHINE), inputs, order=7))
    for found in engines:
        for value, one, other in zip(graph.outputs, wanted, found):
            if one.dtype.kind == "f":
                scale = float(np.abs(one).max())
                assert np.allclose(one, other, rtol=0, atol=within * scale, equal_nan=True), value
            else:
                np.testing.assert_array_equal(one, other)


def test_every_kind_of_kernel() -> None:
    kinds = every_kind()
    check(kinds.graph, kinds.inputs, 1e-3, cuda=False)


def narrowed(graph: Graph) -> Program:
    program = lower_region(graph, MACHINE)
    narrow(program)
    return program


def kernels(program: Program) -> list[Kernel]:
    return [call.kernel for call in program.calls if isinstance(call.kernel, Kernel)]


def test_values_between_kernels() -> None:
    kinds = chain()
    check(kinds.graph, kinds.inputs, 3e-3)
    found = kernels(narrowed(kinds.graph))
    between = {access.dtype for each in found if isinstance(each, Nest) for access in (*each.operands, each.output)}
    assert between == {"float16", "float32"}
    assert {type(each.kernel).__name__: each.halves for each in found if isinstance(each, Narrowed)} == {
        "Normalize": (0, 3),
        "Softmax": (0, 1),
    }
    wide, thin = (cuda_regions.compiled(kinds.graph, GpuMachine(halves=halves)).launches for halves in (False, True))
    assert thin.weights_bytes < 0.55 * wide.weights_bytes and thin.arena_bytes < 0.7 * wide.arena_bytes


def test_what_is_only_moved_keeps_its_bits() -> None:
    kinds, f = Kinds(), Kinds().numbers
    x = kinds.add("Softmax", f(6, 7, 80), axis=-1)
    kinds.graph.outputs = [kinds.add("Softmax", kinds.add("Transpose", x, perm=(1, 0, 2)), axis=-1)]
    (moving,) = (each for each in kernels(narrowed(kinds.graph)) if isinstance(each, Nest))
    assert str(moving.body) == "in0" and moving.output.dtype == moving.operands[0].dtype == "float16"
    check(kinds.graph, kinds.inputs, 1e-3)


def test_numbers_made_of_whole_numbers_stay_float32() -> None:
    """Positions as angles: 2047 and 2048.5 are one float16, and as angles far apart."""
    kinds = Kinds()
    places = kinds.add("Cast", np.arange(3000, 3200, dtype=np.int64)[:, None], to=ELEMENT_NUMBERS["float32"])
    angles = kinds.add("MatMul", places, np.linspace(0.1, 1, 16, dtype=np.float32)[None], constants=(1,))
    waves = kinds.add("Softmax", kinds.add("Sin", angles), axis=-1)
    kinds.graph.outputs = [
        kinds.add("Cast", kinds.add("Mul", waves, np.array([900], np.float32), constants=(1,)), to=7),
        waves,
    ]
    check(kinds.graph, kinds.inputs, 1e-4)


@pytest.mark.parametrize(("scale", "dtype"), [(1.0, "float16"), (1e6, "float32"), (1e-6, "float32"), (1e-3, "float16")])
def test_weights_that_float16_cannot_hold_stay_float32(scale: float, dtype: str) -> None:
    kinds, f = Kinds(), Kinds().numbers
    kinds.add("MatMul", f(9, 30), f(30, 20) * np.float32(scale), constants=(1,))
    (product,) = kernels(narrowed(kinds.graph))
    assert isinstance(product, Nest) and product.operands[1].dtype == dtype
    check(kinds.graph, kinds.inputs, 1e-3)


@pytest.mark.parametrize("way", ["added", "chosen", "computed"])
def test_rows_that_are_masked_whole_are_the_mean_as_in_float32(way: str) -> None:
    """By the least float32, which is minus infinity as float16: NaN, once a row has nothing else."""
    kinds, f = Kinds(), Kinds().numbers
    least = float(np.finfo(np.float32).min)
    shown = np.ones((16, 24), np.bool_)
    shown[3], shown[5, 4:] = False, False
    scores = kinds.add("MatMul", f(16, 32), f(32, 24), constants=(1,))
    if way == "added":
        scores = kinds.add("Add", scores, np.where(shown, 0, np.float32(least)).astype(np.float32), constants=(1,))
    elif way == "chosen":
        scores = kinds.add("Where", shown, scores, np.array(least, np.float32), constants=(2,))
    else:
        hidden = kinds.add("Cast", ~shown, to=ELEMENT_NUMBERS["float32"])
        hidden = kinds.add("Mul", hidden, np.array([least], np.float32), constants=(1,))
        scores = kinds.add("Add", scores, hidden)
    kinds.graph.outputs = []
    kinds.graph.outputs = [kinds.add("Relu", kinds.add("Softmax", scores, axis=-1))]
    check(kinds.graph, kinds.inputs, 2e-3)


def test_bounds_that_nothing_is_clipped_to_do_not_count_as_masks() -> None:
    kinds, f = Kinds(), Kinds().numbers
    product = kinds.add("MatMul", f(16, 32), f(32, 24), constants=(1,))
    bounded = kinds.add("Clip", product, np.array(0, np.float32), np.array(3e38, np.float32), constants=(1, 2))
    kinds.graph.outputs = [kinds.add("Softmax", bounded, axis=-1)]
    (stored,) = {kernel.output.dtype for kernel in kernels(narrowed(kinds.graph)) if isinstance(kernel, Nest)}
    assert stored == "float16"


def test_inputs_and_outputs_that_are_multiplied_are_copied_for_tensor_cores() -> None:
    """Both stay float32, which tensor cores do not take; one copy serves all products."""
    kinds, f = Kinds(), Kinds().numbers
    features = kinds.add("MatMul", f(16, 48), f(48, 32), constants=(1,))
    other = kinds.add("MatMul", kinds.graph.inputs[0], f(48, 32), constants=(1,))
    kinds.add("MatMul", features, f(32, 24), constants=(1,))
    kinds.add("MatMul", features, kinds.add("Transpose", other, perm=(1, 0)))
    program = lower_region(kinds.graph, MACHINE)
    narrow(program, tensor_cores=True)
    nests = [kernel for kernel in kernels(program) if isinstance(kernel, Nest)]
    products = [kernel for kernel in nests if kernel.combine == "add"]
    assert len(products) == 4
    assert {access.dtype for kernel in products for access in kernel.operands} == {"float16"}
    assert [str(kernel.body) for kernel in nests].count("to_half(in0)") == 3
    assert {value.name for value in kinds.graph.outputs} > {features.name, other.name}
    check(kinds.graph, kinds.inputs, 2e-3)


def test_a_single_row_is_not_copied() -> None:
    kinds, f = Kinds(), Kinds().numbers
    kinds.add("MatMul", f(1, 48), f(48, 32), constants=(1,))
    program = lower_region(kinds.graph, MACHINE)
    narrow(program, tensor_cores=True)
    assert len(program.calls) == 1


def test_a_halo_of_float16() -> None:
    program = Program()
    from intarsia_backends.gpu.narrow import narrowed as as_half

    kernel = Surround("float32", 1, 2, 3, 4, 1, 1, 1, 1, fill=0)
    assert as_half(kernel, (0,)) == Surround("float16", 1, 2, 3, 4, 1, 1, 1, 1, fill=0) and not program.calls


def test_conversions_are_those_of_numpy() -> None:
    """Every float16 there is, and float32 numbers on and beside the edges between two of them."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    halves = bits.view(np.float16)
    halves = halves[~np.isnan(halves)]
    wide = halves.astype(np.float32)
    with np.errstate(invalid="ignore"):
        between = (wide[:-1] + wide[1:]) / 2
    between = between[np.isfinite(between)]
    edges = np.concatenate([np.nextafter(between, np.float32(side)) for side in (-np.inf, np.inf)])
    numbers = np.concatenate([wide, between, edges, np.array([65519.9, 65520, 1e-8, -1e-8, 2.0**-25, 2.0**-24])])
    kinds = Kinds()
    kinds.add("Cast", halves, to=ELEMENT_NUMBERS["float32"])
    kinds.add("Cast", numbers.astype(np.float32), to=ELEMENT_NUMBERS["float16"])
    region = load(kinds.graph)
    arrays = [kinds.inputs[value.name] for value in kinds.graph.inputs]
    as_cuda = cuda_regions.run(kinds.graph, cuda_regions.compiled(kinds.graph), kinds.inputs, order=0)
    for found in (region.run(arrays).outputs, as_cuda):
        for one, other in zip(evaluate(kinds.graph, kinds.inputs), found):
            assert one.tobytes() == other.tobytes()
    assert "vload_half" in region.listing() and "vstore_half_rte" in region.listing()


# ---- whole models


def digits() -> tuple[Array, Array]:
    with np.load(MODELS / "digits_test_450.npz") as data:
        return np.asarray(data["x"], np.float32), np.asarray(data["y"])


def test_digits() -> None:
    x, y = digits()
    artifact = intarsia.compile_model(MODELS / "digits_cnn.onnx", target="opencl", precision="float16")
    assert artifact.contents.precision == "float16"
    graph = whole_graph(artifact.files)
    with intarsia.load(artifact) as session:
        assert set(session.devices.values()) == {"opencl"}
        (found,) = session.run(x)
        assert all(result.ok for result in verify_vectors(session))
    wanted = np.concatenate([evaluate(graph, {graph.inputs[0].name: image[None]})[0] for image in x])
    error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    assert 1e-5 < error < 2e-3
    np.testing.assert_array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
    assert (found.argmax(axis=1) == y).mean() > 0.99


def half_model() -> Any:
    """A model of float16."""
    from onnx import numpy_helper, parser

    model = parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]>
    net (float16[4,64] x) => (float16[4,32] y) {
      a = MatMul (x, w)
      b = Relu (a)
      c = MatMul (b, v)
      y = Softmax <axis = -1> (c) }""")
    random = np.random.default_rng(0)
    for name, shape in (("w", (64, 96)), ("v", (96, 32))):
        model.graph.initializer.append(
            numpy_helper.from_array((random.standard_normal(shape) / 8).astype(np.float16), name)
        )
    return model


def test_a_model_of_float16_keeps_its_types_and_is_computed_in_float32() -> None:
    model = half_model()
    artifact = intarsia.compile_model(model, target="opencl", precision="float16")
    session = intarsia.load(artifact)
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float16)
    (found,) = session.run(x)
    assert found.dtype == np.float16 and all(result.ok for result in verify_vectors(session))
    wide = whole_graph(artifact.files)
    (wanted,) = evaluate(wide, {"x": x})
    np.testing.assert_allclose(found.astype(np.float32), wanted.astype(np.float32), rtol=0, atol=2e-3 * wanted.max())
    assert [node.op for node in wide.nodes].count("Cast") == 2, "one at the input and one at the output"


def test_what_float16_cannot_hold_is_told() -> None:
    model = half_model()
    for initializer in model.graph.initializer:
        initializer.CopyFrom(_scaled(initializer, 4096))
    with pytest.warns(intarsia.IntarsiaWarning, match="float16 holds up to 65504") as caught:
        intarsia.compile_model(model, target="opencl", precision="float16")
    assert "precision='float32'" in str(caught[0].message)


def test_what_float16_has_no_digits_for_is_told() -> None:
    model = half_model()
    model.graph.initializer[0].CopyFrom(_scaled(model.graph.initializer[0], 1e-6))
    with pytest.warns(intarsia.IntarsiaWarning, match="'b' reaches only 2.87e-06 on inputs") as caught:
        intarsia.compile_model(model, target="opencl", precision="float16")
    assert "nothing below 6e-8" in str(caught[0].message) and "precision='float32'" in str(caught[0].message)


def _scaled(initializer: Any, factor: float) -> Any:
    from onnx import numpy_helper

    array = numpy_helper.to_array(initializer)
    return numpy_helper.from_array((array.astype(np.float32) * factor).astype(np.float16), initializer.name)


@pytest.mark.parametrize("target", ["cpu", "tiny", "tpu"])
def test_other_targets_refuse(target: str) -> None:
    with pytest.raises(intarsia.CompileError) as caught:
        intarsia.compile_model(MODELS / "digits_cnn.onnx", target=target, precision="float16")
    assert caught.value.where == "precision 'float16'" and f"target '{target}' computes in" in caught.value.what


def test_what_overflows_at_run_time_is_told_once() -> None:
    kinds = Kinds()
    hidden = kinds.add("MatMul", kinds.numbers(4, 64), np.full((64, 64), 100, np.float32), constants=(1,))
    kinds.add("MatMul", hidden, np.full((64, 64), 0.01, np.float32), constants=(1,))
    kinds.graph.outputs.pop(0)
    region = load(kinds.graph, TARGET)
    small, large = np.full((4, 64), 1, np.float32), np.full((4, 64), 100, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(region.run([small]).outputs[0]).all()
        region.run([large * np.inf])
    with pytest.warns(intarsia.IntarsiaWarning, match="ends at 65504"):
        assert not np.isfinite(region.run([large]).outputs[0]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        region.run([large])
    region.close()
