"""Reading JSON strictly: every fact is checked before it is believed, and a complaint says where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from intarsia.errors import RunError

T = TypeVar("T")


class Entry:
    """One JSON object on its way into a dataclass: fields are taken out by kind, and none may be left over."""

    def __init__(self, data: Any, where: str) -> None:
        self.where = where
        if not isinstance(data, Mapping):
            self.refuse(f"{_show(data)} stands where an object should")
        self.rest = dict(data)

    def refuse(self, what: str) -> NoReturn:
        """Raise the RunError that says what is wrong with the object."""
        raise RunError(
            where=self.where, what=what, help="the artifact was not written by intarsia; compile the model again"
        )

    def take(self, key: str) -> Any:
        """A field that must be there, of any kind."""
        if key not in self.rest:
            self.refuse(f"the entry '{key}' is missing")
        return self.rest.pop(key)

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self.take(key)
        if not isinstance(value, str):
            self.refuse(f"'{key}' is {_show(value)}, not text")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number from low to high that must be there."""
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(f"'{key}' is {_show(value)}, not a whole number from {low} to {high}")
        return value

    def number(self, key: str, default: float, low: float = 0.0, high: float = 1e300) -> float:
        """A number from low to high; the default where it is left out."""
        value = self.rest.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            span = f"from {low:g} to {high:g}" if high < 1e300 else f"that is {low:g} or more"
            self.refuse(f"'{key}' is {_show(value)}, not a number {span}")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or False, which must be there."""
        value = self.take(key)
        if not isinstance(value, bool):
            self.refuse(f"'{key}' is {_show(value)}, not true or false")
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """One of some texts that must be there."""
        value = self.take(key)
        if not isinstance(value, str) or value not in choices:
            self.refuse(f"'{key}' is {_show(value)}, not one of {', '.join(choices)}")
        return value

    def entry(self, key: str) -> Entry:
        """An object that must be there, to be read in turn."""
        return Entry(self.take(key), f"{self.where}, {key}")

    def object(self, key: str) -> dict[str, Any]:
        """An object; an empty one where it is left out."""
        value = self.rest.pop(key, {})
        if not isinstance(value, Mapping):
            self.refuse(f"'{key}' is {_show(value)}, not an object")
        return dict(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts that must be there."""
        values = self.sequence(key)
        for value in values:
            if not isinstance(value, str):
                self.refuse(f"'{key}' holds {_show(value)}, not text")
        return tuple(values)

    def optional_texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; an empty one where it is left out."""
        return self.texts(key) if key in self.rest else ()

    def objects(self, key: str) -> tuple[dict[str, Any], ...]:
        """A list of objects that must be there."""
        values = self.sequence(key)
        for value in values:
            if not isinstance(value, Mapping):
                self.refuse(f"'{key}' holds {_show(value)}, not an object")
        return tuple(dict(value) for value in values)

    def each(self, key: str, make: Callable[[Any, str], T]) -> tuple[T, ...]:
        """A list that must be there, each entry made into something: make(entry, where)."""
        return tuple(make(value, f"{self.where}, {key}[{index}]") for index, value in enumerate(self.sequence(key)))

    def sequence(self, key: str) -> Sequence[Any]:
        """A list of anything that must be there."""
        values = self.take(key)
        if not isinstance(values, (list, tuple)):
            self.refuse(f"'{key}' is {_show(values)}, not a list")
        return values

    def done(self) -> None:
        """Refuse what is left over."""
        if self.rest:
            self.refuse(f"the entry '{sorted(map(str, self.rest))[0]}' is unknown in this format")


def _show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
