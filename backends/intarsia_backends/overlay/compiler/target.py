"""The overlay as a target: what it takes, what a layer costs, and the regions it compiles."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from intarsia.artifact import memory
from intarsia.ir.graph import Graph, Node
from intarsia.targets import Blob, Cost, Support, Target
from intarsia_backends.overlay.compiler.compile import compile_region
from intarsia_backends.overlay.compiler.constants import input_blocks_of
from intarsia_backends.overlay.compiler.estimates import conv_layer_cycles, vec_layer_cycles, window_word
from intarsia_backends.overlay.compiler.lowering import conv_window, pool_window, takes_patches
from intarsia_backends.overlay.compiler.rules import check
from intarsia_backends.overlay.compiler.shapes import RESHAPES, planes_of, remembered
from intarsia_backends.overlay.compiler.tensors import POINT, ceil_div
from intarsia_backends.overlay.machine.config import KV260, LANES, PYNQ_Z2, TINY, WORD_BYTES, OverlayConfig
from intarsia_backends.overlay.machine.isa import VecOperation


class OverlayTarget(Target):
    """A board with the overlay, and its CPU for the rest."""

    host = "cpu"
    precisions = ("int8",)

    def __init__(
        self,
        config: OverlayConfig,
        description: str,
        processor: str | None = None,
        memory_bytes: int = 0,
    ) -> None:
        """memory_bytes  DRAM of the board; 0 where there is none"""
        self.config = config
        self.board = _board(memory_bytes) if memory_bytes else None
        self.name = config.name
        self.description = description
        self.processor = processor

    def supports(self, node: Node) -> Support:
        """By shapes and attributes alone; see `intarsia_backends.overlay.compiler.rules`."""
        return check(node, self.config)

    def settled(self) -> AbstractContextManager[None]:
        """Planes are found once for each value: see `shapes.remembered`."""
        return remembered()

    def compile(self, region: Graph) -> Blob:
        """The program of a region, its constants, and a row a layer for reports."""
        return compile_region(region, self.config)

    def cost(self, node: Node) -> Cost:
        """Cycles of the busier of array (or vector unit) and weight traffic, without start-up."""
        return Cost(cycles=_cycles(node, self.config))

    def facts(self) -> Mapping[str, Any]:
        """The configuration, its hash, and what it amounts to."""
        return {
            "config": self.config.to_dict(),
            "config_hash": self.config.hash,
            "macs_per_cycle": self.config.macs_per_cycle,
            "activation_bytes": self.config.activation_bytes,
            "clock_mhz_assumption": self.config.clock_mhz_assumption,
            **({memory.KEY: dict(self.board)} if self.board else {}),
        }


def _cycles(node: Node, config: OverlayConfig) -> int:
    out = planes_of(node.output)
    if out is None or node.op in RESHAPES:
        return 0
    blocks = ceil_div(out.channels, LANES)
    words = blocks * out.pixels
    if node.op not in ("qconv", "qmatmul"):
        if node.op in ("MaxPool", "qaveragepool"):
            return vec_layer_cycles(VecOperation.MAXIMUM, words, pool_window(node).taps)
        return words * (2 if node.op == "qadd" else 1)
    weight = node.input(1).shape
    traffic = int(node.input(1).type.size_bytes / config.dram_bytes_per_cycle)
    if node.op == "qmatmul":
        shape = window_word(POINT, ceil_div(weight[0], LANES), blocks, out.height, out.width)
        return max(conv_layer_cycles(shape, config), traffic)
    group, window = node.attributes.get("group", 1), conv_window(node)
    depthwise = group > 1 and group == weight[0] and weight[1] == 1
    if takes_patches(node, config):
        depth = weight[1] * window.taps
        shape = window_word(POINT, ceil_div(depth, LANES), blocks, out.height, out.width)
        return conv_layer_cycles(shape, config, patches=True)
    blocks_in = 1 if depthwise else input_blocks_of(weight[0], weight[1], group)
    shape = window_word(window, blocks_in, blocks, out.height, out.width)
    return max(conv_layer_cycles(shape, config, depthwise=depthwise), traffic)


_MIB = 1 << 20


def _board(size_bytes: int) -> Mapping[str, int]:
    """Memory of a board with so much DRAM.

    PYNQ's kernel is configured with 128 MiB for the FPGA's buffers (CONFIG_CMA_SIZE_MBYTES in its pynq.cfg), as are the
    device trees of ZynqMP boards; a boot argument changes that. What the system takes is assumed.
    """
    return {"bytes": size_bytes, "contiguous_bytes": 128 * _MIB, "system_bytes": 160 * _MIB}


def pynq_z2() -> OverlayTarget:
    """PYNQ-Z2: xc7z020, 512 MACs a cycle, 16-bit DDR3."""
    description = "PYNQ-Z2 (xc7z020): overlay of 512 int8 MACs a cycle beside two Cortex-A9"
    return OverlayTarget(PYNQ_Z2, description, "cpu-armv7", 512 * _MIB)


def kv260() -> OverlayTarget:
    """Kria KV260: xck26, 1024 MACs a cycle."""
    description = "Kria KV260 (xck26): overlay of 1024 int8 MACs a cycle beside four Cortex-A53"
    return OverlayTarget(KV260, description, "cpu-aarch64", 4096 * _MIB)


def tiny() -> OverlayTarget:
    """No board: small memories, for tests that must see tiling."""
    return OverlayTarget(
        TINY, f"no board: the overlay with {TINY.activation_words * WORD_BYTES // 1024} KiB, for tests"
    )
