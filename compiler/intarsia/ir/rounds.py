"""Rounds of Loop and Scan, as ONNX defines them, for who runs the graph inside: our evaluator, or onnx.reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Entry = Callable[[str, int], int]
"""An entry of one of a Scan's optional lists of ints, 0 where it is not given."""

Stack = Callable[[Sequence[Any], int], Any]
"""What one output was in all rounds, along a new first axis; its index counts the outputs that are stacked."""


def loop(
    step: Callable[[int, Sequence[Any]], tuple[bool, Sequence[Any]]],
    state: Sequence[Any],
    last: int | None,
    go_on: bool,
    stacks: int,
    stack: Stack,
) -> list[Any]:
    """The outputs of a Loop: the last state, then the stacked outputs.

    step    runs a round, by its number and the state: whether another follows, and the results, states first
    last    how many rounds there are at most
    go_on   whether there is a first one
    stacks  how many outputs are stacked
    """
    rounds: list[list[Any]] = [[] for _ in range(stacks)]
    count = 0
    while go_on and (last is None or count < last):
        go_on, results = step(count, state)
        state = _gather(rounds, len(state), results)
        count += 1
    return [*state, *(stack(items, index) for index, items in enumerate(rounds))]


def scanned(sources: Sequence[Any], entry: Entry) -> list[Any]:
    """What a Scan goes through, round by round along the first axis, in the order of the rounds."""
    found = []
    for index, source in enumerate(sources):
        moved = np.moveaxis(source, entry("scan_input_axes", index), 0)
        found.append(moved[::-1] if entry("scan_input_directions", index) else moved)
    return found


def scan(
    step: Callable[[int, Sequence[Any]], Sequence[Any]],
    state: Sequence[Any],
    length: int,
    stacks: int,
    stack: Stack,
    entry: Entry,
) -> list[Any]:
    """The outputs of a Scan: the last state, then the stacked outputs.

    step    runs a round, by its number and the state: the results, states first
    length  how many rounds there are
    stacks  how many outputs are stacked
    """
    rounds: list[list[Any]] = [[] for _ in range(stacks)]
    for count in range(length):
        state = _gather(rounds, len(state), step(count, state))
    found = []
    for index, items in enumerate(rounds):
        made = stack(items, index)
        if entry("scan_output_directions", index):
            made = made[::-1]
        found.append(np.moveaxis(made, 0, entry("scan_output_axes", index)))
    return [*state, *found]


def _gather(rounds: Sequence[list[Any]], states: int, results: Sequence[Any]) -> Sequence[Any]:
    """Put away what a round gave; returns the state behind it."""
    for gathered, result in zip(rounds, results[states:]):
        gathered.append(result)
    return results[:states]
