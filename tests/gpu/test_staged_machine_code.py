"""Products in stages as machine code: instructions of tensor cores in the loop, no register moved to memory, and room
for a quarter of the threads that a processor takes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from product_nests import ALIGNED, convolution, matrices

from intarsia.errors import CompileError
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.cuda.machine import CUDA
from intarsia_backends.cuda.toolchain.build import Binaries, compile_text
from intarsia_backends.cuda.toolchain.find import tool
from intarsia_backends.cuda.toolchain.sass import disassemble
from intarsia_backends.gpu.emit.generate import generate
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import Nest

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")
MOST_REGISTERS = 128

LAYERS: Mapping[str, Nest] = {
    "integers": convolution("int8", (1, 30, 30, 128), 128, (3, 3), result="int8", residual=True),
    "integers_of_a_batch": convolution("int8", (16, 30, 30, 128), 128, (3, 3), result="int8"),
    "integers_of_few_channels": convolution("int8", (1, 230, 230, 4), 64, (7, 7), 2, result="int8"),
    "integers_of_long_sums": convolution("int8", (1, 7, 7, 2048), 512, (1, 1), result="int8"),
    "halves": convolution("float16", (1, 16, 16, 256), 256, (3, 3), result="float32"),
    "halves_of_a_batch": matrices("float16", 1, 4096, 1024, 1024, result="float32"),
    "floats": convolution("float32", (1, 16, 16, 256), 256, (3, 3), result="float32"),
    "floats_of_a_batch": matrices("float32", 1, 4096, 1024, 1024, result="float32"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Binaries:
    names: dict[Kernel, str] = {kernel: name for name, kernel in LAYERS.items()}
    alignments: dict[Kernel, tuple[int, ...]] = {
        kernel: (ALIGNED,) * (len(kernel.operands) + 1) for kernel in LAYERS.values()
    }
    sources = generate(names, CUDA, CUDA_CPP, alignments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTARSIA_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            return compile_text(CUDA_CPP.preamble + "".join(each.text for each in sources.values()), ARCHITECTURES)
        except CompileError as error:
            pytest.skip(error.what)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_spills_and_others_find_room(made: Binaries, architecture: str) -> None:
    resources = made.resources[architecture]
    assert set(resources) == set(LAYERS)
    assert {name: each.spill_bytes for name, each in resources.items() if each.spill_bytes} == {}
    assert max(each.registers for each in resources.values()) <= MOST_REGISTERS


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tensor_cores_multiply(made: Binaries, architecture: str) -> None:
    program = tool("nvdisasm")
    if program is None:
        pytest.skip("needs nvdisasm")
    for name, code in disassemble(program, made.files[f"{architecture}.cubin"]).items():
        kind = {"integers": "IMMA", "halves": "HMMA", "floats": "FFMA"}[name.partition("_")[0]]
        assert code.hot.get(kind, 0) > 0, name
        # Factors come by themselves from sm_80 on.
        assert ("LDGSTS" in code.all) == (architecture != "sm_75"), name
        assert kind == "FFMA" or "LDSM" in code.hot, name
