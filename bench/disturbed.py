"""A machine that can be disturbed, for bench/chaos.py: servers, workers, nights, and what goes wrong with them."""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.cycle.record import current_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.domains.contract import load_domain
from everlearn.errors import EverlearnError
from everlearn.local import laptop
from everlearn.local.process import wait_until
from everlearn.orchestration.deployments import apply, read_plan
from everlearn.orchestration.run_records import find_run_processes
from everlearn.orchestration.schedules import find_night, start_night
from everlearn.registry.connect import open_registry, open_store
from everlearn.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from everlearn.local.local_server import LocalServer
    from everlearn.registry.events import Event

ROOT = Path(__file__).parent.parent
LINE = "chaos"
SIX_TERMS = "2*x^2 + 3*sin(2*x) + 4*cos(3*x) + 5*exp(2*x) + x^3 + 7/(2*x+1)"
SHORT = [f"{a}*cos({b}*x)" for a in range(2, 6) for b in range(2, 5)]
TINY: dict[str, Any] = {
    "ladder": {"rungs": 40, "depth": 3, "breadth": 20},
    "learn": {"steps": 8, "prompts": 12, "group": 8, "rank": 8, "warmup": 1, "checkpoint_every": 1},
    "ingest": {"min_target_items": 100},
    "gate": {"skill_margin": 0.3, "target_margin": 0.3, "widest_margin": 0.5},
}
AWAY = (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError, EverlearnError)
DISK_MB = 64


class Site:
    """One machine: local servers in `home`, workers, and a line whose nights can be begun and disturbed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".everlearn"
        self.disk = folder / "tmp"
        self.crew: subprocess.Popen[bytes] | None = None
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
        self.start_crew()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_crew()
        self._settings.__exit__(None, None, None)
        laptop.down(self.home)
        if self.has_disk:
            _succeeds("umount", "-l", str(self.disk))

    @property
    def settings(self) -> Settings:
        """Those of the line, as its workers read them."""
        return load(self.folder / "params.yaml", profile="nightly")

    def hand_in(self, number: int, *, long: bool) -> None:
        """New problems for the next night, and its profile."""
        rng, domain = random.Random(f"chaos {number}"), load_domain("integration")
        problems = [domain.generate(rng, like=SIX_TERMS) for _ in range(60)]
        if long:
            example = (ROOT / "data" / "example").glob("*.jsonl")
            problems = [json.loads(line)["problem"] for path in example for line in path.read_text().splitlines()]
        self._write_line(real=long)
        inbox = self.home / "inbox" / LINE
        inbox.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"problem": problem}) + "\n" for problem in problems)
        (inbox / f"{number:03}.jsonl").write_text("".join(lines), encoding="utf-8")

    def begin(self) -> None:
        """Let a night begin."""
        with get_client(sync_client=True) as client:
            start_night(client, find_night(client, line=LINE))

    def history(self) -> tuple[Event, ...]:
        """The line's events; the last ones known while S3 is away."""
        with contextlib.suppress(EverlearnError):
            self._last = tuple(open_registry(self.settings).state().history)
        return self._last

    def take_back(self) -> None:
        """Roll back what serves, if anything does."""
        registry = open_registry(self.settings)
        while registry.state().champion is not None:
            registry.rollback(reason="the next night shall have the same to gain", actor="chaos")

    def work(self) -> tuple[str, ...]:
        """What the open night has kept so far."""
        with contextlib.suppress(EverlearnError):
            store = open_store(self.settings.store)
            found = current_cycle(store, LINE)
            return Workspace(store, LINE, found.key).names() if found else ()
        return ()

    def unended(self) -> list[FlowRun]:
        """Runs of the line that are not over, but for those that only wait for their time."""
        try:
            with get_client(sync_client=True) as client:
                return [run for run in _unended(client) if run.auto_scheduled is not True]
        except AWAY:
            return []

    def processes(self, name: str) -> list[int]:
        """Processes that run a night or a climb of ours, and are not frozen."""
        wanted = {str(run.id) for run in self.unended() if run.name.startswith(name)}
        return [
            process.pid
            for run, process in find_run_processes().items()
            if run in wanted and not _is_frozen(process.pid)
        ]

    def is_whole(self) -> bool:
        """Whether servers, workers and every process that the night needs now are at work."""
        if not (self.s3.is_running() and self.s3.is_ready() and self.prefect.is_running() and self.prefect.is_ready()):
            return False
        if self.crew is None or self.crew.poll() is not None or not self.processes("night"):
            return False
        return "check/bytes" in self.work() or bool(self.processes("climb"))

    def start_crew(self) -> None:
        """`everlearn worker`, with temporary files on a disk that can be filled."""
        command = [sys.executable, "-c", "from everlearn.cli import main; main()", "worker"]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        environ = os.environ | {"PYTHONPATH": path, "TMPDIR": str(self.disk), "PREFECT_WORKER_QUERY_SECONDS": "2"}
        log = (self.folder / "worker.log").open("ab")
        self.crew = subprocess.Popen(
            command, cwd=self.folder, env=environ, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def stop_crew(self) -> None:
        """SIGTERM, as a spot instance gets it."""
        if self.crew is not None:
            self.crew.terminate()
            self.crew.wait(60)

    def _write_line(self, *, real: bool = False) -> None:
        """params.yaml and suites: tiny ones, or those of the repository."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, and when: once the open night's work has `after` (and not yet `before`)."""

    name: str
    strike: Callable[[Site], None]
    after: str = "checkpoint"
    before: str = "check/rewards"
    needs: str = "climb"

    def is_due(self, site: Site) -> bool:
        """Whether it is time."""
        work = site.work()
        return self.after in work and self.before not in work and bool(site.processes(self.needs))


def kill(name: str) -> Callable[[Site], None]:
    """SIGKILL for the processes of that name."""

    def strike(site: Site) -> None:
        for pid in site.processes(name):
            os.kill(pid, signal.SIGKILL)

    return strike


def stop_workers(site: Site) -> None:
    """A spot instance is taken away, and another one comes."""
    site.stop_crew()
    site.start_crew()


def lose_machine(site: Site) -> None:
    """Nothing of the machine is left, not even what it knew of its runs; another one comes."""
    pids = [*site.processes("night"), *site.processes("climb"), *_family(site.crew)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if site.crew is not None:
        site.crew.wait()
    shutil.rmtree(site.home / "runs", ignore_errors=True)
    site.start_crew()


def kill_server(site: Site) -> None:
    """The Prefect server dies, and is back 15 s later."""
    _kill_server(site.prefect)
    _later(15, site.prefect.start)


def kill_s3(site: Site) -> None:
    """The object store dies, and is back 60 s later."""
    _kill_server(site.s3)
    _later(60, site.s3.start)


def freeze(site: Site) -> None:
    """The clock of the runs stands still for longer than leases and heartbeats last; then they go on."""
    pids = [*site.processes("night"), *site.processes("climb")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    def thaw() -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    _later(150, thaw)


def fill_disk(site: Site) -> None:
    """No room for temporary files until the night has failed; then there is, and somebody begins it again."""
    stuffing = site.disk / "stuffing"

    def make_room() -> None:
        wait_until(lambda: not site.unended(), timeout_s=120)
        stuffing.unlink()
        site.begin()

    with contextlib.suppress(OSError), stuffing.open("wb") as file:
        while True:
            file.write(b"\0" * 65536)
            file.flush()
    _later(0, make_room)


def ask_again(site: Site) -> None:
    """Two more triggers for the same night."""
    for _ in range(2):
        site.begin()


def lock_database(site: Site) -> None:
    """Somebody holds the server's database for 20 s."""
    path = next((site.home / "prefect" / "home").glob("*.db"))

    def hold() -> None:
        connection = sqlite3.connect(path, timeout=60)
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(20)
        connection.rollback()
        connection.close()

    _later(0, hold)


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(name="nothing", strike=lambda _: None),
        Fault(name="night killed as it begins", strike=kill("night"), after="suites", needs="night"),
        Fault(name="night killed while it waits", strike=kill("night"), needs="night"),
        Fault(name="climb killed while it grows", strike=kill("climb"), after="climbed", before="ladder"),
        Fault(name="climb killed while it trains", strike=kill("climb")),
        Fault(name="climb killed while it measures", strike=kill("climb"), after="files"),
        Fault(
            name="night killed as it decides", strike=kill("night"), after="check/rewards", before="x", needs="night"
        ),
        Fault(name="workers stopped", strike=stop_workers),
        Fault(name="machine lost", strike=lose_machine),
        Fault(name="Prefect server killed", strike=kill_server),
        Fault(name="S3 killed", strike=kill_s3),
        Fault(name="clock stopped", strike=freeze),
        Fault(name="disk full", strike=fill_disk),
        Fault(name="three triggers", strike=ask_again),
        Fault(name="database locked", strike=lock_database),
    )
}


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def _unended(client: SyncPrefectClient) -> list[FlowRun]:
    over = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES)))
    which = FlowRunFilter(state=over, tags=FlowRunFilterTags(all_=[f"line:{LINE}"]))
    return client.read_flow_runs(flow_run_filter=which)


def _is_frozen(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZ"
    return False


def _family(process: subprocess.Popen[bytes] | None) -> Iterator[int]:
    """A process and its children."""
    if process is not None:
        yield process.pid
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8")
        yield from map(int, children.split())


def _kill_server(server: LocalServer) -> None:
    record = json.loads((server.directory / "process.json").read_text())
    os.killpg(record["pid"], signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(record["pid"], 0)


def _later(seconds: float, act: Callable[[], object]) -> None:
    """In a thread that knows, as this one does, which Prefect server is meant."""
    timer = threading.Timer(seconds, contextvars.copy_context().run, [act])
    timer.daemon = True
    timer.start()


def _params() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return found


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
