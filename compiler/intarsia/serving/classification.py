"""Outputs as their highest elements, which is Triton's extension `classification`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.serving.refusal import invalid, quoted
from intarsia.serving.tensors import ServedTensor


def classes_of(tensor: ServedTensor, value: object) -> int:
    """How many classes of an output its parameter asks for; 0 for the output itself."""
    if value is None or value == 0:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid(f"output '{tensor.name}': classification is {quoted(value)}, it is how many classes are wanted")
    if tensor.dtype in ("string", "bool"):
        raise invalid(f"output '{tensor.name}': elements of {tensor.datatype} have no order")
    return value


def classified(
    tensors: Sequence[ServedTensor], outputs: Sequence[Array], classes: Mapping[str, int]
) -> tuple[list[ServedTensor], list[Array]]:
    """The outputs, and for those with a number of classes so many texts "value:index", the highest first.

    Where clients choose the number of rows each row has its own; else the output is one row.
    """
    named: list[ServedTensor] = []
    found: list[Array] = []
    for tensor, array in zip(tensors, outputs):
        count = classes.get(tensor.name, 0)
        if not count:
            named.append(tensor)
            found.append(array)
            continue
        batched = bool(tensor.shape) and tensor.shape is not None and tensor.shape[0] is None
        rows = array.reshape(array.shape[0] if batched else 1, -1)
        texts: Array = np.array([_texts(row, count) for row in rows], object)
        named.append(ServedTensor(tensor.name, "string", None))
        found.append(texts if batched else texts[0])
    return named, found


def _texts(row: Array, count: int) -> list[str]:
    # The first of equal elements first: both turns of the order keep it.
    order = np.argsort(row[::-1], kind="stable")[::-1][:count]
    indices = len(row) - 1 - order
    return [f"{_number(row[index])}:{index}" for index in indices]


def _number(value: np.generic) -> str:
    return f"{float(value):f}" if value.dtype.kind not in "iu" else str(int(value))
