"""An artifact that is served: its session, its tensors as clients see them, and its batcher."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.artifact.manifest import MANIFEST_NAME
from intarsia.artifact.signatures import TrustedKeys
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.session import Session, load
from intarsia.runtime.vectors import read_vectors, verify_vectors
from intarsia.serving.batcher import Batcher
from intarsia.serving.metrics import Metrics
from intarsia.serving.pace import Pace, measure
from intarsia.serving.refusal import invalid
from intarsia.serving.tensors import served

PLATFORM = "intarsia"
VERSION = "1"
"""Of every model: an artifact has no number of its own."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class Options:
    """How models are loaded and run.

    device        as of `intarsia.load`; so are native and trusted_keys
    threads       of the CPU, for one run
    workers       runs at a time; None for one for every processor that the process may use
    most_rows     rows of requests that are run together; None for what measurements say
    most_queued   requests to one model that may wait
    verify        whether an artifact must give its own test vectors before it is served
    """

    device: str | None = None
    native: bool = True
    trusted_keys: TrustedKeys | None = None
    threads: int = 1
    workers: int | None = None
    most_rows: int | None = None
    most_queued: int = 256
    verify: bool = True


class ServedModel:
    """One artifact, ready to answer. Its session is its own, and closed with it.

    batched  whether clients may send any number of rows, which may then run beside those of others. It is for models
             that were compiled for a batch of 1, whose rows keep their bytes in any company; others take what they were
             compiled for, and every request runs alone
    """

    def __init__(self, name: str, session: Session, options: Options, metrics: Metrics) -> None:
        self.name, self.version = name, VERSION
        self.session = session
        self.batched = is_batched(session)
        self.inputs = tuple(served(info, self.batched) for info in session.inputs)
        self.outputs = tuple(served(info, self.batched) for info in session.outputs)
        if options.verify:
            _verify(name, session)
        pace = self._pace(options.most_rows)
        self.batcher = Batcher(
            self._run,
            workers=options.workers or _processors(),
            most_rows=pace.most_rows,
            most_queued=options.most_queued,
            row_seconds=pace.row_seconds,
            watch=metrics.of_model(name, self.version),
        )
        metrics.watch_queue(name, self.version, lambda: self.batcher.queued)

    def rows(self, arrays: Sequence[Array]) -> int:
        """How many rows a request has; a Refusal where its inputs differ in that, or have none."""
        if not self.batched:
            return 1
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1:
            raise invalid(f"the inputs hold different numbers of rows: {', '.join(map(str, sorted(lengths)))}")
        (rows,) = lengths
        if not rows:
            raise invalid("the inputs hold no rows")
        return rows

    @property
    def metadata(self) -> dict[str, Any]:
        """As the protocol describes a model."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": PLATFORM,
            "inputs": [{"name": item.name, "datatype": item.datatype, "shape": item.sizes} for item in self.inputs],
            "outputs": [{"name": item.name, "datatype": item.datatype, "shape": item.sizes} for item in self.outputs],
        }

    @property
    def config(self) -> dict[str, Any]:
        """As Triton's extension describes a model: sizes hold the batch axis, so that no further one is spoken of."""

        def tensor(name: str, datatype: str, sizes: Sequence[int]) -> dict[str, Any]:
            kind = "STRING" if datatype == "BYTES" else datatype
            return {"name": name, "data_type": f"TYPE_{kind}", "dims": list(sizes)}

        return {
            "name": self.name,
            "platform": PLATFORM,
            "backend": PLATFORM,
            "max_batch_size": 0,
            "input": [tensor(item.name, item.datatype, item.sizes) for item in self.inputs],
            "output": [tensor(item.name, item.datatype, item.sizes) for item in self.outputs],
        }

    def close(self, seconds: float | None = None) -> bool:
        """Answer what was taken and let go of the devices; False where that takes longer than so many seconds."""
        ended = self.batcher.close(seconds)
        if ended:
            self.session.close()
        return ended

    def _run(self, arrays: Sequence[Array]) -> Sequence[Array]:
        return self.session.run(*arrays)

    def _pace(self, most_rows: int | None) -> Pace:
        row = _example(self.session)
        if row is None:
            return Pace(1, 0.0)
        if not self.batched:
            return measure(self._run, row, (1,))
        if most_rows is None:
            return measure(self._run, row)
        return Pace(most_rows, measure(self._run, row, (1,)).row_seconds)


def is_batched(session: Session) -> bool:
    """Whether rows of several requests may run together: it was compiled for 1, which is every tensor's first size."""
    contents = session.artifact.contents
    return contents.batch == 1 and all(
        info.is_tensor and info.shape is not None and info.shape[:1] == (1,) and None not in info.shape
        for info in (*session.inputs, *session.outputs)
    )


def open_models(paths: Sequence[str], options: Options, metrics: Metrics) -> dict[str, ServedModel]:
    """The models that the command line names, by name: NAME=PATH or PATH, of an artifact or of a folder of some.

    Raises RunError where one is damaged, fails its own test vectors, or has no name of its own.
    """
    models: dict[str, ServedModel] = {}
    try:
        for name, path in _named(paths):
            session = load(
                path,
                device=options.device,
                threads=options.threads,
                native=options.native,
                trusted_keys=options.trusted_keys,
            )
            models[name] = ServedModel(name, session, options, metrics)
    except BaseException:
        for model in models.values():
            model.close()
        raise
    return models


def _named(paths: Sequence[str]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for given in paths:
        name, equals, path = given.partition("=")
        if not equals or os.path.exists(given):
            name, path = "", given
        for file in _artifacts(path):
            called = name or Path(file).resolve().name.removesuffix(".intarsia")
            if not _NAME.fullmatch(called):
                raise RunError(
                    where=f"artifact {file}",
                    what=f"'{called}' cannot be a model's name in an address: letters, digits, '_', '-' and '.' can",
                    help=f"give NAME={file}",
                )
            if called in found:
                raise RunError(
                    where=f"artifact {file}",
                    what=f"{found[called]} is called '{called}' too",
                    help=f"give one of them another name: NAME={file}",
                )
            found[called] = file
    return list(found.items())


def _artifacts(path: str) -> list[str]:
    """The path itself, or the artifacts in a folder that is none."""
    folder = Path(path)
    if not folder.is_dir() or (folder / MANIFEST_NAME).exists():
        return [path]
    files = sorted(str(file) for file in folder.iterdir() if file.name.endswith(".intarsia"))
    if not files:
        raise RunError(
            where=f"folder {path}",
            what="it is no artifact, and no file in it ends with .intarsia",
            help="give an artifact that `intarsia compile` wrote, or a folder of some",
        )
    return files


def _verify(name: str, session: Session) -> None:
    wrong = [result for result in verify_vectors(session) if not result.ok]
    if wrong:
        raise RunError(
            where=f"model '{name}'",
            what=f"output '{wrong[0].output}' of its test vector {wrong[0].vector} is not what was recorded",
            help="it would answer wrongly here; `intarsia verify` says more, and --no-verify serves it none the less",
        )


def _example(session: Session) -> list[Array] | None:
    """Inputs of one run: the artifact's own, else zeros; None where sizes depend on data."""
    vectors = read_vectors(session.artifact)
    if vectors:
        return vectors[0][0]
    if any(info.shape is None or None in info.shape or info.dtype == "string" for info in session.inputs):
        return None
    return [np.zeros(info.dims, served(info, False).numpy) for info in session.inputs]


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
