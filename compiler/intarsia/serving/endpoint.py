"""What answers requests under a name and a version: an artifact, or an ensemble of some."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.dtypes import Array
from intarsia.serving.batcher import Job
from intarsia.serving.metrics import Metrics
from intarsia.serving.refusal import Outcome
from intarsia.serving.statistics import Statistics
from intarsia.serving.tensors import ServedTensor

PLATFORM = "intarsia"

PROTOCOLS = ("http", "grpc")

_log = logging.getLogger(__name__)


class Endpoint(ABC):
    """One version of a model. Who wants answers of it takes it first and releases it last, see `take`.

    inputs, outputs  as clients see them
    labels           what its owner says of it: any texts by name
    statistics       what it has done
    """

    def __init__(
        self,
        name: str,
        version: str,
        inputs: Sequence[ServedTensor],
        outputs: Sequence[ServedTensor],
        metrics: Metrics,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.version = name, version
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.labels = dict(labels or {})
        self.statistics = Statistics(metrics.of_model(name, version))
        self._requests = {protocol: metrics.of_requests(name, version, protocol) for protocol in PROTOCOLS}
        self._use = threading.Lock()
        self._users = 0
        self._retired = False
        self._closing: threading.Thread | None = None

    # ---- who uses it

    def take(self) -> bool:
        """Use it until `release`; False where it was retired, and another one has its place."""
        with self._use:
            if self._retired:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """The use that a `take` began has ended."""
        with self._use:
            self._users -= 1
            last = self._retired and not self._users
        if last:
            self._close_aside()

    def retire(self) -> None:
        """Let nobody take it any more. It is closed, on a thread of its own, when its last user has released it."""
        with self._use:
            if self._retired:
                return
            self._retired = True
            last = not self._users
        if last:
            self._close_aside()

    @property
    def users(self) -> int:
        """How many use it."""
        return self._users

    @property
    def closed(self) -> bool:
        """Whether it was retired, and nothing of it is left."""
        with self._use:
            closing = self._closing
        return closing is not None and not closing.is_alive()

    def _close_aside(self) -> None:
        def close() -> None:
            try:
                self.close()
            except Exception:
                _log.exception("model '%s' could not be closed", self.name)

        closing = threading.Thread(target=close, name="intarsia-close", daemon=True)
        closing.start()
        with self._use:
            self._closing = closing

    # ---- what it answers

    @abstractmethod
    def rows(self, arrays: Sequence[Array]) -> int:
        """How many rows a request has; a Refusal where its inputs do not go together."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Begin a request, whose `done` is called once; a Refusal where it is not taken."""

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Give up a request that was submitted."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether requests are taken."""

    @abstractmethod
    def give_up(self) -> None:
        """Take no further requests, and refuse those that have no answer yet."""

    @abstractmethod
    def close(self, seconds: float | None = None) -> bool:
        """Answer what was taken and let go of everything; False where that takes longer than so many seconds."""

    def ended(self, protocol: str, outcome: Outcome, seconds: float, received_bytes: int, sent_bytes: int) -> None:
        """A request over a protocol is over."""
        self._requests[protocol].ended(outcome, seconds, received_bytes, sent_bytes)
        self.statistics.ended(outcome, seconds)

    # ---- what it is

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

        told: dict[str, Any] = {
            "name": self.name,
            "platform": PLATFORM,
            "backend": PLATFORM,
            "max_batch_size": 0,
            "input": [tensor(item.name, item.datatype, item.sizes) for item in self.inputs],
            "output": [tensor(item.name, item.datatype, item.sizes) for item in self.outputs],
        }
        if self.labels:
            told["parameters"] = {name: {"string_value": text} for name, text in self.labels.items()}
        return told
