"""What all descriptions of kernels have in common: they print in short, and their expressions are checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expression_types import ExpressionError, dtype_of
from intarsia_backends.lowering.expressions import Expression


class Kernel:
    """What an emitter of a target makes a function of: a frozen dataclass. Those of `lowering.kernels` every target
    knows; some targets have more."""

    @property
    def work(self) -> int:
        """Elementary operations, about; 0 where that is not known, or where all must go in order."""
        return 0

    def __str__(self) -> str:
        fields: Any = self
        words = [f"{field.name}={_text(getattr(self, field.name))}" for field in dataclasses.fields(fields)]
        return f"{type(self).__name__}({', '.join(words)})"

    def expect(
        self,
        name: str,
        expression: Expression,
        dtype: str | None = None,
        *,
        reads: Sequence[Access],
        accumulator: str | None = None,
    ) -> str:
        """The element type of an expression of this kernel, which must be `dtype` where one is given.

        name   what the expression is here
        reads  what its operands are

        Raises ExpressionError, which tells of the kernel.
        """
        try:
            found = dtype_of(expression, [access.dtype for access in reads], accumulator)
            if dtype not in (None, found):
                raise ExpressionError(f"it is {found} where {dtype} is wanted")
        except ExpressionError as error:
            raise ExpressionError(f"{name} {expression} of {self}: {error}") from None
        return found


def sum_dtype(products: str) -> str:
    """Element type of sums of products, by what a kernel calls its `products`."""
    return "float32" if products == "float32" else "int32"


def _text(value: object) -> str:
    """Expressions in short, also those in a tuple."""
    if isinstance(value, tuple) and any(isinstance(item, Expression) for item in value):
        return f"({', '.join(map(str, value))})"
    return str(value) if isinstance(value, Expression) else repr(value)
