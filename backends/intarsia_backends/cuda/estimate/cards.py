"""What NVIDIA publishes of its cards. Peaks are without sparsity; float16 is multiplied with float32 sums, and float32
without tensor cores, which would round it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A card.

    capability       compute capability: 80 is 8.0
    bandwidth        bytes a second of its memory
    peaks            by element type of what is multiplied, multiplications and additions a second
    cache_bytes      of the level 2 cache, which all multiprocessors share
    multiprocessors  how many there are
    source           where the figures stand
    """

    title: str
    capability: int
    bandwidth: float
    peaks: Mapping[str, float]
    cache_bytes: int
    multiprocessors: int
    source: str


def _peaks(float32: float, float16: float, int8: float) -> Mapping[str, float]:
    """From units of 10**12."""
    return {"float32": float32 * 1e12, "float16": float16 * 1e12, "int8": int8 * 1e12}


_MIB = 1 << 20
_TURING = "NVIDIA Turing GPU architecture whitepaper; T4 datasheet"
_A100 = "NVIDIA A100 Tensor Core GPU architecture whitepaper; A100 datasheet"
_GA10X = "NVIDIA Ampere GA102 GPU architecture whitepaper"
_ADA = "NVIDIA Ada GPU architecture whitepaper"
_HOPPER = "NVIDIA H100 Tensor Core GPU architecture whitepaper; H100 datasheet (SXM)"
_BLACKWELL = "NVIDIA RTX Blackwell GPU architecture whitepaper"

CARDS: Mapping[str, Card] = {
    "t4": Card("T4", 75, 320e9, _peaks(8.1, 65, 130), 4 * _MIB, 40, _TURING),
    "a100": Card("A100 40GB", 80, 1555e9, _peaks(19.5, 312, 624), 40 * _MIB, 108, _A100),
    "a10": Card("A10", 86, 600e9, _peaks(31.2, 125, 250), 6 * _MIB, 72, "NVIDIA A10 datasheet"),
    "rtx3090": Card("GeForce RTX 3090", 86, 936e9, _peaks(35.6, 71, 284), 6 * _MIB, 82, _GA10X),
    # 28 multiprocessors at 1.777 GHz, by what the paper says that one multiplies in a clock.
    "rtx3060": Card("GeForce RTX 3060", 86, 360e9, _peaks(12.7, 25.5, 101.9), 3 * _MIB, 28, _GA10X),
    "l4": Card("L4", 89, 300e9, _peaks(30.3, 121, 242), 48 * _MIB, 58, "NVIDIA L4 datasheet"),
    "rtx4090": Card("GeForce RTX 4090", 89, 1008e9, _peaks(82.6, 165.2, 660.6), 72 * _MIB, 128, _ADA),
    "h100": Card("H100 SXM", 90, 3350e9, _peaks(66.9, 989.4, 1978.9), 50 * _MIB, 132, _HOPPER),
    "rtx5090": Card("GeForce RTX 5090", 120, 1792e9, _peaks(104.8, 209.5, 838), 96 * _MIB, 170, _BLACKWELL),
}
