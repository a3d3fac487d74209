"""CUDA C++ to machine code: by every compiler that is here, and what is said where there is none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import intarsia
from intarsia.errors import CompileError
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.cuda.toolchain import nvcc, nvrtc
from intarsia_backends.cuda.toolchain.build import compile_text
from intarsia_backends.cuda.toolchain.compiler import Made
from intarsia_backends.cuda.toolchain.find import VARIABLE, find_compiler, package_folders, tool
from intarsia_backends.cuda.toolchain.kept import Kept

TEXT = (
    CUDA_CPP.preamble
    + """
static __constant__ int table[4] = {1, 2, 3, 4};
static __device__ __noinline__ int twice(int x) { return 2 * x + table[x & 3]; }
extern "C" __global__ void __launch_bounds__(128) add_0(const float *__restrict__ p0, float *__restrict__ p1) {
  __shared__ float s1[128];
  s1[threadIdx.x] = p0[threadIdx.x];
  __syncthreads();
  p1[threadIdx.x] = p0[threadIdx.x] * 3.0f + s1[127 - threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(64) dot_1(const int *__restrict__ p0, int *__restrict__ p1) {
  int sum = 0;
  for (int i = 0; i < 100; ++i) {
#if __CUDA_ARCH__ >= 800
    sum = __dp4a(p0[i], p0[i + threadIdx.x], sum);
#else
    sum += p0[i] * 7;
#endif
  }
  p1[threadIdx.x] = twice(sum);
}
"""
)
NAMES = ("sm_75", "sm_90", "compute_80")


def wheel() -> str:
    """The nvcc of the Python packages."""
    found = [path for path in (shutil.which("nvcc", path=str(folder)) for folder in package_folders()) if path]
    if not found or nvcc.lacks_host_compiler():
        pytest.skip("needs nvidia-cuda-nvcc, and g++")
    return found[0]


def compiler(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose one, or skip the test."""
    if way == "nvrtc" and nvrtc.absent():
        pytest.skip(nvrtc.absent())
    monkeypatch.setenv(VARIABLE, wheel() if way == "nvcc" else way)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cuda"


@pytest.mark.parametrize("way", ["nvcc", "nvrtc"])
def test_each_gpu_gets_a_file_and_each_kernel_its_resources(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(way, monkeypatch)
    made = compile_text(TEXT, NAMES)
    assert list(made.files) == ["sm_75.cubin", "sm_90.cubin", "compute_80.ptx"]
    assert made.files["sm_75.cubin"][:4] == made.files["sm_90.cubin"][:4] == b"\x7fELF"
    assert b".target sm_80" in made.files["compute_80.ptx"] and b"dp4a" in made.files["compute_80.ptx"]
    assert b"fma.rn.f32" not in made.files["compute_80.ptx"], "products and sums are rounded each"
    assert made.compiler.startswith(way) and made.notes == ()
    for name in ("sm_75", "sm_90"):
        assert set(made.resources[name]) == {"add_0", "dot_1"}
        assert made.resources[name]["add_0"].shared_bytes >= 512 > made.resources[name]["dot_1"].shared_bytes
        assert all(8 <= each.registers <= 64 and not each.spill_bytes for each in made.resources[name].values())


@pytest.mark.parametrize("way", ["nvcc", "nvrtc"])
def test_a_text_without_kernels(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that only copies."""
    compiler(way, monkeypatch)
    made = compile_text(CUDA_CPP.preamble, ("sm_80", "compute_80"))
    assert made.resources == {"sm_80": {}} and all(made.files.values())


@pytest.mark.parametrize("way", ["nvcc", "nvrtc"])
def test_bytes_depend_on_the_text_alone(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiler(way, monkeypatch)
    files = []
    for place in ("one", "two/and/longer"):
        (tmp_path / place).mkdir(parents=True)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / place))
        files.append(compile_text(TEXT, NAMES[1:]).files)
        shutil.rmtree(cache)
    assert files[0] == files[1]


def test_what_was_made_is_kept(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiler("nvrtc", monkeypatch)
    first = compile_text(TEXT, NAMES[:1])
    (kept,) = cache.iterdir()
    monkeypatch.setattr(nvrtc.Nvrtc, "_made", lambda *_: pytest.fail("compiled again"))
    assert compile_text(TEXT, NAMES[:1]) == first
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(pytest.fail.Exception, match="compiled again"):
        compile_text(TEXT, NAMES[:1])


def test_a_cache_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Kept(tmp_path / "file")
    assert kept.get(["a"], lambda: Made(b"x", "")) == Made(b"x", "")
    (note,) = kept.notes
    assert "set INTARSIA_CACHE" in note


def test_a_cache_forgets_what_was_used_longest_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia_backends.cuda.toolchain.kept._KEPT_FILES", 2)
    kept = Kept(tmp_path)
    for age, part in ((3, "old"), (2, "middle"), (1, "new")):
        before = set(tmp_path.iterdir())
        kept.get([part], lambda part=part: Made(part.encode(), ""))  # type: ignore[misc]
        (added,) = set(tmp_path.iterdir()) - before
        os.utime(added, (1e9 - age, 1e9 - age))
    assert sorted(path.read_bytes().partition(b"\n")[2] for path in tmp_path.iterdir()) == [b"middle", b"new"]


@pytest.mark.parametrize("way", ["nvcc", "nvrtc"])
def test_a_text_that_is_refused_is_reported_in_the_compilers_words(
    way: str, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    compiler(way, monkeypatch)
    with pytest.raises(CompileError, match=r"for compute_80|for sm_80") as caught:
        compile_text(TEXT + "int wrong = nothing;\n", ("sm_80",))
    assert 'identifier "nothing" is undefined' in caught.value.what and "please report" in (caught.value.help or "")
    assert not cache.exists()


def test_a_temporary_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler("nvrtc", monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(CompileError, match="temporary folder") as caught:
        compile_text(TEXT, ("sm_80",))
    assert "TMPDIR" in (caught.value.help or "")


def nothing_installed(monkeypatch: pytest.MonkeyPatch, path: str = "/nowhere") -> None:
    for variable in (VARIABLE, "CUDA_HOME", "CUDA_PATH", "NVCC_CCBIN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", path)


def test_no_compiler_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_installed(monkeypatch)
    monkeypatch.setattr("intarsia_backends.cuda.toolchain.find.package_folders", list)
    monkeypatch.setattr(nvrtc, "_version", lambda name: None)
    with pytest.raises(CompileError) as caught:
        intarsia.compile_model("nowhere.onnx", target="cuda")
    assert "no nvcc on PATH" in caught.value.what and "nvidia-cuda-nvrtc and cuda-bindings" in caught.value.what
    assert "pip install 'intarsia[cuda]'" in (caught.value.help or "")


def test_without_gcc_nvrtc_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel()
    nothing_installed(monkeypatch)
    if not nvrtc.absent():
        assert find_compiler(NAMES).version.startswith("nvrtc 13.")
    monkeypatch.setattr(nvrtc, "absent", lambda: "no NVRTC")
    with pytest.raises(CompileError, match=r"nvcc needs g\+\+ to read headers, and there is none; no NVRTC"):
        find_compiler(NAMES)


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def fake(folder: Path, version: str, codes: str, makes: str = "exit 1") -> str:
    """A program that answers as an nvcc of that version does.

    makes  what it does when it shall compile; its last argument is the file
    """
    script = f"""case $1 in
--version) echo "release x, V{version}";;
--list-gpu-code) echo "{codes}";;
*) for last; do :; done; {makes};;
esac"""
    return program(folder / f"nvcc-{version}", script)


@pytest.mark.parametrize(
    ("makes", "told"),
    [
        ('echo rubbish > "$last"', "no machine code, are what it made"),
        ("printf .version > $last", "without 'add_0'"),
        ("exit 0", "ended well and wrote no file"),
        (r"printf '\377 no such thing'; exit 2", "refuses it: \ufffd no such thing"),
    ],
)
def test_what_is_no_machine_code_is_refused_and_not_kept(
    makes: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """A compiler that is broken must not spoil what a sound one of that version finds in the cache."""
    monkeypatch.setenv(VARIABLE, fake(tmp_path, "13.0.88", "sm_75 sm_80 sm_90", makes))
    with pytest.raises(CompileError, match="CUDA C") as caught:
        compile_text(TEXT, ("compute_80",))
    assert told in caught.value.what
    assert not cache.exists() or not list(cache.iterdir())


def test_an_nvcc_that_tells_nothing_that_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, program(tmp_path / "nvcc", r"printf '\377\376'"))
    with pytest.raises(CompileError, match="does not tell its version"):
        find_compiler(NAMES)


def test_a_host_compiler_that_is_none_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, fake(tmp_path, "13.0.88", "sm_75 sm_80 sm_90"))
    monkeypatch.setenv("NVCC_CCBIN", "/nowhere/g++")
    with pytest.raises(CompileError, match=r"NVCC_CCBIN is '/nowhere/g\+\+', which is no program"):
        find_compiler(NAMES)
    program(tmp_path / "g++", "exit 0")
    monkeypatch.setenv("NVCC_CCBIN", str(tmp_path))
    assert find_compiler(NAMES).version == "nvcc 13.0.88"


def test_flags_of_the_environment_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'test -z "$NVCC_PREPEND_FLAGS" || exit 3; echo "V13.0.88 sm_75 sm_80 sm_90"'
    monkeypatch.setenv(VARIABLE, program(tmp_path / "nvcc", script))
    monkeypatch.setenv("NVCC_PREPEND_FLAGS", "-rubbish")
    assert find_compiler(NAMES).version == "nvcc 13.0.88"


def test_an_nvcc_that_is_too_old_is_passed_over_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake(tmp_path, "12.4.99", "sm_75 sm_80 sm_90")
    monkeypatch.setenv(VARIABLE, old)
    with pytest.raises(CompileError, match=r"nvcc 12.4.99 makes no code for sm_120, compute_120"):
        find_compiler(["sm_80", "sm_120", "compute_120"])
    assert find_compiler(["sm_80"]).version == "nvcc 12.4.99"
    nothing_installed(monkeypatch, str(tmp_path))
    program(tmp_path / "g++", "exit 0")
    monkeypatch.setenv("NVCC_CCBIN", "g++")
    os.rename(old, tmp_path / "nvcc")
    monkeypatch.setattr("intarsia_backends.cuda.toolchain.find.package_folders", list)
    monkeypatch.setattr(nvrtc, "absent", lambda: "")
    monkeypatch.setattr(nvrtc, "_version", lambda name: "13.5.37")
    assert find_compiler(["sm_80"]).version == "nvcc 12.4.99"
    assert find_compiler(["sm_120"]).version == "nvrtc 13.5.37"


@pytest.mark.parametrize("wish", ["/nowhere/nvcc", "/bin/false"])
def test_a_wish_that_is_no_nvcc(wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, wish)
    with pytest.raises(CompileError, match=VARIABLE) as caught:
        find_compiler(NAMES)
    assert wish in caught.value.what and "unset it" in (caught.value.help or "")


def test_nvcc_of_a_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_installed(monkeypatch)
    (tmp_path / "bin").mkdir()
    os.rename(fake(tmp_path, "13.1.2", "sm_75"), tmp_path / "bin" / "nvcc")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert tool("nvcc") == str(tmp_path / "bin" / "nvcc")
