"""State shared by the steps of a night: its identity, its workspace in the store, and the duration of each step."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment, flow_run

from everlearn import counters, energy
from everlearn.cycle.lease import Lease
from everlearn.cycle.workspace import Workspace
from everlearn.errors import EverlearnError
from everlearn.registry.connect import open_registry, open_retrying_store, open_store
from everlearn.reporting.night_record import StepTime
from everlearn.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect.tasks import Task

    from everlearn.cycle.inputs import CycleInputs
    from everlearn.registry.versions import Registry
    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store

LOG = logging.getLogger("everlearn.night")
ACTOR = "night"
"""Actor of the events that nights record."""
P = ParamSpec("P")
R = TypeVar("R")


def step_task(function: Callable[P, R]) -> Task[P, R]:
    """Declare a Prefect task without result persistence and retries: steps keep their results in the workspace."""
    return task(cache_policy=NO_CACHE, persist_result=False, retries=0)(function)


@dataclass(frozen=True, kw_only=True)
class Night:
    """One open cycle, passed from step to step: frozen settings and inputs, and the fencing token of its writes."""

    settings: Settings
    key: str
    inputs: CycleInputs
    token: int
    started: str

    @property
    def line(self) -> str:
        """Name of the line."""
        return self.settings.store.line

    @functools.cached_property
    def store(self) -> Store:
        """The bucket, with retries while the server is down for minutes."""
        return open_retrying_store(self.settings.store)

    @functools.cached_property
    def registry(self) -> Registry:
        """The registry of the line: one for the night, since each that writes has a heartbeat of its own."""
        return open_registry(self.settings, store=self.store)

    @property
    def work(self) -> Workspace:
        """The results of the steps that are done."""
        return Workspace(self.store, self.line, self.key, token=self.token)


@contextlib.contextmanager
def hold_line(settings: Settings) -> Iterator[int]:
    """Hold the lease of the line, renewed in the background; yield the fencing token.

    A run of a deployment waits for the lease of an unresponsive machine to expire. An interactive run fails at once.

    Raises:
        LineBusyError: another run holds the lease.
    """
    store = open_store(settings.store)
    with log_context(settings):
        store.require_conformance()
        with Lease(store, settings.store.line, waits=deployment.id is not None) as lease:
            yield lease.token


@contextlib.contextmanager
def timed_step(night: Night, name: str) -> Iterator[Workspace]:
    """Yield the workspace, and keep the duration and counters of the block under `time/<name>`.

    The first successful execution is kept: a repeated step does not replace the time that the work took.
    """
    work = night.work
    wall, cpu, before = time.monotonic(), counters.cpu_seconds(), counters.snapshot()
    joules = energy.joules()
    with logs.log_context(cycle=night.key), energy.asked_meanwhile():
        yield work
        LOG.info("%s: %.0f s", name, time.monotonic() - wall)
    if not work.has(f"time/{name}"):
        counts = {counter: number - before[counter] for counter, number in counters.snapshot().items()}
        spent = StepTime(
            name=name,
            seconds=time.monotonic() - wall,
            cpu_seconds=counters.cpu_seconds() - cpu,
            gpu_seconds=counts["gpu_milliseconds"] / 1000,
            tokens=counts["tokens"],
            peak_bytes=counters.peak_memory(),
            joules=energy.joules() - joules,
        )
        work.put(f"time/{name}", json.dumps(counts | asdict(spent) | {"ended": time.time()}).encode())


def times_of(work: Workspace) -> tuple[StepTime, ...]:
    """Return the duration of each finished step, in the order in which the steps ended."""
    rows = [json.loads(work.get(name)) for name in work.names() if name.startswith("time/")]
    rows.sort(key=lambda row: float(row["ended"]))
    names = [field.name for field in fields(StepTime)]
    return tuple(StepTime(**{name: row[name] for name in names if name in row}) for row in rows)


def as_json(value: Any) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False).encode()


@contextlib.contextmanager
def log_context(settings: Settings) -> Iterator[None]:
    """Configure logging, and add line and run to every log record of the block."""
    configure_logging()
    with logs.log_context(line=settings.store.line, run=flow_run.id):
        yield


def configure_logging() -> None:
    """Apply the log format of EVERLEARN_LOG, and log expected errors as one sentence without a traceback."""
    LOG.setLevel(logging.INFO)
    logs.apply_format("", "everlearn", "prefect", "prefect.flow_runs", "prefect.task_runs")
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if _shorten_expected_error not in logger.filters:
            logger.addFilter(_shorten_expected_error)


def _shorten_expected_error(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], EverlearnError):
        record.msg, record.args, record.exc_info = "%s", (str(record.exc_info[1]),), None
    return True
