"""How often a classifier is right, on samples whose classes are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.cli.inputs import read_arrays
from intarsia.cli.ranking import scored_output
from intarsia.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from intarsia.artifact import Artifact
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

    scores   [N, classes, 1...]
    classes  int64 [N]

    Raises RunError where there are not as many samples as classes, or a class is none of the scores.
    """
    import numpy as np

    rows = np.asarray(scores)
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


class Scoring:
    """How often an artifact is right, and the model that it was made of, on labelled samples.

    Made before there is any work: raises CompileError or RunError where labels and samples do not fit each other.
    """

    def __init__(self, labels: Path, model: str, options: Mapping[str, Any]) -> None:
        """
        labels   classes of the calibration data; or a .npz that holds inputs too
        options  of `compile_model`
        """
        from intarsia.driver import lower
        from intarsia.images.presets import preprocess_of
        from intarsia.passes.calibration import Ranges, measured_before
        from intarsia.passes.quantize import read_samples
        from intarsia.runtime.arguments import TensorInfo

        self.classes = read_classes(labels)
        kept = ("target", "precision", "batch", "dimensions", "shapes", "limits", "preprocess")
        self.options = {name: options[name] for name in kept}
        graph = lower(model, **self.options, until="imported").graph
        infos = [TensorInfo(value.name, value.dtype, value.type.shape) for value in graph.outputs]
        self.model, self.output = model, scored_output(infos, None, "--labels")
        source = labels if labels.suffix == ".npz" and len(read_arrays(labels)) > 1 else options["calibration"]
        if source is None or isinstance(measured_before(source), Ranges):
            raise RunError(
                where=f"--labels {labels}",
                what="there are no samples that have these classes",
                help="give --calibration DATA, or a .npz that holds inputs beside their classes",
            )
        images = options["images"]
        if options["preprocess"] is not None:
            images = preprocess_of(options["preprocess"]).reading
        self.samples = read_samples(graph, source, images if source is options["calibration"] else None)
        rows = self.samples.total * options["batch"]
        if self.samples.total and not rows - options["batch"] < len(self.classes) <= rows:
            raise RunError(
                where=f"--labels {labels}",
                what=f"there are {len(self.classes)} labels, and {rows} samples",
                help="give one for each sample, in their order",
            )

    def of(self, artifact: Artifact, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
        """{"samples": how many, "artifact": the part in which it is right, 0 to 1, "model": the same of the model}."""
        from intarsia.driver import lower
        from intarsia.ir.evaluate import evaluate
        from intarsia.runtime.session import load

        graph = lower(self.model, **self.options, until="fused").graph
        found: list[Array] = []
        exact: list[Array] = []
        with load(artifact) as session:
            place = [info.name for info in session.outputs].index(self.output)
            for number, sample in enumerate(self.samples):
                progress("counting what is right", number, self.samples.total)
                found.append(session.execute(sample).outputs[place])
                exact.append(evaluate(graph, sample)[place])
        count = len(self.classes)
        rights = (share_right([row for rows in part for row in rows][:count], self.classes) for part in (found, exact))
        return {"samples": count, **dict(zip(("artifact", "model"), rights))}
