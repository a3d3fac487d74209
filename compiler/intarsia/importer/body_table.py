"""What is known already of the functions by which ONNX defines ops. Light: asked for before onnx is needed."""

from __future__ import annotations

from collections.abc import Hashable

from intarsia.ir.graph import Graph

Bodies = dict[Hashable, Graph | str]
"""Bodies of functions by kind of node, or why there is none."""
