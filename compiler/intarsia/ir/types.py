"""Types of values: element type and shape, and the scale that an integer stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from intarsia.dtypes import itemsize_bytes

Dimension = int | None
"""A size, or None where it depends on data that is known only at run time."""


@dataclass(frozen=True)
class TensorType:
    """Element type and shape of a value.

    dtype  a name of `intarsia.dtypes`, or "sequence(...)", "optional(...)" for the ONNX types that are not tensors
    shape  sizes, outermost first; None in place of a size, or of the whole shape, where it depends on data
    """

    dtype: str
    shape: tuple[Dimension, ...] | None

    def __post_init__(self) -> None:
        # Shape rules compute with NumPy; its integers are no ints to code generators and JSON.
        if self.shape is not None:
            object.__setattr__(self, "shape", tuple(None if size is None else int(size) for size in self.shape))

    @property
    def is_static(self) -> bool:
        """True when every size is known."""
        return self.shape is not None and None not in self.shape

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of a static type; a programming error for any other."""
        assert self.shape is not None and self.is_static, f"{self} is not static"
        return tuple(size for size in self.shape if size is not None)

    @property
    def rank(self) -> int:
        """Number of dimensions; a programming error where even that is unknown."""
        assert self.shape is not None, f"{self} has no known rank"
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Number of elements of a static type."""
        return math.prod(self.dims)

    @property
    def size_bytes(self) -> int:
        """Bytes that a static value takes in memory."""
        return self.elements * itemsize_bytes(self.dtype)

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[...]"
        return f"{self.dtype}[{','.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True)
class Quantization:
    """What an integer activation stands for: real = (integer - zero_point) * scale."""

    scale: float
    zero_point: int

    def __str__(self) -> str:
        return f"q({self.scale:.9g},{self.zero_point})"


def agree(first: TensorType, second: TensorType) -> bool:
    """Whether two types may be of one value: equal, but for sizes that one of them does not know."""
    if first.dtype != second.dtype:
        return False
    if first.shape is None or second.shape is None:
        return True
    return len(first.shape) == len(second.shape) and all(
        a == b or a is None or b is None for a, b in zip(first.shape, second.shape)
    )
