"""What is known of a convolution of images when its kernel is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.dtypes import Array
from intarsia.ir.graph import Value
from intarsia_backends.cpu.lower.builder import CpuBuilder
from intarsia_backends.cpu.lower.tiles import products_for
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Expression
from intarsia_backends.lowering.fusion import stored
from intarsia_backends.lowering.layouts import channels_last, images_result
from intarsia_backends.lowering.ops.geometry import Window, first_tap
from intarsia_backends.lowering.program import Operand
from intarsia_backends.lowering.views import Halo, Images, View

Placed = tuple[Operand, Images, View, Expression]
"""The first tap of the input, how the input lies, where the output goes, and its element as stored there."""


@dataclass(frozen=True)
class Convolution:
    """A convolution of images whose kernel is to be called.

    source      what is convolved
    weights     [groups, outputs, channels, height, width] of float32 or int8
    bias        [groups, outputs]
    zero        what the input is stored without; None for float32
    value       what is made
    expression  its element, over `Accumulator()` and `Input(k)`
    views       the operands of the expression
    """

    source: Value
    window: Window
    weights: Array
    bias: Array
    zero: int | None
    value: Value
    expression: Expression
    views: Sequence[View]

    def products(self, machine: Machine) -> str:
        """How the machine multiplies, as a kernel's `products`; four bytes at a time only where sums are direct."""
        return "float32" if self.zero is None else products_for(machine)

    def placed(self, builder: CpuBuilder, halo: Halo, step: int, *, as_bytes: bool = False) -> Placed:
        """Where everything lies.

        halo, step, as_bytes  as in `channels_last`
        """
        x, images = channels_last(builder, self.source, halo, step, self.zero, as_bytes=as_bytes)
        target = images_result(builder, self.value, as_bytes=True)
        return x.at(first_tap(images, self.window)), images, target, stored(self.expression, target)

    @property
    def accesses(self) -> tuple[Access, ...]:
        """The walks of the expression's operands from their first elements on."""
        return tuple(Access(view.dtype, view.strides) for view in self.views)
