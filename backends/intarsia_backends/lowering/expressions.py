"""What a kernel computes for one element, as trees of small values.

    Input(k)           operand k at the place of the loop
    Gather(k, place)   operand k, `place` elements after the place of the loop
    Accumulator()      the accumulator of a reduction
    Constant(dtype, x) a number
    Cast(dtype, value) a value at another element type
    Apply(name, ...)    a function of `intarsia_backends.lowering.expression_types.FUNCTIONS`

Operators make calls: `Input(0) * Input(1) + Input(2)`, `x < zero`. `==` compares trees; the function is `equal`.
`str` gives short text, in which different trees differ: `max(cast<int32>(in0) - 5, 0)`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn


class Expression:
    """A value that a kernel computes; equal trees are equal, and hash alike."""

    __slots__ = ()

    @property
    def arguments(self) -> tuple[Expression, ...]:
        """What it is computed from."""
        return ()

    def with_arguments(self, arguments: tuple[Expression, ...]) -> Expression:
        """The same of other arguments."""
        assert not arguments
        return self

    def walk(self) -> Iterator[Expression]:
        """The expression and all that it is made of, what is used twice twice: itself first, arguments in order."""
        left = [self]
        while left:
            part = left.pop()
            yield part
            left.extend(reversed(part.arguments))

    @property
    def size(self) -> int:
        """How many parts it has."""
        return sum(1 for _ in self.walk())

    def transformed(self, change: Callable[[Expression], Expression]) -> Expression:
        """`change` of the expression whose arguments were transformed likewise before."""
        arguments = tuple(argument.transformed(change) for argument in self.arguments)
        return change(self.with_arguments(arguments) if arguments else self)

    def substituted(
        self,
        replacements: Mapping[int, Expression],
        simplified: Callable[[Expression], Expression] = lambda expression: expression,
    ) -> Expression:
        """The expression with others in place of its operands; those that are gathered from become other operands.

        simplified  makes the best of every function whose arguments may have changed
        """

        def replaced(part: Expression) -> Expression:
            match part:
                case Input(operand):
                    return replacements[operand]
                case Gather(operand, place):
                    table = replacements[operand]
                    assert isinstance(table, Input), f"operand {operand} of {self} is no value that is still to be made"
                    return Gather(table.operand, place)
                case _:
                    return simplified(part)

        return self.transformed(replaced)

    def shifted(self, by: int) -> Expression:
        """The expression with its operands counted from `by`."""
        return self.substituted({operand: Input(operand + by) for operand in self.operands})

    @property
    def operands(self) -> set[int]:
        """Operands that are read."""
        return {part.operand for part in self.walk() if isinstance(part, (Input, Gather))}

    @property
    def accumulates(self) -> bool:
        """Whether the accumulator is read."""
        return any(isinstance(part, Accumulator) for part in self.walk())

    @property
    def gathers(self) -> bool:
        """Whether elements are read at computed places."""
        return any(isinstance(part, Gather) for part in self.walk())

    def __str__(self) -> str:
        return _printed(self)[0]

    def __bool__(self) -> NoReturn:
        raise TypeError(f"whether {self} holds is known at run time alone: `select` is for that")

    def __add__(self, other: Expression) -> Expression:
        return Apply("add", (self, other))

    def __sub__(self, other: Expression) -> Expression:
        return Apply("sub", (self, other))

    def __mul__(self, other: Expression) -> Expression:
        return Apply("mul", (self, other))

    def __truediv__(self, other: Expression) -> Expression:
        """Of whole numbers the quotient is cut toward zero."""
        return Apply("div", (self, other))

    def __lt__(self, other: Expression) -> Expression:
        return Apply("lt", (self, other))

    def __le__(self, other: Expression) -> Expression:
        return Apply("le", (self, other))

    def __gt__(self, other: Expression) -> Expression:
        return Apply("gt", (self, other))

    def __ge__(self, other: Expression) -> Expression:
        return Apply("ge", (self, other))

    def __and__(self, other: Expression) -> Expression:
        """Of bits; that of bools is `logical_and`."""
        return Apply("bit_and", (self, other))

    def __or__(self, other: Expression) -> Expression:
        """Of bits; that of bools is `logical_or`."""
        return Apply("bit_or", (self, other))

    def __xor__(self, other: Expression) -> Expression:
        return Apply("bit_xor", (self, other))

    def __invert__(self) -> Expression:
        return Apply("bit_not", (self,))

    def __lshift__(self, other: Expression) -> Expression:
        return Apply("shift_left", (self, other))

    def __rshift__(self, other: Expression) -> Expression:
        return Apply("shift_right", (self, other))


@dataclass(frozen=True, slots=True)
class Input(Expression):
    """An operand at the place of the loop."""

    operand: int


@dataclass(frozen=True, slots=True)
class Gather(Expression):
    """An operand some elements after the place of the loop.

    place  int32 or int64: how many
    """

    operand: int
    place: Expression

    @property
    def arguments(self) -> tuple[Expression, ...]:
        return (self.place,)

    def with_arguments(self, arguments: tuple[Expression, ...]) -> Expression:
        (place,) = arguments
        return Gather(self.operand, place)


@dataclass(frozen=True, slots=True)
class Accumulator(Expression):
    """What a reduction has come to, or at its end the result."""


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Expression):
    """A number. 0.0 and -0.0 are two of them; a NaN equals itself.

    value  a float, int or bool, as the type is
    """

    dtype: str
    value: float

    def __post_init__(self) -> None:
        value: float = float(self.value)
        if self.dtype == "bool":
            value = bool(self.value)
        elif not self.dtype.startswith("float"):
            value = int(self.value)
            assert value == self.value, f"{self.value} is no {self.dtype}"
        object.__setattr__(self, "value", value)

    @property
    def _identity(self) -> tuple[str, object]:
        return self.dtype, struct.pack("<d", self.value) if isinstance(self.value, float) else self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


@dataclass(frozen=True, slots=True)
class Cast(Expression):
    """A value as another element type."""

    dtype: str
    value: Expression

    @property
    def arguments(self) -> tuple[Expression, ...]:
        return (self.value,)

    def with_arguments(self, arguments: tuple[Expression, ...]) -> Expression:
        (value,) = arguments
        return Cast(self.dtype, value)


@dataclass(frozen=True, slots=True)
class Apply(Expression):
    """A function, by name, of values."""

    function: str
    arguments: tuple[Expression, ...]

    def with_arguments(self, arguments: tuple[Expression, ...]) -> Expression:
        return Apply(self.function, arguments)


def apply(function: str, *arguments: Expression) -> Expression:
    """A function by its name, for those that no operator or function here stands for."""
    return Apply(function, arguments)


def maximum(a: Expression, b: Expression) -> Expression:
    """The larger; NaN where either is."""
    return apply("max", a, b)


def minimum(a: Expression, b: Expression) -> Expression:
    """The smaller; NaN where either is."""
    return apply("min", a, b)


def select(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """One of two values; both are computed."""
    return apply("select", condition, then, otherwise)


def equal(a: Expression, b: Expression) -> Expression:
    return apply("eq", a, b)


def logical_and(a: Expression, b: Expression) -> Expression:
    return apply("and", a, b)


def logical_or(a: Expression, b: Expression) -> Expression:
    return apply("or", a, b)


def logical_not(a: Expression) -> Expression:
    return apply("not", a)


# ---- text

_INFIX = {
    "lt": ("<", 1),
    "le": ("<=", 1),
    "gt": (">", 1),
    "ge": (">=", 1),
    "eq": ("==", 1),
    "bit_or": ("|", 2),
    "bit_xor": ("^", 3),
    "bit_and": ("&", 4),
    "shift_left": ("<<", 5),
    "shift_right": (">>", 5),
    "add": ("+", 6),
    "sub": ("-", 6),
    "mul": ("*", 7),
    "div": ("/", 7),
}
"""Functions that are written between their arguments, and how tight they bind, as in Python."""

_COMPARISON, _WHOLE = 1, 8
_UNNAMED = ("int32", "float32", "bool")
"""Types that numbers are taken for where no other is written behind them."""


def _printed(expression: Expression) -> tuple[str, int]:
    """Text, and how tight it binds."""
    match expression:
        case Input(operand):
            return f"in{operand}", _WHOLE
        case Gather(operand, place):
            return f"in{operand}[{place}]", _WHOLE
        case Accumulator():
            return "acc", _WHOLE
        case Constant(dtype, value):
            number = str(value).lower()
            return number if dtype in _UNNAMED else f"{number}:{dtype}", _WHOLE
        case Cast(dtype, value):
            return f"cast<{dtype}>({value})", _WHOLE
        case Apply(function, (left, right)) if function in _INFIX:
            sign, bond = _INFIX[function]
            # From left to right, save for comparisons, which do not chain.
            texts = [
                text if own > bond or (own == bond != _COMPARISON and first) else f"({text})"
                for first, (text, own) in ((True, _printed(left)), (False, _printed(right)))
            ]
            return f"{texts[0]} {sign} {texts[1]}", bond
        case Apply(function, arguments):
            return f"{function}({', '.join(map(str, arguments))})", _WHOLE
    raise TypeError(f"{type(expression).__name__} is no kind of expression")
