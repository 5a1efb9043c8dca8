"""A line's metrics for Prometheus: what `observation.py` sees and what Prefect says of the queue, at every scrape.

    line = Reading(lambda: observer.look(now=…))            # cached for some seconds, and never waited for longer
    registry.register(Metrics("math", seen=line, queue=Reading(ask_prefect)))

Nothing is counted here: a restart loses nothing, and two exporters say the same. Where S3 does not answer, a scrape says
`everlearn_up 0` after a few seconds at most, and nothing else of the line.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from everlearn.errors import EverlearnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from everlearn.telemetry.line_health import LastNight, Seen

LOG = logging.getLogger("everlearn.metrics")
TTL_S = 5.0
PATIENCE_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What Prefect says of a line's nights. `wait_s` is how long the newest one to begin had waited for a worker.

    `oldest_s` is for how long the night has been due that waits longest, 0 where none does; `late` those that Prefect
    itself calls late.
    """

    wait_s: float | None
    oldest_s: float
    waiting: int
    late: int
    running: int


class Reading(Generic[T]):
    """An answer of something that may be slow or away: asked again after `ttl_s`, waited for `patience_s` at most."""

    def __init__(
        self,
        ask: Callable[[], T],
        *,
        ttl_s: float = TTL_S,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._clock = ask, clock
        self._ttl_s, self._patience_s = ttl_s, patience_s
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None
        self._until = 0.0

    def get(self) -> T | None:
        """The answer; None where there is none in time, or only an error that a user can answer. Others pass."""
        with self._lock:
            if self._asked is None or (self._asked.done() and self._clock() >= self._until):
                self._asked, self._until = self._begin(), self._clock() + self._ttl_s
            asked = self._asked
        if not wait([asked], timeout=self._patience_s).done:
            return None
        try:
            return asked.result()
        except EverlearnError as error:
            LOG.warning("%s", error)
            return None

    def _begin(self) -> Future[T]:
        """Ask in a thread that holds nobody up when the process ends."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(self._ask())
            except BaseException as error:  # noqa: BLE001 - handed on to whoever reads the answer
                future.set_exception(error)

        context = contextvars.copy_context()  # with what Prefect keeps there: its settings
        threading.Thread(target=context.run, args=(run,), name="metrics", daemon=True).start()
        return future


class Metrics:
    """A collector of prometheus_client for one line. Without `queue`, nobody is asked for it."""

    def __init__(self, line: str, *, seen: Reading[Seen], queue: Reading[Queue] | None = None) -> None:
        self._line, self._seen, self._queue = line, seen, queue

    def collect(self) -> Iterator[Metric]:
        """Every metric that there is now."""
        seen = self._seen.get()
        yield self._gauge("up", "Whether the line's history could be read from S3.", float(seen is not None))
        if seen is not None:
            yield from self._line_of(seen)
            if seen.last is not None:
                yield from self._last_night(seen.last)
        if self._queue is not None:
            queue = self._queue.get()
            yield self._gauge("prefect_up", "Whether Prefect's server answered.", float(queue is not None))
            if queue is not None:
                yield from self._queue_of(queue)

    def _line_of(self, seen: Seen) -> Iterator[Metric]:
        verdicts = CounterMetricFamily("everlearn_verdicts", "Nights that ended, by end.", labels=["line", "end"])
        for end, number in seen.verdicts.items():
            verdicts.add_metric([self._line, str(end)], number)
        yield verdicts
        rollbacks = CounterMetricFamily("everlearn_rollbacks", "Champions that were taken back.", labels=["line"])
        rollbacks.add_metric([self._line], seen.rollbacks)
        yield rollbacks
        yield self._gauge("champion", "Number of the version that serves; 0 is the base model alone.", seen.champion)
        yield self._gauge("versions", "Versions ever published.", seen.versions)
        yield self._gauge("versions_barred", "Versions that must not serve again.", seen.barred)
        yield self._gauge(
            "cycle_open", "Whether a night is open: running, or to be taken up.", seen.open_age is not None
        )
        yield self._gauge("lease_held", "Whether a process holds the line.", seen.lease_age is not None)
        for name, told, age in (
            ("seconds_since_verdict", "Since the last night ended.", seen.since_verdict),
            ("cycle_open_seconds", "Since the open night was opened.", seen.open_age),
            ("lease_age_seconds", "Since the holder of the line last gave a sign of life.", seen.lease_age),
        ):
            if age is not None:
                yield self._gauge(name, told, age)

    def _last_night(self, last: LastNight) -> Iterator[Metric]:
        for name, told, values in (
            ("step_seconds", "Wall clock of each step of the last night.", [step.seconds for step in last.steps]),
            (
                "step_cpu_seconds",
                "CPU time of each step, child processes too.",
                [step.cpu_seconds for step in last.steps],
            ),
            ("step_rollouts", "Answers sampled in each step.", [step.rollouts for step in last.steps]),
            ("step_verdicts", "Answers judged in each step.", [step.verdicts for step in last.steps]),
        ):
            family = GaugeMetricFamily(f"everlearn_{name}", told, labels=["line", "step"])
            for step, value in zip(last.steps, values, strict=True):
                family.add_metric([self._line, step.name], value)
            yield family
        busy = sum(step.seconds for step in last.steps if step.verdicts)
        if busy:
            for name in ("rollouts", "verdicts"):
                done = sum(getattr(step, name) for step in last.steps)
                yield self._gauge(
                    f"{name}_per_second", f"{name} of the last night, over its steps with any.", done / busy
                )
        rates = GaugeMetricFamily(
            "everlearn_pass_rate",
            "Share of a suite that was right, before the last night and after it.",
            labels=["line", "suite", "kind", "against", "when"],
        )
        for rate in last.rates:
            for when, share in (("before", rate.before), ("after", rate.after)):
                rates.add_metric([self._line, rate.suite, rate.kind, rate.against, when], share)
        yield rates

    def _queue_of(self, queue: Queue) -> Iterator[Metric]:
        if queue.wait_s is not None:
            yield self._gauge("queue_wait_seconds", "How long the newest night waited for a worker.", queue.wait_s)
        yield self._gauge("queue_oldest_seconds", "How long the night is due that waits longest.", queue.oldest_s)
        yield self._gauge("nights_waiting", "Nights that are due and have not begun.", queue.waiting)
        yield self._gauge("nights_late", "Nights that Prefect calls late.", queue.late)
        yield self._gauge("nights_running", "Nights that run.", queue.running)

    def _gauge(self, name: str, told: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"everlearn_{name}", told, labels=["line"])
        family.add_metric([self._line], value)
        return family
