"""The frame around every kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T


def function(body: Callable[[], None]) -> Any:
    """A PrimFunc whose parameters and statements `body` makes; its buffers never overlap."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("kernel")
        T.func_attr({"tirx.noalias": True})
        body()
    return builder.get()


def parameter(name: str, elements: int, dtype: str) -> Any:
    """A buffer that the kernel is called with."""
    return T.arg(name, T.buffer((elements,), dtype))
