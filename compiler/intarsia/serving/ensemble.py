"""A small graph of models and steps that answers as one model does.

Nothing waits: the thread that ends one step begins those that had waited for it, each in its own model's queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from intarsia.dtypes import Array
from intarsia.serving.batcher import Job, Result
from intarsia.serving.endpoint import Endpoint
from intarsia.serving.ensemble_file import Description, Plan, Step
from intarsia.serving.metrics import Metrics
from intarsia.serving.refusal import Outcome, Refusal

Take = Callable[[str, str], Endpoint]
"""The model of a name and a version, taken; a Refusal where there is none."""

_log = logging.getLogger(__name__)


class Ensemble(Endpoint):
    """An ensemble, and the requests to it that are under way.

    description  what its file says
    plan         how that fits the models that there are
    take         finds the models anew for every request, so that a model that is loaded again is the new one
    """

    def __init__(
        self,
        name: str,
        description: Description,
        plan: Plan,
        take: Take,
        metrics: Metrics,
        labels: Mapping[str, str],
    ) -> None:
        super().__init__(name, "1", description.inputs, plan.outputs, metrics, labels)
        self.description, self.plan = description, plan
        self.take_model = take
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._requests_under_way: dict[Job, _Request] = {}
        self._ending = False

    def rows(self, arrays: Sequence[Array]) -> int:
        """1: each step counts the rows of what it takes by itself."""
        return 1

    def submit(self, job: Job) -> None:
        """Begin with the steps that take inputs alone."""
        request = _Request(self, job)
        with self._lock:
            if self._ending:
                raise Refusal(Outcome.DRAINING, "the server is shutting down", 1)
            self._requests_under_way[job] = request
        request.go_on({tensor.name: array for tensor, array in zip(self.inputs, job.arrays)})

    def cancel(self, job: Job) -> None:
        """Give up the steps that are under way."""
        with self._lock:
            request = self._requests_under_way.get(job)
        if request is not None:
            request.end(Refusal(Outcome.CANCELLED, "the client has gone"))

    @property
    def ready(self) -> bool:
        """Whether its models are."""
        for step in self.description.steps:
            if step.model:
                try:
                    model = self.take_model(step.model, step.version)
                except Refusal:
                    return False
                ready = model.ready
                model.release()
                if not ready:
                    return False
        return not self._ending

    def give_up(self) -> None:
        """See `Endpoint`."""
        with self._lock:
            self._ending = True
            left = list(self._requests_under_way.values())
        for request in left:
            request.end(Refusal(Outcome.DRAINING, "the server was told not to wait for this request", 1))

    def close(self, seconds: float | None = None) -> bool:
        """See `Endpoint`."""
        end = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            self._ending = True
            while self._requests_under_way:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def over(self, job: Job, result: Result) -> None:
        """A request has come to its end."""
        with self._lock:
            del self._requests_under_way[job]
            self._changed.notify_all()
        if not isinstance(result, Refusal):
            self.statistics.ran(1, time.monotonic() - job.arrived, [0.0])
        job.done(result)


class _Request:
    """One request: the values that it has, and the steps that are under way."""

    def __init__(self, ensemble: Ensemble, job: Job) -> None:
        self._ensemble, self._job = ensemble, job
        self._lock = threading.Lock()
        self._values: dict[str, Array] = {}
        self._left = list(ensemble.description.steps)
        self._running: dict[Job, Endpoint] = {}
        self._ended = False

    def go_on(self, values: Mapping[str, Array]) -> None:
        """Begin the steps for which these values were the last that were missing."""
        try:
            while values:
                able = self._able(values)
                values = {}
                for step in able:
                    if step.model:
                        self._begin(step)
                    else:
                        op = self._ensemble.plan.ops[step.number]
                        values = {**values, step.outputs[""]: op.run(self._values[step.inputs[""]])}
        except Exception:
            _log.exception("an ensemble failed")
            self.end(Refusal(Outcome.FAILED, "a step of the ensemble failed; the server's log says more"))

    def _able(self, values: Mapping[str, Array]) -> list[Step]:
        """The steps that now have all that they take. Once all outputs are there, none, and that is the answer."""
        names = self._ensemble.description.outputs
        with self._lock:
            if self._ended:
                return []
            self._values.update(values)
            done = self._values.keys() >= set(names)
            able = [] if done else [step for step in self._left if self._values.keys() >= set(step.inputs.values())]
            self._left = [step for step in self._left if step not in able]
        if done:
            self.end([self._values[name] for name in names])
        return able

    def _begin(self, step: Step) -> None:
        model = None
        try:
            model = self._ensemble.take_model(step.model, step.version)
            arrays: list[Array] = []
            for tensor in model.inputs:
                array = self._values[step.inputs[tensor.name]]
                tensor.check(tensor.datatype if array.dtype == tensor.numpy else str(array.dtype), array.shape)
                arrays.append(array)
            job = Job(arrays, model.rows(arrays), lambda result: None, self._job.level, self._job.deadline)
        except Refusal as error:
            if model is not None:
                model.release()
            self.end(_of_step(step, error))
            return
        job.done = partial(self._stepped, step, model, job)
        with self._lock:
            if self._ended:
                model.release()
                return
            self._running[job] = model
        try:
            model.submit(job)
        except Refusal as error:
            self._stepped(step, model, job, error)

    def _stepped(self, step: Step, model: Endpoint, job: Job, result: Result) -> None:
        with self._lock:
            if self._running.pop(job, None) is None:
                return
        model.release()
        if isinstance(result, Refusal):
            self.end(_of_step(step, result))
            return
        found = {tensor.name: array for tensor, array in zip(model.outputs, result)}
        self.go_on({value: found[name] for name, value in step.outputs.items()})

    def end(self, result: Result) -> None:
        """Answer, once, and give up the steps that are still under way."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            left = dict(self._running)
        for job, model in left.items():
            model.cancel(job)
        self._ensemble.over(self._job, result)


def _of_step(step: Step, error: Refusal) -> Refusal:
    return Refusal(error.outcome, f"step {step.number}, model '{step.model}': {error.what}", error.retry_after)
