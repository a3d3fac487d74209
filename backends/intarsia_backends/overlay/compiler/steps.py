"""What a region is lowered to: steps on tensors, each one layer of work for one of the units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from intarsia.dtypes import Array
from intarsia.ir.graph import Value
from intarsia_backends.overlay.compiler.tensors import POINT, Tensor, Window
from intarsia_backends.overlay.machine.isa import VecOperation


@dataclass(frozen=True)
class Scale:
    """Zero points, multipliers, shift and clamp of an element-wise operation, or of a residual addition."""

    zero_point: int = 0
    multiplier: int = 0
    second_zero_point: int = 0
    second_multiplier: int = 0
    shift: int = 1
    output_zero_point: int = 0
    clamp_min: int = -128
    clamp_max: int = 127


@dataclass
class Step:
    """One layer.

    name, op     of the node that it comes from (the first, where several are fused)
    inputs       tensors read; output the tensor made
    macs         multiply-accumulates of the layer, for reports
    """

    name: str
    op: str
    inputs: list[Tensor]
    output: Tensor
    macs: int = 0
    tag: int = 0


@dataclass
class ConvStep(Step):
    """A convolution, matrix product or depthwise convolution, with its epilogue.

    weight        int8 [M, C / group, kernel height, kernel width]
    origin        the constant that the weights are, and what made this array of it
    bias          int32 [M], the input's zero point folded in
    multiplier    int32 [M]
    shift         int32 [M]
    fill          value of padding: the input's zero point
    patch         window of the patch builder (im2col) where the input is an image; `weight` is then [M, K, 1, 1]
    residual      second operand of the fused addition, with its scale
    """

    weight: Array = field(kw_only=True)
    origin: tuple[Value, Callable[[Array], Array]] = field(kw_only=True)
    bias: Array = field(kw_only=True)
    multiplier: Array = field(kw_only=True)
    shift: Array = field(kw_only=True)
    group: int = 1
    window: Window = POINT
    fill: int = 0
    zero_point: int = 0
    clamp_min: int = -128
    clamp_max: int = 127
    depthwise: bool = False
    patch: Window | None = None
    residual: Tensor | None = None
    add: Scale | None = None


@dataclass
class VecStep(Step):
    """An operation of the vector unit, block by block: pooling, addition, product, lookup, change of scale, copy.

    second       second operand, of the output's size or one pixel (then it is repeated)
    shifted      lane at which the input's channel 0 goes, for a copy into the middle of a block
    output_block block of the output at which a copy begins
    """

    operation: VecOperation = field(kw_only=True)
    window: Window = POINT
    fill: int = 0
    scale: Scale | None = None
    second: Tensor | None = None
    table: Array | None = None
    upsample: bool = False
    shifted: int = 0
    output_block: int = 0
