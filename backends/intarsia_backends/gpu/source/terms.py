"""TIR expressions as text.

Where an expression says where an element stands, whole numbers are plain: they never overflow. Elsewhere they wrap, as
NumPy's do, which C promises for unsigned numbers alone. Floats are spelled in hexadecimal, so that none is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tvm
from tvm import tirx

from intarsia_backends.gpu.source.dialect import MULTIPLY_ADD, Dialect
from intarsia_backends.tir.half import FLOAT_TO_HALF, HALF_TO_FLOAT, float_of_half, half_of_float

FUNCTIONS: Mapping[str, str] = {
    "ceil": "ceil",
    "floor": "floor",
    "nearbyint": "rint",
    "sqrt": "sqrt",
    "exp": "exp",
    "log": "log",
    "log1p": "log1p",
    "pow": "pow",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
    "asinh": "asinh",
    "acosh": "acosh",
    "atanh": "atanh",
    "erf": "erf",
    "fabs": "fabs",
    "fmod": "fmod",
    "fma": "fma",
}
"""By the last part of TVM's name, the C function."""

_EXTERN = {"fmodf": "fmod", "log1pf": "log1p"}
_COMPARISONS = {"LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "EQ": "==", "NE": "!=", "And": "&&", "Or": "||"}
_ARITHMETIC = {"Add": "+", "Sub": "-", "Mul": "*"}
_DIVISIONS = {"Div": "/", "Mod": "%"}
_BITS = {"BitwiseAnd": "&", "BitwiseOr": "|", "BitwiseXor": "^", "RShift": ">>", "LShift": "<<"}
_BITS_WIDE = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}


def dtype_of(term: Any) -> str:
    """The element type of an expression."""
    return str(term.ty.dtype)


class Terms:
    """Prints the expressions of one function.

    names      by variable or buffer, its name in the text
    starts     by buffer that is a parameter, the name of the number of its first element
    scalars    buffers of one element that are plain variables
    halves     parameters that are float32 to the kernel, and float16 in memory
    declare    puts a variable of a type and a value before the statement that is being printed, and gives its name
    used       element types that were spelled
    divides    whether floats were divided
    """

    def __init__(self, dialect: Dialect, declare: Callable[[str, str], str]) -> None:
        self.dialect = dialect
        self.names: dict[Any, str] = {}
        self.starts: dict[Any, str] = {}
        self.scalars: set[Any] = set()
        self.halves: set[Any] = set()
        self.used: set[str] = set()
        self.divides = False
        self._declare = declare

    def type(self, dtype: str) -> str:
        """The name of an element type."""
        self.used.add(dtype)
        return self.dialect.types[dtype]

    def value(self, term: Any) -> str:
        """An element."""
        return self._printed(term, plain=False)

    def place(self, term: Any) -> str:
        """A whole number that counts elements or steps."""
        return self._printed(term, plain=True)

    def element(self, buffer: Any, indices: Any) -> str:
        """An element of a buffer, to be read or written."""
        name = self.names[buffer]
        return name if buffer in self.scalars else f"{name}[{self.index(buffer, indices)}]"

    def index(self, buffer: Any, indices: Any) -> str:
        """Where in the array of its name an element of a buffer stands."""
        (index,) = indices
        place = self.place(index)
        return f"{self.starts[buffer]} + {place}" if buffer in self.starts else place

    def stored(self, buffer: Any, indices: Any, value: Any) -> str:
        """The statement that stores an element."""
        if buffer in self.halves:
            return self.stored_half(buffer, indices, self.value(value))
        if called(value) == FLOAT_TO_HALF and self.dialect.store_half is not None and buffer not in self.scalars:
            return self.stored_half(buffer, indices, self.value(value.args[1]))
        text = self.grown(buffer, indices, value) or self.value(value)
        return f"{self.element(buffer, indices)} = {text};"

    def stored_half(self, buffer: Any, indices: Any, number: str) -> str:
        """The statement that stores a float32 as a float16."""
        if self.dialect.store_half is not None:
            return self.dialect.store_half(memory(buffer), self.names[buffer], self.index(buffer, indices), number)
        convert = self.dialect.functions[FLOAT_TO_HALF, "uint16"]
        return f"{self.element(buffer, indices)} = {convert}({number});"

    def loaded_half(self, buffer: Any, indices: Any) -> str:
        """An element that is a float16 in memory, as a float32."""
        if self.dialect.load_half is not None:
            return self.dialect.load_half(memory(buffer), self.names[buffer], self.index(buffer, indices))
        return f"{self.dialect.functions[HALF_TO_FLOAT, 'float32']}({self.element(buffer, indices)})"

    def grown(self, buffer: Any, indices: Any, value: Any) -> str | None:
        """A float32 sum in a variable that gets one more product; None for any other value that is stored."""
        if dtype_of(value) != "float32" or type(value).__name__ != "Add" or type(value.b).__name__ != "Mul":
            return None
        target = self.element(buffer, indices)
        if buffer in self.starts or type(value.a).__name__ != "TensorLoad" or self.value(value.a) != target:
            return None
        return f"{MULTIPLY_ADD}({self.value(value.b.a)}, {self.value(value.b.b)}, {target})"

    # ---- by kind

    def _printed(self, term: Any, plain: bool) -> str:
        kind = type(term).__name__
        if kind in _COMPARISONS:
            return self._binary(term, _COMPARISONS[kind], plain)
        if kind in _ARITHMETIC:
            return self._arithmetic(term, _ARITHMETIC[kind], plain)
        if kind in _BITS:
            return self._bits(term, _BITS[kind], plain)
        if kind in _DIVISIONS:
            return self._division(term, _DIVISIONS[kind], plain)
        printer: Callable[[Any, bool], str] = getattr(self, f"_{kind.lower()}")
        return printer(term, plain)

    def _binary(self, term: Any, sign: str, plain: bool) -> str:
        return f"({self._printed(term.a, plain)} {sign} {self._printed(term.b, plain)})"

    def _arithmetic(self, term: Any, sign: str, plain: bool) -> str:
        dtype = dtype_of(term)
        if plain or dtype not in _BITS_WIDE:
            return self._binary(term, sign, plain)
        own, unsigned = self.type(dtype), self.type(f"uint{max(32, _BITS_WIDE[dtype])}")
        left, right = (self._printed(part, plain) for part in (term.a, term.b))
        return f"({own})(({unsigned}){left} {sign} ({unsigned}){right})"

    def _bits(self, term: Any, sign: str, plain: bool) -> str:
        dtype = dtype_of(term)
        left, right = (self._printed(part, plain) for part in (term.a, term.b))
        if sign == "<<":
            return f"({self.type(dtype)})(({self.type(f'uint{max(32, _BITS_WIDE[dtype])}')}){left} << {right})"
        text = f"({left} {sign} {right})"
        return text if _BITS_WIDE[dtype] >= 32 else f"({self.type(dtype)}){text}"

    def _division(self, term: Any, sign: str, plain: bool) -> str:
        self.divides = self.divides or "float" in dtype_of(term)
        return self._binary(term, sign, plain)

    def _floordiv(self, term: Any, plain: bool) -> str:
        left, right = (self._printed(part, plain) for part in (term.a, term.b))
        if is_positive(term.a) and is_positive(term.b):
            return f"({left} / {right})"
        return f"({left} / {right} - ({left} % {right} != 0 && ({left} < 0) != ({right} < 0)))"

    def _floormod(self, term: Any, plain: bool) -> str:
        left, right = (self._printed(part, plain) for part in (term.a, term.b))
        if is_positive(term.a) and is_positive(term.b):
            return f"({left} % {right})"
        turned = f"{left} % {right} != 0 && ({left} < 0) != ({right} < 0)"
        return f"({self.type(dtype_of(term))})({left} % {right} + ({turned} ? {right} : 0))"

    def _max(self, term: Any, plain: bool) -> str:
        return self._extreme(term, "max", plain)

    def _min(self, term: Any, plain: bool) -> str:
        return self._extreme(term, "min", plain)

    def _extreme(self, term: Any, name: str, plain: bool) -> str:
        dtype = dtype_of(term)
        left, right = (self._printed(part, plain) for part in (term.a, term.b))
        if "float" in dtype:
            return f"f{name}({left}, {right})"
        own = self.type(dtype)
        return f"{name}(({own}){left}, ({own}){right})"

    def _not(self, term: Any, plain: bool) -> str:
        return f"(!{self._printed(term.a, plain)})"

    def _bitwisenot(self, term: Any, plain: bool) -> str:
        return f"({self.type(dtype_of(term))})(~{self._printed(term.a, plain)})"

    def _select(self, term: Any, plain: bool) -> str:
        parts = (self._printed(part, plain) for part in (term.condition, term.true_value, term.false_value))
        return "({} ? {} : {})".format(*parts)

    def _cast(self, term: Any, plain: bool) -> str:
        return f"({self.type(dtype_of(term))}){self._printed(term.value, plain and 'int' in dtype_of(term.value))}"

    def _let(self, term: Any, plain: bool) -> str:
        self.names[term.var] = self._declare(self.type(dtype_of(term.var)), self._printed(term.value, plain))
        return self._printed(term.body, plain)

    def _tensorload(self, term: Any, plain: bool) -> str:
        if term.source in self.halves:
            return self.loaded_half(term.source, term.indices)
        return self.element(term.source, term.indices)

    def _var(self, term: Any, plain: bool) -> str:
        return self.names[term]

    def _intimm(self, term: Any, plain: bool) -> str:
        dtype, number = dtype_of(term), int(term.value)
        if dtype == "bool":
            return "true" if number else "false"
        if dtype in ("uint32", "uint64"):
            return f"{number % (1 << _BITS_WIDE[dtype])}u" + (self.dialect.long_suffix if dtype == "uint64" else "")
        suffix = self.dialect.long_suffix if dtype == "int64" else ""
        if dtype in ("int32", "int64") and number == -(1 << _BITS_WIDE[dtype] - 1):
            return f"({number + 1}{suffix} - 1)"
        return f"({number}{suffix})" if number < 0 else f"{number}{suffix}"

    def _floatimm(self, term: Any, plain: bool) -> str:
        dtype, number = dtype_of(term), float(term.value)
        if dtype == "float32":
            with np.errstate(over="ignore"):
                number = float(np.float32(number))
        if math.isnan(number):
            return f"({self.type(dtype)})NAN"
        if math.isinf(number):
            return f"(({self.type(dtype)}){'-' if number < 0 else ''}INFINITY)"
        text = number.hex() + ("f" if dtype == "float32" else "")
        return f"({text})" if text.startswith("-") else text

    def _call(self, term: Any, plain: bool) -> str:
        name, arguments = str(term.op.name).rpartition(".")[2], list(term.args)
        if name == "address_of":
            return f"&{self._printed(arguments[0], False)}"
        if name == "reinterpret":
            (argument,) = arguments
            kept = self.dialect.reinterpret.get((dtype_of(argument), dtype_of(term)), "")
            return f"{kept}({self._printed(argument, False)})"
        if name == "call_llvm_pure_intrin":
            name = tvm.target.codegen.llvm_get_intrinsic_name(int(arguments.pop(0).value)).rpartition(".")[2]
        elif name in ("call_extern", "call_pure_extern"):
            name = str(arguments.pop(0).value)
            name = _EXTERN.get(name, name)
        if (name, dtype_of(term)) not in self.dialect.functions and name in (HALF_TO_FLOAT, FLOAT_TO_HALF):
            return self.converted(name, arguments[0], plain)
        if name in ("sqrt", "pow"):
            self.divides = True
        spelled = self.dialect.functions.get((name, dtype_of(term)), FUNCTIONS.get(name, name))
        return f"{spelled}({', '.join(self._printed(argument, False) for argument in arguments)})"

    def converted(self, name: str, argument: Any, plain: bool) -> str:
        """A conversion of or to float16 where the language has none for numbers that are not in memory."""
        in_memory = type(argument).__name__ == "TensorLoad" and argument.source not in self.scalars
        if name == HALF_TO_FLOAT and in_memory:
            return self.loaded_half(argument.source, argument.indices)
        return self._printed(float_of_half(argument) if name == HALF_TO_FLOAT else half_of_float(argument), plain)


def called(term: Any) -> str:
    """The name of the function of ours that a term calls; empty for others."""
    if type(term).__name__ != "Call" or not str(term.op.name).endswith("call_pure_extern"):
        return ""
    return str(term.args[0].value)


def memory(buffer: Any) -> str:
    """Where a buffer lies, in the words of `Dialect`."""
    scope = str(buffer.scope())
    return {"global": "global", "shared": "shared"}.get(scope, "own")


def is_positive(term: Any) -> bool:
    """Whether a whole number is known to be 0 or more: loop indices and constants are, and most of what is made of
    them."""
    match type(term).__name__:
        case "IntImm":
            return int(term.value) >= 0
        case "Var":
            return True  # indices of loops, which start at 0 or above, and places
        case "Add" | "Mul" | "FloorDiv" | "Min":
            return is_positive(term.a) and is_positive(term.b)
        case "FloorMod":
            return is_positive(term.b)
        case "Max":
            return is_positive(term.a) or is_positive(term.b)
    return False


def is_place(term: Any) -> bool:
    """Whether a term says where an element stands."""
    return type(term).__name__ == "Call" and str(term.op.name).endswith("address_of")


def constant_of(term: Any) -> int:
    """The number that an extent is."""
    assert isinstance(term, tirx.IntImm), term
    return int(term.value)
