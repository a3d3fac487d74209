"""Instructions of machine code that a compiler here makes, and of text in nvdisasm's form."""

from __future__ import annotations

from pathlib import Path

import pytest

from intarsia.errors import CompileError
from intarsia_backends.cuda.toolchain import nvrtc
from intarsia_backends.cuda.toolchain.build import Binaries, compile_text
from intarsia_backends.cuda.toolchain.find import VARIABLE, tool
from intarsia_backends.cuda.toolchain.resources import read_resources
from intarsia_backends.cuda.toolchain.sass import Codes, disassemble, read_sass

TEXT = """
extern "C" __global__ void tensor_0(const int *a, const int *b, int *c, int count) {
  int s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    const int *p = a + i * 128 + threadIdx.x, *q = b + i * 64 + threadIdx.x;
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(s0), "+r"(s1), "+r"(s2), "+r"(s3) : "r"(p[0]), "r"(p[32]), "r"(p[64]), "r"(p[96]), "r"(q[0]), "r"(q[32]));
#else
    s0 = __dp4a(p[0], q[0], s0);
    s1 = __dp4a(p[32], q[32], s1);
#endif
  }
#pragma unroll 1
  for (int i = 0; i < count; ++i) c[i] = s0 + s1 * i;
  c[threadIdx.x] = s0 + s1 + s2 + s3;
}
extern "C" __global__ void plain_1(const float *a, float *b) {
  b[threadIdx.x] = __fmaf_rn(a[threadIdx.x], 3.0f, a[threadIdx.x + 1]);
}
extern "C" __global__ void __launch_bounds__(1024) spills_2(const float *a, float *b) {
  float r[100];
#pragma unroll
  for (int i = 0; i < 100; ++i) r[i] = a[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 100; ++i)
#pragma unroll
    for (int j = 0; j < 3; ++j)
      b[(i + 100 * j) * 1024 + threadIdx.x] = __fmaf_rn(r[i], r[(i * 37 + j) % 100], r[99 - i]);
}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Binaries:
    if nvrtc.absent() or tool("nvdisasm") is None:
        pytest.skip(nvrtc.absent() or "needs nvdisasm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTARSIA_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv(VARIABLE, "nvrtc")
        return compile_text(TEXT, ("sm_75", "sm_80", "sm_120"))


@pytest.mark.parametrize(("name", "kind", "count"), [("sm_75", "IDP", 2), ("sm_80", "IMMA", 1), ("sm_120", "IMMA", 1)])
def test_the_hot_loop_is_that_which_computes(made: Binaries, name: str, kind: str, count: int) -> None:
    program = tool("nvdisasm")
    assert program is not None
    codes = disassemble(program, made.files[f"{name}.cubin"])
    assert set(codes) == {"tensor_0", "plain_1", "spills_2"}
    hot = codes["tensor_0"].hot
    assert hot[kind] == count and hot["LDG"] >= 4 and "STG" not in hot
    assert codes["tensor_0"].tensor == (1 if kind == "IMMA" else 0)
    assert codes["tensor_0"].loops and not codes["plain_1"].loops
    assert codes["plain_1"].hot["FFMA"] == 1 and codes["plain_1"].tensor == 0


def test_the_assembler_tells_of_spills(made: Binaries) -> None:
    resources = made.resources["sm_80"]
    assert resources["spills_2"].spill_bytes > 0 and resources["spills_2"].registers <= 64
    assert resources["plain_1"].spill_bytes == 0


def test_what_is_no_machine_code_is_reported(tmp_path: Path) -> None:
    program = tool("nvdisasm")
    if program is None:
        pytest.skip("needs nvdisasm")
    with pytest.raises(CompileError, match="nvdisasm"):
        disassemble(program, b"nothing")
    codes = Codes(program, {"sm_80.cubin": b"nothing"})
    assert codes.of("sm_80") == {} and "does not read machine code" in codes.trouble


def test_without_nvdisasm_nothing_is_known() -> None:
    codes = Codes(None, {"sm_80.cubin": b""})
    assert codes.of("sm_80") == {} and codes.trouble == "there is no nvdisasm"


def test_what_is_unrolled_is_hotter_than_what_loops() -> None:
    lines = ["IMMA.16832.S8.S8 R1, R2, R3, R1 ;", "FFMA R1, R2, R3, R1 ;", "LDL R1, [R2] ;", "@P0 BRA `(.L_x_0) ;"]
    text = [".text.k:"]
    for number, line in enumerate(lines):
        text += [".L_x_0:"] if number == 1 else []
        text.append(f"        /*{number * 16:04x}*/                   {line}")
    code = read_sass("\n".join(text))["k"]
    assert not code.loops and code.hot == code.all == {"BRA": 1, "FFMA": 1, "IMMA": 1, "LDL": 1}
    assert code.spill_share == 0.25


def test_moves_spelled_as_multiplications_and_loops_within_loops() -> None:
    lines = ["IMAD.MOV.U32 R1, RZ, RZ, c[0x0][0x28] ;", "HFMA2.MMA R2, -RZ, RZ, 0, 0 ;", "HFMA2 R3, R4, R5, R6 ;"]
    lines += ["FFMA R1, R2, R3, R1 ;", "@!P0 BRA `(.L_x_1) ;", "FADD R1, R1, R2 ;", "@P1 BRA `(.L_x_0) ;", "EXIT ;"]
    text = [".text.k:"]
    for number, line in enumerate([*lines, "BRA `(.L_x_2);"]):
        label = {0: ".L_x_0:", 3: ".L_x_1:", 8: ".L_x_2:"}.get(number)
        text += [label] if label else []
        text.append(f"        /*{number * 16:04x}*/                   {line}")
    code = read_sass("\n".join(text))["k"]
    assert code.hot == {"BRA": 1, "FFMA": 1}, "the inner loop, not the outer, and not the jump to itself"
    assert code.all == {"BRA": 3, "EXIT": 1, "FADD": 1, "FFMA": 1, "HFMA2": 1, "MOV": 2}


def test_logs_of_both_forms() -> None:
    log = """ptxas info    : 7 bytes gmem, 16 bytes cmem[3]
ptxas info    : Compiling entry function 'k' for 'sm_80'
ptxas info    : Function properties for k
ptxas         .     8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 24 registers, used 1 barriers, 8 bytes cumulative stack size, 512+16 bytes smem, 360 bytes cmem[0]
ptxas info    : Function properties for helper
    16 bytes stack frame, 1 bytes spill stores, 2 bytes spill loads
ptxas info    : Compiling entry function 'l' for 'sm_80'
ptxas info    : Function properties for l
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers, 380 bytes cmem[0]
"""
    found = read_resources(log)
    assert list(found) == ["k", "l"]
    k = found["k"]
    assert (k.registers, k.stack_bytes, k.spill_store_bytes, k.spill_load_bytes, k.shared_bytes) == (24, 24, 5, 14, 528)
    assert (found["l"].registers, found["l"].spill_bytes, found["l"].shared_bytes) == (10, 0, 0)
