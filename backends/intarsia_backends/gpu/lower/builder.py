"""The builder for GPUs: int8 stays as bytes, channels that lie last fill whole vectors, weights lie along the sum."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Value
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.layouts import images_result
from intarsia_backends.lowering.multiplication import Multiplication
from intarsia_backends.lowering.views import View

_VECTOR_BYTES = 16
"""What a thread reads at once, at most."""

_WORD_BYTES = 4
"""Where all channels fit in so much, they take no more."""


class GpuBuilder(Builder):
    """Hands out memory for values and collects calls while a region is lowered."""

    keeps_int8: ClassVar[bool] = True

    def image_step(self, value: Value) -> int:
        """Channels fill whole vectors where a convolution reads them; a single one stays alone, with its neighbours of
        the row beside it."""
        channels, item_bytes = value.shape[1], np.dtype(value.dtype).itemsize
        if channels == 1 or not self.is_convolved(value):
            return 1
        narrow = channels * item_bytes <= _WORD_BYTES
        return max(1, (_WORD_BYTES if narrow else _VECTOR_BYTES) // item_bytes)

    def makes_images(self, value: Value, beside: bool) -> bool:
        if len(value.shape) != 4 or self.only_leaves(value):
            return False
        return beside or self.is_convolved(value)

    def is_convolved(self, value: Value) -> bool:
        """Whether a convolution reads the value, several channels at once."""
        return any(
            node.op in self.readers and self.readers[node.op].aligned and node.inputs[0] is value
            for node in value.users
        )

    def only_leaves(self, value: Value) -> bool:
        """Whether nothing in the region reads the value, so that it may as well be made in C order at once."""
        return value in self._kept and value.user_count == 0

    def made(self, value: Value) -> View:
        """Fresh memory for a value of four axes that a node makes."""
        if not self.only_leaves(value):
            return images_result(self, value)
        self.result(value)
        return self.view(value)

    def multiply(self, product: Multiplication) -> None:
        """Call a matrix product; constant weights lie along the sum, as the rows of x do."""
        w = product.w
        if not isinstance(w, View):
            pitch = whole_vectors(product.depth, product.x.dtype)
            buffer = self.arranged(w, partial(_turned, pitch=pitch), product.x.dtype)
            still = (0,) * (len(product.extents) - 2)
            product = replace(product, w=View(buffer, product.x.dtype, (*still, 1, pitch)))
        kernel, operands = product.as_nest(self.weight)
        self.call(kernel, operands, product.y.buffer)


def whole_vectors(count: int, dtype: str) -> int:
    """So many numbers, rounded up to what fills whole vectors."""
    step = max(1, _VECTOR_BYTES // np.dtype(dtype).itemsize)
    return -(-count // step) * step


def _turned(weights: Array, pitch: int) -> Array:
    """Weights [depth, columns] as [columns, pitch], zeros behind each column's depth."""
    return np.pad(weights.T, ((0, 0), (0, pitch - len(weights))))
