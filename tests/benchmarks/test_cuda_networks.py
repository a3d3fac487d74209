"""Networks as machine code for NVIDIA's GPUs: what their kernels take, that tensor cores do the products, and how much
more is issued than is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from network_models import NETWORKS

import intarsia
from intarsia.errors import CompileError
from intarsia_backends.cuda.toolchain.find import find_compiler, tool

pytestmark = pytest.mark.slow

PRODUCTS = {"resnet50": 54, "mobilenetv2": 36, "minilm": 36}
"""Convolutions over all channels, and products with weights."""


def report_of(name: str, precision: str, target: str) -> Any:
    """What the compiler says of a network. Calibrated on noise: what is compiled does not depend on it."""
    try:
        find_compiler(["sm_80", "sm_90", "sm_120"])
    except CompileError as error:
        pytest.skip(error.what)
    if tool("nvdisasm") is None:
        pytest.skip("needs nvdisasm")
    model = NETWORKS[name](name)
    shape = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim]
    noise = np.random.default_rng(0).standard_normal((2 * shape[0], *shape[1:])).astype(np.float32)
    calibration = noise if precision == "int8" else None
    return intarsia.compile_model(model, target=target, precision=precision, calibration=calibration).report()


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("precision", ["int8", "float16"])
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_products_are_done_by_tensor_cores_with_room_for_others(name: str, precision: str, arch: str) -> None:
    report = report_of(name, precision, f"cuda{{arch={arch}}}")
    rows = [dict(zip(table.columns, row)) for table in report.tables for row in table.rows]
    assert sum(row["launches"] for row in rows if row["tensor"]) >= PRODUCTS[name]
    assert all(row["occupancy %"] >= 25 for row in rows)
    assert all(row["spilled B"] <= 16 for row in rows), "none in a loop: the target refuses those"


@pytest.mark.parametrize("precision", ["int8", "float16"])
@pytest.mark.parametrize("card", ["a100", "rtx4090"])
def test_little_more_is_issued_than_is_needed(precision: str, card: str) -> None:
    (figures,) = report_of("resnet50", precision, f"cuda{{card={card}}}").figures.values()
    print({key: figures[key] for key in sorted(figures) if "ratio" in key or "_us" in key})
    assert figures["bytes_ratio"] <= 1.3 and figures["operations_ratio"] <= 1.15
    assert "launches_beyond_cache" not in figures
