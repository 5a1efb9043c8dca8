"""A line on local servers with workers, for bench/chaos.py and bench/overhead.py."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.cycle.record import current_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.domains.contract import load_domain
from everlearn.errors import EverlearnError, StoreError
from everlearn.local import laptop
from everlearn.orchestration.deployments import apply, read_plan
from everlearn.orchestration.run_records import find_run_processes
from everlearn.orchestration.schedules import find_night, start_night
from everlearn.registry.connect import open_registry, open_store
from everlearn.settings import Settings, load

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from everlearn.registry.events import Event

ROOT = Path(__file__).parent.parent
LINE = "chaos"
SHORT = [f"{a}*cos({b}*x)" for a in range(2, 6) for b in range(2, 5)]
TINY: dict[str, Any] = {
    "ladder": {"rungs": 40, "depth": 3, "breadth": 20},
    "learn": {"steps": 8, "prompts": 12, "group": 8, "rank": 8, "warmup": 1, "checkpoint_every": 1},
    "ingest": {"min_target_items": 100},
    "gate": {"skill_margin": 0.3, "target_margin": 0.3, "widest_margin": 0.5},
}
AWAY = (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError, EverlearnError)
DISK_MB = 64


class LocalLine:
    """Local servers in `home`, workers, and a deployed line whose nights can be started and observed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".everlearn"
        self.disk = folder / "tmp"
        self.workers: subprocess.Popen[bytes] | None = None
        self._settings = temporary_settings()
        self._last: tuple[Event, ...] = ()

    def __enter__(self) -> Self:
        self.disk.mkdir()
        self.has_disk = _succeeds("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.disk))
        self._write_line()
        laptop.up(self.home)
        self.s3, self.prefect = laptop.servers(self.home)[:2]
        os.environ |= laptop.environment(self.home)
        self._settings = temporary_settings({PREFECT_API_URL: self.prefect.api_url})
        self._settings.__enter__()
        with get_client(sync_client=True) as client:
            apply(read_plan(ROOT / "infra" / "prefect.yaml", line=LINE, directory=self.folder), client)
        self.start_workers()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_workers()
        self._settings.__exit__(None, None, None)
        laptop.down(self.home)
        if self.has_disk:
            _succeeds("umount", "-l", str(self.disk))

    @property
    def settings(self) -> Settings:
        """Return the settings of the line, as its workers read them."""
        return load(self.folder / "params.yaml", profile="nightly")

    def add_problems(self, number: int, *, long: bool) -> None:
        """Add new problems for the next night; `long` is a night of the profile `nightly`."""
        rng, domain = random.Random(f"chaos {number}"), load_domain("integration")
        problems = [domain.generate(rng, size=6).statement for _ in range(60)]
        if long:
            example = (ROOT / "data" / "example").glob("*.jsonl")
            problems = [json.loads(line)["problem"] for path in example for line in path.read_text().splitlines()]
        self._write_line(real=long)
        inbox = self.home / "inbox" / LINE
        inbox.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"problem": problem}) + "\n" for problem in problems)
        (inbox / f"{number:03}.jsonl").write_text("".join(lines), encoding="utf-8")

    def start_night(self) -> None:
        """Start a night."""
        with get_client(sync_client=True) as client:
            start_night(client, find_night(client, line=LINE))

    def history(self) -> tuple[Event, ...]:
        """Return the line's events; the last known ones while S3 is away."""
        with contextlib.suppress(StoreError):
            self._last = tuple(open_registry(self.settings).state().history)
        return self._last

    def roll_back(self) -> None:
        """Roll back to the base model."""
        registry = open_registry(self.settings)
        while registry.state().champion is not None:
            registry.rollback(reason="the next night must be able to improve as much", actor="chaos")

    def finished_steps(self) -> tuple[str, ...]:
        """Return the steps that the open cycle has stored."""
        with contextlib.suppress(EverlearnError):
            store = open_store(self.settings.store)
            found = current_cycle(store, LINE)
            return Workspace(store, LINE, found.key).names() if found else ()
        return ()

    def unfinished_runs(self) -> list[FlowRun]:
        """Return the runs that have not ended, without future runs of a schedule."""
        try:
            with get_client(sync_client=True) as client:
                return [run for run in _read_unfinished(client) if run.auto_scheduled is not True]
        except AWAY:
            return []

    def processes(self, name: str) -> list[int]:
        """Return the pids of running nights or climbs, without suspended ones."""
        wanted = {str(run.id) for run in self.unfinished_runs() if run.name.startswith(name)}
        return [
            process.pid
            for run, process in find_run_processes().items()
            if run in wanted and not _is_frozen(process.pid)
        ]

    def is_whole(self) -> bool:
        """Return whether servers, workers and every process that the night needs are running."""
        if not (self.s3.is_running() and self.s3.is_ready() and self.prefect.is_running() and self.prefect.is_ready()):
            return False
        if self.workers is None or self.workers.poll() is not None or not self.processes("night"):
            return False
        return "check/bytes" in self.finished_steps() or bool(self.processes("climb"))

    def start_workers(self) -> None:
        """Start `everlearn worker`, with temporary files on a small disk."""
        command = [sys.executable, "-c", "from everlearn.cli import main; main()", "worker"]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        environ = os.environ | {"PYTHONPATH": path, "TMPDIR": str(self.disk), "PREFECT_WORKER_QUERY_SECONDS": "2"}
        log = (self.folder / "worker.log").open("ab")
        self.workers = subprocess.Popen(
            command, cwd=self.folder, env=environ, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def stop_workers(self) -> None:
        """Send SIGTERM, as a spot instance receives it."""
        if self.workers is not None:
            self.workers.terminate()
            self.workers.wait(60)

    def _write_line(self, *, real: bool = False) -> None:
        """Write params.yaml and suites: tiny ones, or those of the repository."""
        text = json.loads(json.dumps(_params())) if real else {"profiles": {"nightly": TINY}}
        plain = text | {
            "store": {"line": LINE},
            "signing": {"unsigned": True},
            "base": {"path": str(ROOT / "data" / "base")},
        }
        (self.folder / "params.yaml").write_text(json.dumps(plain), encoding="utf-8")
        suites = self.folder / "data" / "suites"
        shutil.rmtree(suites, ignore_errors=True)
        if real:
            shutil.copytree(ROOT / "data" / "suites", suites)
            return
        suites.mkdir(parents=True)
        header = {"suite": "short", "kind": "skill"}
        lines = [header, *({"id": f"s{number}", "statement": text} for number, text in enumerate(SHORT))]
        (suites / "short.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def log(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def _read_unfinished(client: SyncPrefectClient) -> list[FlowRun]:
    over = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES)))
    which = FlowRunFilter(state=over, tags=FlowRunFilterTags(all_=[f"line:{LINE}"]))
    return client.read_flow_runs(flow_run_filter=which)


def _is_frozen(pid: int) -> bool:
    """Return whether a process is stopped or a zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE}
    return False


def _params() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return found


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
