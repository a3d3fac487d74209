"""How often a classifier is right, on samples whose classes are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.cli.inputs import read_arrays
from intarsia.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from intarsia.dtypes import Array

_KEYS = ("y", "labels", "label", "targets")


def read_classes(path: Path) -> Array:
    """The class of every sample, as int64 [N]: of a .npy, of a .npz (its only array, or `y` or `labels`), or of a text
    with a number on every line. RunError for anything else."""
    import numpy as np

    where = f"--labels {path}"
    help = "give the number of each sample's class: a .npy, a .npz with an array 'y', or a text with one on every line"
    if path.suffix in (".npy", ".npz"):
        arrays = read_arrays(path)
        key = next((key for key in _KEYS if key in arrays), next(iter(arrays), "") if len(arrays) == 1 else None)
        if key is None:
            raise RunError(where=where, what=f"it holds {', '.join(map(repr, arrays))}, and no 'y'", help=help)
        found = arrays[key]
    else:
        try:
            found = np.array([int(line) for line in path.read_text("utf-8-sig").split()], np.int64)
        except FileNotFoundError:
            raise RunError(where=where, what="there is no such file", help="check the path") from None
        except OSError as error:
            what = f"it cannot be read: {error.strerror or error}"
            raise RunError(where=where, what=what, help="check the path and its permissions") from None
        except (ValueError, OverflowError):
            raise RunError(where=where, what="it is no text of whole numbers", help=help) from None
    found = found.reshape(len(found)) if found.ndim and found.size == len(found) else found
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise RunError(
            where=where, what=f"it holds {found.dtype}{list(found.shape)}, no class for each sample", help=help
        )
    return np.asarray(found, np.int64)


def share_right(scores: Array | Sequence[Array], classes: Array, where: str = "--labels") -> float:
    """The part of the samples, 0 to 1, whose best score is that of their class.

    scores   [N, classes, 1...], or rows of them
    classes  int64 [N]

    Raises RunError where there are not as many samples as classes, or a class is none of the scores.
    """
    import numpy as np

    rows = np.concatenate(list(scores)) if not isinstance(scores, np.ndarray) else scores
    rows = rows.reshape(len(rows), -1)
    if len(rows) != len(classes):
        what = f"there are {len(classes)} labels, and {len(rows)} samples"
        raise RunError(where=where, what=what, help="give one for each sample, in their order")
    if classes.min() < 0 or classes.max() >= rows.shape[1]:
        raise RunError(
            where=where,
            what=f"there are classes from {classes.min()} to {classes.max()}, and the model scores {rows.shape[1]}",
            help="count classes from 0, in the order of the model's scores",
        )
    return float(np.mean(rows.argmax(axis=1) == classes))
