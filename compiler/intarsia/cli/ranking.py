"""The best classes of every image, for `intarsia run --top`, by number and by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.cli.output import show, write, write_table
from intarsia.cli.tables import Column
from intarsia.errors import RunError

if TYPE_CHECKING:
    from intarsia.dtypes import Array
    from intarsia.runtime.arguments import TensorInfo


def read_labels(path: Path) -> list[str]:
    """Names of classes, one a line, the first that of class 0. RunError for what is no text."""
    where = f"--labels {path}"
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise RunError(where=where, what="there is no such file", help="check the path") from None
    except OSError as error:
        what = f"it cannot be read: {error.strerror or error}"
        raise RunError(where=where, what=what, help="check the path and its permissions") from None
    except ValueError:
        raise RunError(
            where=where, what="it is no text in UTF-8", help="give a text with the name of a class on every line"
        ) from None
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.strip() for line in lines]


def scored_output(infos: Sequence[TensorInfo], labels: Sequence[str] | None, option: str = "--top") -> str:
    """The name of the output that holds scores, [N, classes] or with further axes of size 1 behind.

    Looked at before a run: raises RunError where there is none such, and where labels are more or fewer than classes.
    """
    found = [info for info in infos if _classes(info) is not None]
    fitting = [info for info in found if labels is None or _classes(info) in (0, len(labels))]
    if not found:
        outputs = ", ".join(map(str, infos))
        what = f"no output has a row of scores for each image: {outputs}"
        raise RunError(where=option, what=what, help="it is for classifiers; leave it out, and see -o for all numbers")
    if not fitting:
        raise RunError(
            where="--labels",
            what=f"there are {len(labels or ())} labels, and the output is {', '.join(map(str, found))}",
            help="give a text with a line for each class, in their order, and nothing else",
        )
    return fitting[0].name


def _classes(info: TensorInfo) -> int | None:
    """How many classes an output scores, 0 where that is known when it has run; None where it holds no scores."""
    if info.shape is None or len(info.shape) < 2 or info.dtype in ("string", "bool") or not info.is_tensor:
        return None
    return (info.shape[1] or 0) if all(size == 1 for size in info.shape[2:]) else None


def ranked(scores: Array, top: int, labels: Sequence[str] | None) -> list[list[dict[str, Any]]]:
    """For every image the best classes, best first; of equal scores the lower class, and NaN behind all numbers.

    scores  [N, classes, 1...]
    returns for every image, dictionaries with class, label (None without labels) and score
    """
    import numpy as np

    rows = scores.reshape(len(scores), -1) if scores.size else scores.reshape(len(scores), 0)
    numbers = rows.astype(np.float64)
    order = np.lexsort((-numbers, np.isnan(numbers)), axis=-1)[:, :top]
    return [
        [
            {"class": int(index), "label": labels[index] if labels else None, "score": row[index].item()}
            for index in best
        ]
        for row, best in zip(rows, order)
    ]


def write_ranking(images: Sequence[Sequence[Mapping[str, Any]]], files: Sequence[str] = ()) -> None:
    """A table with a row for every image and place. files: those that the images come from, one for each, or none."""
    called = files if len(files) == len(images) else [str(number) for number in range(len(images))]
    rows = [
        [name if place == 0 else "", found["class"], found["label"], show(found["score"])]
        for name, best in zip(called, images)
        for place, found in enumerate(best)
    ]
    named = any(found["label"] is not None for best in images for found in best)
    first = Column("image", names=True) if files else Column("image", True)
    columns = [first, Column("class", True), Column("label", names=True), Column("score", True)]
    if not named:
        columns, rows = [columns[0], columns[1], columns[3]], [[row[0], row[1], row[3]] for row in rows]
    write_table(columns, rows)
    write()
