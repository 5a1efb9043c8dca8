"""Prometheus metrics of one line: its health (`line_health`) and its run queue in Prefect, read at each scrape.

    health = CachedQuery(lambda: reader.read(now=…))
    registry.register(LineCollector("math", health=health, queue=CachedQuery(query_prefect)))

Counters are derived from durable state, so a restart loses nothing and two exporters agree. While S3 does not respond,
a scrape returns only `everlearn_up 0`, after a few seconds at most.
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

    from everlearn.telemetry.line_health import GatedNight, LineHealth

LOG = logging.getLogger("everlearn.metrics")
TTL_S = 5.0
TIMEOUT_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """A line's runs in Prefect.

    wait_s      seconds that the most recently started run waited for a worker
    oldest_s    seconds since the oldest waiting run was due; 0 without one
    waiting     runs that are due and not started; `late` of them are in Prefect's state Late
    """

    wait_s: float | None
    oldest_s: float
    waiting: int
    late: int
    running: int


class CachedQuery(Generic[T]):
    """The result of a slow or unreliable query, cached for `ttl_s` seconds; callers wait at most `timeout_s` seconds."""

    def __init__(
        self,
        query: Callable[[], T],
        *,
        ttl_s: float = TTL_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._query, self._clock = query, clock
        self._ttl_s, self._timeout_s = ttl_s, timeout_s
        self._lock = threading.Lock()
        self._pending: Future[T] | None = None
        self._expires = 0.0

    def get(self) -> T | None:
        """Return the result, or None after a timeout or an EverlearnError. Other exceptions propagate."""
        with self._lock:
            if self._pending is None or (self._pending.done() and self._clock() >= self._expires):
                self._pending, self._expires = self._start(), self._clock() + self._ttl_s
            pending = self._pending
        if not wait([pending], timeout=self._timeout_s).done:
            return None
        try:
            return pending.result()
        except EverlearnError as error:
            LOG.warning("%s", error)
            return None

    def _start(self) -> Future[T]:
        """Run the query in a daemon thread, which does not delay the end of the process."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(self._query())
            except BaseException as error:  # noqa: BLE001 - raised again by result()
                future.set_exception(error)

        context = contextvars.copy_context()  # carries Prefect's settings into the thread
        threading.Thread(target=context.run, args=(run,), name="metrics", daemon=True).start()
        return future


class LineCollector:
    """A prometheus_client collector for one line; without `queue` it exports no queue metrics."""

    def __init__(
        self, line: str, *, health: CachedQuery[LineHealth], queue: CachedQuery[QueueStatus] | None = None
    ) -> None:
        self._line, self._health, self._queue = line, health, queue

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that are available now."""
        health = self._health.get()
        yield self._gauge("up", "Whether the line's history could be read from S3.", float(health is not None))
        if health is not None:
            yield from self._line_metrics(health)
            if health.last_night is not None:
                yield from self._night_metrics(health.last_night)
        if self._queue is not None:
            queue = self._queue.get()
            yield self._gauge("prefect_up", "Whether the Prefect server responded.", float(queue is not None))
            if queue is not None:
                yield from self._queue_metrics(queue)

    def _line_metrics(self, health: LineHealth) -> Iterator[Metric]:
        verdicts = CounterMetricFamily("everlearn_verdicts", "Nights that ended, by result.", labels=["line", "end"])
        for end, number in health.verdicts.items():
            verdicts.add_metric([self._line, str(end)], number)
        yield verdicts
        rollbacks = CounterMetricFamily("everlearn_rollbacks", "Rollbacks of the champion.", labels=["line"])
        rollbacks.add_metric([self._line], health.rollbacks)
        yield rollbacks
        yield self._gauge("champion", "Number of the champion version; 0 is the base model.", health.champion)
        yield self._gauge("versions", "Published versions.", health.versions)
        yield self._gauge("versions_barred", "Barred versions.", health.barred)
        yield self._gauge(
            "cycle_open", "Whether a night is open: running or waiting to be resumed.", health.open_age is not None
        )
        yield self._gauge("lease_held", "Whether a process holds the lease of the line.", health.lease_age is not None)
        for name, text, age in (
            ("seconds_since_verdict", "Seconds since the last night ended.", health.since_verdict),
            ("cycle_open_seconds", "Seconds since the open night was opened.", health.open_age),
            ("lease_age_seconds", "Seconds since the lease was last renewed.", health.lease_age),
        ):
            if age is not None:
                yield self._gauge(name, text, age)

    def _night_metrics(self, night: GatedNight) -> Iterator[Metric]:
        for name, text, values in (
            ("step_seconds", "Wall clock of each step of the last night.", [step.seconds for step in night.steps]),
            (
                "step_cpu_seconds",
                "CPU time of each step, child processes included.",
                [step.cpu_seconds for step in night.steps],
            ),
            ("step_rollouts", "Answers sampled in each step.", [step.rollouts for step in night.steps]),
            ("step_verdicts", "Answers judged in each step.", [step.verdicts for step in night.steps]),
            ("step_tokens", "Tokens sampled in each step.", [step.tokens for step in night.steps]),
            ("step_gpu_seconds", "Seconds for which each step held a GPU.", [step.gpu_seconds for step in night.steps]),
            (
                "step_joules",
                "Energy of the machine's processors in each step, where it tells it.",
                [step.joules for step in night.steps],
            ),
            ("step_peak_bytes", "Most memory of a step's process.", [step.peak_bytes for step in night.steps]),
        ):
            family = GaugeMetricFamily(f"everlearn_{name}", text, labels=["line", "step"])
            for step, value in zip(night.steps, values, strict=True):
                family.add_metric([self._line, step.name], value)
            yield family
        busy = sum(step.seconds for step in night.steps if step.verdicts)
        if busy:
            for name in ("rollouts", "verdicts"):
                done = sum(getattr(step, name) for step in night.steps)
                yield self._gauge(
                    f"{name}_per_second",
                    f"{name} per second of the last night, over the steps that judged answers.",
                    done / busy,
                )
        rates = GaugeMetricFamily(
            "everlearn_pass_rate",
            "Share of a suite answered correctly before and after the last night.",
            labels=["line", "suite", "kind", "against", "when"],
        )
        for rate in night.rates:
            for when, share in (("before", rate.before), ("after", rate.after)):
                rates.add_metric([self._line, rate.suite, rate.kind, rate.against, when], share)
        yield rates

    def _queue_metrics(self, queue: QueueStatus) -> Iterator[Metric]:
        if queue.wait_s is not None:
            yield self._gauge("queue_wait_seconds", "Seconds that the newest night waited for a worker.", queue.wait_s)
        yield self._gauge("queue_oldest_seconds", "Seconds since the oldest waiting night was due.", queue.oldest_s)
        yield self._gauge("nights_waiting", "Nights that are due and have not started.", queue.waiting)
        yield self._gauge("nights_late", "Nights in Prefect's state Late.", queue.late)
        yield self._gauge("nights_running", "Running nights.", queue.running)

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"everlearn_{name}", text, labels=["line"])
        family.add_metric([self._line], value)
        return family
