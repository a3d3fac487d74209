"""Passes that put biases, scales and activations into the op that makes the value."""

from __future__ import annotations

from intarsia.passes.base import Pass
from intarsia.passes.fuse.activation import FuseActivation
from intarsia.passes.fuse.activation_forms import CanonicalizeActivation
from intarsia.passes.fuse.affine import FuseBatchNorm, FuseBatchNormForward, FuseQuantizedBias
from intarsia.passes.fuse.attention import CanonicalizeAttention
from intarsia.passes.fuse.batchnorm import CanonicalizeBatchNorm
from intarsia.passes.fuse.dense import MakeDense
from intarsia.passes.fuse.exponentials import CanonicalizeExponential
from intarsia.passes.fuse.global_pool import CanonicalizeGlobalPool
from intarsia.passes.fuse.group_norm import CanonicalizeGroupNorm
from intarsia.passes.fuse.norms import CanonicalizeNorm, FuseNormParameters
from intarsia.passes.simplify.dead_code import EliminateDeadCode


def passes(prequantized: bool, integer: bool = False) -> tuple[Pass, ...]:
    """The order in which they run.

    prequantized  the model has scales of its own
    integer       the graph will be quantized: what has an integer form in another form is said that way
    """
    return (
        CanonicalizeExponential(),
        CanonicalizeActivation(),
        CanonicalizeNorm(),
        FuseNormParameters(),
        CanonicalizeGroupNorm(),
        CanonicalizeGlobalPool(),
        CanonicalizeAttention(),
        MakeDense(),
        *((FuseQuantizedBias(),) if prequantized else ()),
        FuseBatchNorm(),
        FuseBatchNormForward(),
        *((CanonicalizeBatchNorm(),) if integer else ()),
        FuseActivation(),
        EliminateDeadCode(),
    )
