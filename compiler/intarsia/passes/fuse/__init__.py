"""Passes that put biases, scales and activations into the op that makes the value."""

from __future__ import annotations

from intarsia.passes.base import Pass
from intarsia.passes.fuse.activation import FuseActivation
from intarsia.passes.fuse.affine import FuseBatchNorm, FuseBatchNormForward, FuseQuantizedBias
from intarsia.passes.fuse.batchnorm import SpellBatchNorm
from intarsia.passes.fuse.canonicalize import SpellActivation, SpellGlobalPool
from intarsia.passes.fuse.dense import MakeDense
from intarsia.passes.simplify.fold import DropDead

PASSES: tuple[type[Pass], ...] = (
    SpellActivation,
    SpellGlobalPool,
    MakeDense,
    FuseQuantizedBias,
    FuseBatchNorm,
    FuseBatchNormForward,
    SpellBatchNorm,
    FuseActivation,
)


def passes(prequantized: bool, integer: bool = False) -> tuple[Pass, ...]:
    """The order in which they run.

    prequantized  the model has scales of its own
    integer       the graph will be quantized: what has an integer form in another spelling is said that way
    """
    return (
        SpellActivation(),
        SpellGlobalPool(),
        MakeDense(),
        *((FuseQuantizedBias(),) if prequantized else ()),
        FuseBatchNorm(),
        FuseBatchNormForward(),
        *((SpellBatchNorm(),) if integer else ()),
        FuseActivation(),
        DropDead(),
    )
