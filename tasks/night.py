"""What the steps of a night share: which night it is, its work in the store, and how long each step took."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment, flow_run

from everlearn import counters
from everlearn.cycle.record import CycleInputs, Lease, Workspace
from everlearn.errors import EverlearnError
from everlearn.registry.connect import open_patiently, open_registry, open_store
from everlearn.reporting.night_record import StepTime
from everlearn.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect.tasks import Task

    from everlearn.registry.versions import Registry
    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store

LOG = logging.getLogger("everlearn.night")
P = ParamSpec("P")
R = TypeVar("R")


def step_task(function: Callable[P, R]) -> Task[P, R]:
    """`@task` as our steps use it: they keep their own results in the store, so Prefect keeps none, and no retries."""
    return task(cache_policy=NO_CACHE, persist_result=False, retries=0)(function)


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One open cycle, as the steps pass it on: its settings and inputs are frozen, `token` fences its writes."""

    settings: Settings
    key: str
    inputs: CycleInputs
    token: int
    started: str

    @property
    def line(self) -> str:
        """The line that the night works for."""
        return self.settings.store.line

    @property
    def store(self) -> Store:
        """The bucket; a server that is away for minutes is waited for."""
        return open_patiently(self.settings.store)

    @property
    def registry(self) -> Registry:
        """The line's versions."""
        return open_registry(self.settings, store=self.store)

    @property
    def work(self) -> Workspace:
        """The night's results so far."""
        return Workspace(self.store, self.line, self.key, token=self.token)


@contextlib.contextmanager
def speaking(settings: Settings) -> Iterator[None]:
    """What is logged in the block carries line and run, and an error that a user can answer is one sentence."""
    speak_plainly()
    with logs.bound(line=settings.store.line, run=flow_run.id):
        yield


@contextlib.contextmanager
def hold_line(settings: Settings) -> Iterator[int]:
    """The line's lease, renewed in the background; the fencing token. CycleBusyError while another run has it.

    A run of a deployment waits for the claim of a machine that went silent to end; a person is told at once.
    """
    store = open_store(settings.store)
    with speaking(settings):
        store.require_conformance()
        with Lease(store, settings.store.line, waits=deployment.id is not None) as lease:
            yield lease.token


@contextlib.contextmanager
def clocked(night: Night, name: str) -> Iterator[Workspace]:
    """The night's work; what the block took and did is kept under `time/<name>`, unless an earlier run had finished it."""
    work = night.work
    wall, cpu, before = time.monotonic(), counters.cpu_seconds(), counters.snapshot()
    with logs.bound(cycle=night.key):
        yield work
        LOG.info("%s: %.0f s", name, time.monotonic() - wall)
    if not work.has(f"time/{name}"):
        spent = StepTime(name=name, seconds=time.monotonic() - wall, cpu_seconds=counters.cpu_seconds() - cpu)
        done = {what: number - before[what] for what, number in counters.snapshot().items()}
        work.put(f"time/{name}", json.dumps(asdict(spent) | done | {"ended": time.time()}).encode())


def times_of(work: Workspace) -> tuple[StepTime, ...]:
    """What each finished step took, in the order in which they ended."""
    kept = sorted((json.loads(work.get(name)) for name in work.names() if name.startswith("time/")), key=_ended)
    return tuple(StepTime(name=row["name"], seconds=row["seconds"], cpu_seconds=row["cpu_seconds"]) for row in kept)


def as_json(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False).encode()


def speak_plainly() -> None:
    """Show what the steps tell, as EVERLEARN_LOG says, and an error that a user can answer without a traceback."""
    LOG.setLevel(logging.INFO)
    logs.dress_all("", "everlearn", "prefect", "prefect.flow_runs", "prefect.task_runs")
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if _without_traceback not in logger.filters:
            logger.addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], EverlearnError):
        record.msg, record.args, record.exc_info = "%s", (str(record.exc_info[1]),), None
    return True


def _ended(row: dict[str, Any]) -> float:
    return float(row["ended"])
