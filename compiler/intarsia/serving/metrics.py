"""What a server counts, in the text form of Prometheus: base units, and histograms that reach down to 0.1 ms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import ProcessCollector as ProcessFigures

from intarsia.serving.refusal import Outcome

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)  # fmt: skip
"""Upper ends of histograms of time: those of OpenTelemetry for requests over HTTP, and finer ones below 5 ms."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters of one server, in a registry of their own.

    Labels are names of models that are served, never what a client sent: requests to others have the model "".
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessFigures(registry=self.registry)
        labels = ("model", "version")
        self._requests = Counter(
            "intarsia_requests_total",
            "Inference requests by how they ended.",
            (*labels, "protocol", "outcome"),
            registry=self.registry,
        )
        self._latency = Histogram(
            "intarsia_request_seconds",
            "From the last byte of a request that was answered to its answer.",
            (*labels, "protocol"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._received = Counter(
            "intarsia_received_bytes_total",
            "Bytes of inference requests.",
            (*labels, "protocol"),
            registry=self.registry,
        )
        self._sent = Counter(
            "intarsia_sent_bytes_total", "Bytes of answers to them.", (*labels, "protocol"), registry=self.registry
        )
        self._queue = Histogram(
            "intarsia_queue_seconds", "What requests waited.", labels, buckets=SECONDS, registry=self.registry
        )
        self._compute = Histogram(
            "intarsia_compute_seconds", "What runs took.", labels, buckets=SECONDS, registry=self.registry
        )
        self._rows = Histogram(
            "intarsia_batch_rows", "Rows that ran together.", labels, buckets=ROWS, registry=self.registry
        )
        self._cached = Counter(
            "intarsia_cache_lookups_total",
            "Requests that were looked for among the answers that are kept, by result.",
            (*labels, "result"),
            registry=self.registry,
        )
        self._cache_bytes = Gauge("intarsia_cache_bytes", "Of answers that are kept.", registry=self.registry)
        self._loads = Counter(
            "intarsia_loads_total", "Models that were loaded, by result.", ("model", "result"), registry=self.registry
        )
        self._watched: dict[tuple[str, str], Callable[[], int]] = {}
        self._queued = Gauge("intarsia_queued_requests", "Requests that wait.", labels, registry=self.registry)
        self._ready = Gauge("intarsia_ready", "Whether requests are taken: 1 or 0.", registry=self.registry)

    def of_model(self, model: str, version: str) -> RunMetrics:
        """What hears of a model's runs."""
        return RunMetrics(
            self._queue.labels(model, version),
            self._compute.labels(model, version),
            self._rows.labels(model, version),
            {hit: self._cached.labels(model, version, "hit" if hit else "miss") for hit in (True, False)},
        )

    def of_requests(self, model: str, version: str, protocol: str) -> RequestMetrics:
        """What hears of the requests to a model over one protocol, "http" or "grpc"."""
        labels = (model, version, protocol)
        return RequestMetrics(
            {outcome: self._requests.labels(*labels, outcome.label) for outcome in Outcome},
            self._latency.labels(*labels),
            self._received.labels(*labels),
            self._sent.labels(*labels),
        )

    def watch_queue(self, model: str, version: str, queued: Callable[[], int]) -> None:
        """Ask a model's queue for its length whenever somebody reads the metrics."""
        self._watched[model, version] = queued
        self._queued.labels(model, version).set_function(queued)

    def unwatch_queue(self, model: str, version: str, queued: Callable[[], int]) -> None:
        """Ask no more, unless another queue has taken its place meanwhile."""
        if self._watched.get((model, version)) == queued:
            del self._watched[model, version]
            self._queued.remove(model, version)

    def watch_cache(self, kept_bytes: Callable[[], int]) -> None:
        """Ask how much is kept whenever somebody reads the metrics."""
        self._cache_bytes.set_function(kept_bytes)

    def loaded(self, model: str, ok: bool) -> None:
        """A model was loaded, or could not be."""
        self._loads.labels(model, "ok" if ok else "failed").inc()

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Ask whether requests are taken whenever somebody reads the metrics."""
        self._ready.set_function(lambda: float(ready()))

    def text(self) -> bytes:
        """All of it, as CONTENT_TYPE says."""
        return generate_latest(self.registry)


class RunMetrics:
    """The `Watch` of a model's batcher."""

    __slots__ = ("_compute", "_lookups", "_queue", "_rows")

    def __init__(self, queue: Histogram, compute: Histogram, rows: Histogram, lookups: Mapping[bool, Counter]) -> None:
        self._queue, self._compute, self._rows, self._lookups = queue, compute, rows, lookups

    def ran(self, rows: int, seconds: float, waits: Sequence[float]) -> None:
        """See `Watch`."""
        self._compute.observe(seconds)
        self._rows.observe(rows)
        for wait in waits:
            self._queue.observe(wait)

    def looked_up(self, hit: bool) -> None:
        """A request was looked for among the answers that are kept."""
        self._lookups[hit].inc()


class RequestMetrics:
    """Requests to one model over one protocol."""

    __slots__ = ("_latency", "_outcomes", "_received", "_sent")

    def __init__(self, outcomes: dict[Outcome, Counter], latency: Histogram, received: Counter, sent: Counter) -> None:
        self._outcomes, self._latency, self._received, self._sent = outcomes, latency, received, sent

    def ended(self, outcome: Outcome, seconds: float, received_bytes: int, sent_bytes: int) -> None:
        """One of them is over."""
        self._outcomes[outcome].inc()
        if outcome is Outcome.OK:
            self._latency.observe(seconds)
        self._received.inc(received_bytes)
        self._sent.inc(sent_bytes)
