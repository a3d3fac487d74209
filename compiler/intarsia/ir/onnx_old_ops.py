"""Old forms of ops that onnx.reference does not have. Only nodes inside of branches and bodies come here: all others
are brought to a newer form by the importer."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_scatter_elements import ScatterElements

from intarsia.dtypes import Array


class DequantizeLinear(OpRun):  # type: ignore[misc]  # onnx has no types
    """Opsets 10 to 18: (x - zero_point) * scale in float32, one scale or one for each slice of an axis."""

    def _run(
        self, x: Array, scale: Array, zero_point: Array | None = None, axis: int = 1, **later: object
    ) -> tuple[Array]:
        shape = [1] * x.ndim
        if scale.ndim and scale.size > 1:
            shape[axis] = -1
        centred = x.astype(np.int64)
        if zero_point is not None:
            centred = centred - zero_point.astype(np.int64).reshape(shape)
        return ((centred.astype(np.float32) * scale.reshape(shape)).astype(np.float32),)


class Scatter(OpRun):  # type: ignore[misc]  # onnx has no types
    """Opset 9: what is called ScatterElements now."""

    def _run(self, data: Array, indices: Array, updates: Array, axis: int = 0) -> Any:
        return ScatterElements._run(self, data, indices, updates, axis=axis)
