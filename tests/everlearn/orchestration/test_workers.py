"""`everlearn worker` on a real Prefect server, and the report of runs whose process has ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from typing import TYPE_CHECKING

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Completed, Pending, Running
from typer.testing import CliRunner, Result

from everlearn.cli import app, worker
from everlearn.cli.context import Installation
from everlearn.errors import BadInputError
from everlearn.local.process import Process, wait_until
from everlearn.orchestration.run_records import RunRecords
from everlearn.orchestration.workers import mark_crashed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

    Command = Callable[..., Result]

ENDED = Process(pid=2**22 + 1, began=1)


@pytest.fixture
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def everlearn(tmp_path: Path, client: SyncPrefectClient) -> Command:
    (tmp_path / "params.yaml").touch()

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["--home", str(tmp_path), "--params", str(tmp_path / "params.yaml"), *words])

    return run


def make_pool(client: SyncPrefectClient, *, type: str) -> str:  # noqa: A002 - Prefect's word
    name = f"pool-{uuid.uuid4().hex[:8]}"
    client.create_work_pool(WorkPoolCreate(name=name, type=type))
    return name


def make_run(client: SyncPrefectClient, state: State[Any]) -> str:
    """Create a run in a state; return its id."""

    @flow(name="idle")
    def idle() -> None: ...

    return str(client.create_flow_run(idle, state=state).id)


def test_an_unsuitable_pool_is_named_with_the_remedy(everlearn: Command, client: SyncPrefectClient) -> None:
    missing = everlearn("worker", "--pool", "nowhere").exception
    assert isinstance(missing, BadInputError)
    assert "no work pool 'nowhere'; run `everlearn deploy`" in str(missing)
    other = everlearn("worker", "--pool", make_pool(client, type="prefect-agent")).exception
    assert isinstance(other, BadInputError)
    assert "is of type prefect-agent" in str(other)


def test_workers_run_until_sigterm_and_report_dead_runs(
    everlearn: Command, client: SyncPrefectClient, tmp_path: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    pool, run = make_pool(client, type="process"), make_run(client, Pending())
    (tmp_path / "runs").mkdir()
    for each in (run, make_run(client, Completed())):
        ENDED.save(tmp_path / "runs" / f"{each}.json")

    online: list[Any] = []

    def stop_once_online() -> None:
        wait_until(lambda: bool(client.read_workers_for_work_pool(pool)), timeout_s=60)
        online.extend(client.read_workers_for_work_pool(pool))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_once_online, daemon=True).start()
    ended = everlearn("worker", "--pool", pool, "--limit", "1")
    assert online

    assert ended.exit_code == 0, ended.output
    assert f"running workers of {pool}" in ended.stderr
    assert ended.stderr.count("its process has died") == 1
    state = client.read_flow_run(uuid.UUID(run)).state
    assert state is not None
    assert state.is_crashed()
    assert not list((tmp_path / "runs").iterdir())


def test_a_worker_that_ends_is_restarted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stop, book = threading.Event(), tmp_path / "starts"
    words = [sys.executable, "-c", f"open({str(book)!r}, 'a').write('x')"]

    def look() -> None:
        if book.exists() and len(book.read_text()) >= 3:
            stop.set()

    worker.supervise({"gpu": words}, stop=stop, poll=look, every_s=0.05)
    assert "the worker of pool gpu has ended (0); restarting it" in capfd.readouterr().err


def test_a_worker_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); time.sleep(60)"
    monkeypatch.chdir(tmp_path)
    with worker.child_process([sys.executable, "-c", code], timeout_s=0.2) as process:
        assert wait_until((tmp_path / "ready").exists, timeout_s=30)
    assert process.returncode == -signal.SIGKILL


def test_only_active_runs_are_marked_crashed_and_only_once(client: SyncPrefectClient) -> None:
    states: tuple[State[Any], ...] = (Running(), Cancelling(), Completed(), Pending())
    running, cancelling, done, waiting = (make_run(client, state) for state in states)
    assert mark_crashed(client, running, pending=False)
    assert mark_crashed(client, cancelling, pending=False)
    assert [mark_crashed(client, each, pending=False) for each in (running, cancelling, done, waiting)] == [None] * 4
    assert mark_crashed(client, str(uuid.uuid4()), pending=True) is None
    names = [client.read_flow_run(uuid.UUID(each)).state_name for each in (running, cancelling, done, waiting)]
    assert names == ["Crashed", "Cancelled", "Completed", "Pending"]


def test_dead_runs_are_reported_later_if_the_server_is_away(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = RunRecords(folder=tmp_path / "runs")
    records.folder.mkdir()
    ENDED.save(records.folder / f"{uuid.uuid4()}.json")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        worker.mark_crashed(Installation(home=tmp_path, params=tmp_path / "params.yaml"), records, pending=True)
    assert "are marked as crashed later" in capfd.readouterr().err
    assert len(records.dead()) == 1
