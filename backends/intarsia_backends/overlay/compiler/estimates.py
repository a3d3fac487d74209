"""Rough times of whole layers, while there are no words yet: for `explain`, and to choose what runs together.

What the array takes for one word stands in the instruction set (`isa.estimate_conv_cycles`); here it is asked about a
layer as if one word could hold it. The vector unit is counted in words of its windows alone: bandwidth binds it, not
the four cycles that a scaled word takes.
"""

from __future__ import annotations

from intarsia_backends.overlay.compiler.tensors import Window
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa import WINDOWED, ConvWindow, VecOperation, estimate_conv_cycles


def window_word(window: Window, blocks_in: int, blocks_out: int, rows: int, columns: int) -> ConvWindow:
    """The word of a Conv that says how much it computes."""
    return ConvWindow(
        kernel_height=window.kernel[0],
        kernel_width=window.kernel[1],
        stride_y=window.strides[0],
        stride_x=window.strides[1],
        dilation_y=window.dilations[0],
        dilation_x=window.dilations[1],
        input_blocks=blocks_in,
        output_blocks=blocks_out,
        rows=rows,
        columns=columns,
    )


def conv_layer_cycles(
    shape: ConvWindow, config: OverlayConfig, *, depthwise: bool = False, patches: bool = False
) -> int:
    """Cycles of the array for a whole layer; with patches, of LoadPatch where that is slower: a word a cycle."""
    cycles = estimate_conv_cycles(shape, config, depthwise=depthwise)
    return max(cycles, shape.rows * shape.columns * shape.input_blocks) if patches else cycles


def vec_layer_cycles(operation: VecOperation, words: int, taps: int) -> int:
    """Words that the vector unit reads for a layer of so many output words, one a cycle."""
    return words * taps if operation in WINDOWED else words
