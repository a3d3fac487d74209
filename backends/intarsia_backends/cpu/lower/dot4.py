"""Sums of four products at a time, where an instruction of VNNI makes them: uint8 times int8, added to an int32.

An int8 is stored as a uint8, 128 more, and the bias makes that good: the sum of (x - zero) * w over all steps is that
of (x + 128) * w, less (128 + zero) times the sum of the weights.
"""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering.layouts import BYTE_ZERO

OFFSET = -BYTE_ZERO
"""What is added to an int8 where it is stored as a uint8."""

_LARGEST = 255


def takes_dot4(machine: Machine, weights: Array, bias: Array) -> bool:
    """Whether the machine has the instruction, and no part of a sum with the larger numbers leaves an int32.

    weights  int8 [outputs, ...]; bias int32 [outputs]
    """
    if not machine.adds_products:
        return False
    sums = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1)
    # Once for the products, once for what the bias takes off.
    return bool((2 * _LARGEST * sums + np.abs(bias.astype(np.int64).reshape(-1)) < 1 << 31).all())


def dot4_bias(weights: Array, bias: Array, zero: int) -> Array:
    """The bias, int32 [outputs], with what the stored numbers are too large by.

    zero  the input's zero point
    """
    sums = weights.astype(np.int64).reshape(len(weights), -1).sum(axis=1)
    return np.asarray(bias.astype(np.int64).reshape(-1) - (OFFSET + zero) * sums).astype(np.int32)
