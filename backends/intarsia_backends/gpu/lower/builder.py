"""The builder for GPUs: int8 stays as bytes, channels that lie last fill whole vectors, weights lie along the sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.lowering.builder import Builder, ImageReader
from intarsia_backends.lowering.layouts import allocated, images_result, wanted_halo
from intarsia_backends.lowering.multiplication import Multiplication
from intarsia_backends.lowering.ops.table import axis_of
from intarsia_backends.lowering.program import Buffer
from intarsia_backends.lowering.views import Halo, Images, View

_VECTOR_BYTES = 16
"""What a thread reads at once, at most."""

FEW = 4
"""So many channels, or fewer, take the room of so many."""


class GpuBuilder(Builder):
    """Hands out memory for values and collects calls while a region is lowered.

    Values that are joined along their channels are made where they stand in the joined one, whose memory is handed out
    when the first of them is made.

    filled  memory in which zeros stand behind so many channels
    """

    keeps_int8: ClassVar[bool] = True
    machine: GpuMachine

    def __init__(self, graph: Graph, machine: GpuMachine, readers: Mapping[str, ImageReader[Any]]) -> None:
        super().__init__(graph, machine, readers)
        self.filled: dict[Buffer, int] = {}
        self._joined: dict[Node, tuple[View, Images]] = {}

    def image_step(self, value: Value) -> int:
        """Channels fill whole vectors where a convolution reads them; a single one stays alone, with its neighbours of
        the row beside it."""
        return self._step(value.shape[1], value.dtype) if self.is_convolved(value) else 1

    def _step(self, channels: int, dtype: str) -> int:
        return 1 if channels == 1 else FEW if channels <= FEW else self.vector(dtype)

    def whole_channels(self, channels: int, dtype: str) -> int:
        """The room that channels take where a convolution reads them."""
        step = self._step(channels, dtype)
        return -(-channels // step) * step

    def vector(self, dtype: str) -> int:
        """How many numbers a thread reads at once, at most."""
        narrowed = dtype == "float32" and self.machine.halves
        return max(1, _VECTOR_BYTES // np.dtype("float16" if narrowed else dtype).itemsize)

    def whole_vectors(self, count: int, dtype: str) -> int:
        """So many numbers, rounded up to what fills whole vectors."""
        step = self.vector(dtype)
        return -(-count // step) * step

    def makes_images(self, value: Value, beside: bool) -> bool:
        if len(value.shape) != 4 or self.only_leaves(value):
            return False
        joint = self._joint(value)
        return beside or self.is_convolved(value) or (joint is not None and self.is_convolved(joint.output))

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

    def made_beside(self, value: Value, source: Value) -> View:
        """Fresh memory for a value, channels last where that suits it or what it is made of."""
        if self.makes_images(value, self.lies_last(source)):
            return images_result(self, value)
        self.result(value)
        return self.view(value)

    def lies_last(self, value: Value) -> bool:
        """Whether a value lies with its channels last."""
        return any(images.channels > 1 for _, images in self.images(value))

    def walk(self, value: Value) -> View:
        view = self.view(value)
        for other, images in self.images(value):
            if images.channels > 1:
                view = other
        return view

    # ---- values that are joined along their channels

    def room(self, value: Value) -> tuple[View, Images] | None:
        joint = self._joint(value)
        return None if joint is None else self.part(joint, joint.inputs.index(value))

    def joined(self, node: Node) -> tuple[View, Images]:
        """The channels-last memory of what a Concat makes."""
        if node not in self._joined:
            room = self.room(node.output)
            if room is None:
                halo, step = self._wanted(node.output)
                allocated(self, node.output, halo, step, None, node.output.dtype)
                room = self.images(node.output)[0]
            else:
                self.place(node.output, *room)
            self._joined[node] = room
        return self._joined[node]

    def part(self, node: Node, index: int) -> tuple[View, Images]:
        """Where an input of a Concat stands in what that makes."""
        view, images = self.joined(node)
        start = _first_channel(node, index)
        return replace(view, offset=view.offset + start), replace(images, channels=node.input(index).shape[1])

    def _joint(self, value: Value) -> Node | None:
        """The Concat in whose memory a value is made. One that is also convolved must begin there as convolutions want
        it."""
        for node in value.users if len(value.shape) == 4 else ():
            if not joins_channels(node) or self.only_leaves(node.output) or node.inputs.count(value) > 1:
                continue
            if _first_channel(node, node.inputs.index(value)) % self.image_step(value) == 0:
                return node
        return None

    def _wanted(self, value: Value) -> tuple[Halo, int]:
        """Halo and step for a value, and for all that is made in its memory."""
        halo, step = wanted_halo(value, self), self.image_step(value)
        node = value.producer
        if node is not None and joins_channels(node):
            for index in range(len(node.inputs)):
                more, further = self._wanted(node.input(index))
                halo, step = halo.joined(more), max(step, further)
        return halo, step

    # ---- products

    def multiply(self, product: Multiplication) -> None:
        """Call a matrix product; constant weights lie along the sum, as the rows of x do."""
        w = product.w
        if not isinstance(w, View):
            pitch = self.whole_vectors(product.depth, product.x.dtype)
            buffer = self.arranged(w, partial(_turned, pitch=pitch), product.x.dtype)
            still = (0,) * (len(product.extents) - 2)
            product = replace(product, w=View(buffer, product.x.dtype, (*still, 1, pitch)))
        kernel, operands = product.as_nest(self.weight)
        self.call(kernel, operands, product.y.buffer)


def joins_channels(node: Node) -> bool:
    """Whether a node is a Concat of images along their channels."""
    if node.op != "Concat" or node.domain or node.output.type.rank != 4 or axis_of(node, 4, 0) != 1:
        return False
    return node.output.dtype in ("float32", "int8") and node.output.type.is_static


def _first_channel(node: Node, index: int) -> int:
    return sum(node.input(before).shape[1] for before in range(index))


def _turned(weights: Array, pitch: int) -> Array:
    """Weights [depth, columns] as [columns, pitch], zeros behind each column's depth."""
    return np.pad(weights.T, ((0, 0), (0, pitch - len(weights))))
