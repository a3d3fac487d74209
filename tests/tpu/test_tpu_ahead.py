"""Compilation for TPUs that are not here: its limits, and what comes of each way it can end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from intarsia.errors import CompileError
from intarsia_backends.tpu import ahead
from intarsia_backends.tpu.ahead import Limits, compile_ahead
from intarsia_backends.tpu.ahead_worker import TOPOLOGIES, convolutions, estimated_cycles, whole_estimate
from intarsia_backends.tpu.target import GENERATIONS

LIMITS = Limits(1 << 33, 30)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_WORKER", "fake_worker")
    monkeypatch.setattr(ahead, "installed", lambda package: "0.0.52")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def test_figures_come_from_a_process_of_its_own(fake: None) -> None:
    figures, why_not = compile_ahead(b"", "v5e", LIMITS, "region '0_tpu'")
    assert (figures, why_not) == ({"operations": 12, "generation": "v5e", "quiet": "cpu"}, "")


def test_every_end_is_told(fake: None, golden: Callable[[str], None]) -> None:
    told = []
    for wish in ("abort", "memory", "status", "unable"):
        figures, why_not = compile_ahead(wish.encode(), "v5e", LIMITS, "region '0_tpu'")
        assert figures == {}
        told.append(why_not)
    with pytest.raises(CompileError) as caught:
        compile_ahead(b"refused", "v6e", LIMITS, "region '0_tpu'")
    golden("\n".join([*told, str(caught.value)]) + "\n")


def test_a_compilation_that_takes_too_long_is_ended(fake: None) -> None:
    started = time.monotonic()
    figures, why_not = compile_ahead(b"sleep", "v4", Limits(1 << 33, 2), "region '0_tpu'")
    assert figures == {} and time.monotonic() - started < 30
    assert why_not == "not compiled ahead of time for v4: it took longer than 2 s; ahead_seconds gives it more"


def test_convolutions_are_counted_by_their_types() -> None:
    text = """
  %fusion.30 = s8[1,1,10,10]{1,0,3,2:T(4,128)(4,1)} fusion(%param_1.187), kind=kLoop, calls=%f
  %fusion.69 = s8[16,1,3,3]{0,1,3,2:T(4,128)(4,1)} fusion(%param_0.174), kind=kLoop, calls=%g
  %convolution.24 = s32[1,16,8,8]{1,0,3,2:T(1,128)} convolution(%fusion.30, %fusion.69), window={size=3x3}
  %p = bf16[8,8]{1,0} parameter(0)
  ROOT %convolution.1 = f32[8,8]{1,0:T(1,128)S(1)} convolution(%p, %p), dim_labels=bf_io->bf
  %add.1 = s32[4]{0} add(%x, %y)
"""
    assert convolutions(text) == {"bf16 to f32": 1, "s8 to s32": 1}


def test_estimates() -> None:
    """Seconds as XLA 0.10.2 sums them up for EfficientNet-Lite0, and cycles of the fusions of the entry alone."""
    assert whole_estimate(2.5e-6) == (2.5e-6, 0)
    seconds, unknown = whole_estimate(-138.99978637695312)
    assert unknown == 139 and seconds == pytest.approx(2.136e-4, rel=1e-3)
    text = """
%inner { x = s8[1] fusion(), backend_config={"window_config":{"estimated_cycles":"7"}} }
ENTRY %main {
  a = s8[1] fusion(), backend_config={"window_config":{"estimated_cycles":"1840","iteration_bounds":["1"]}}
  b = s8[1] copy()
  c = s8[1] fusion(), backend_config={"window_config":{"estimated_cycles":"160"}}
"""
    assert estimated_cycles(text) == 2000


def test_every_generation_has_a_topology() -> None:
    assert set(GENERATIONS) == set(TOPOLOGIES)
