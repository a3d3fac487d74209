"""What lowering asks of the machine that code is made for."""

from __future__ import annotations

from typing import Protocol


class Machine(Protocol):
    """A kind of processor, as far as calls of kernels depend on it."""

    @property
    def lanes(self) -> int:
        """float32 numbers in a vector, to which channels that lie last are rounded up; 1 where there are no vectors."""
        ...

    @property
    def fuses_multiply_add(self) -> bool:
        """Whether float32 products are added to a sum without being rounded before, by what makes the code too."""
        ...

    @property
    def wide_products(self) -> str:
        """Numbers in which products of 53 bits are exact: "float64", or "int64" where those are missing or slow."""
        ...
