"""Where OpenCL keeps what it compiled: nowhere else than in a temporary folder, so that each run compiles."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PoCL's cache, before it is first asked for anything."""
    before = os.environ.get("POCL_CACHE_DIR")
    os.environ["POCL_CACHE_DIR"] = str(tmp_path_factory.mktemp("pocl"))
    yield
    if before is None:
        del os.environ["POCL_CACHE_DIR"]
    else:
        os.environ["POCL_CACHE_DIR"] = before
