from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.errors import BadInputError, IntegrityError, StoreDownError
from everlearn.registry.acknowledgements import acknowledgements
from everlearn.registry.delivery import RECEIPT, Receipt
from everlearn.registry.events import EventKind
from everlearn.serving import follow as module
from everlearn.serving.follow import CURRENT, STATE_FILE, ChampionChange, FollowedState, Follower, follow
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import CONFIG, WHEN, adapter, open_line, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITES = (
    "import os, pathlib, sys; log = pathlib.Path(sys.argv[1]); version = os.environ['EVERLEARN_VERSION']; "
    "path = os.environ['EVERLEARN_PATH']; sure = not path or os.path.isfile(path + '/adapter_config.json'); "
    "log.write_text((log.read_text() if log.exists() else '') + f'{version} {sure} '); sys.exit(int(sys.argv[2]))"
)


def line_of(*names: str) -> MemoryStore:
    store = MemoryStore()
    for name in names:
        publish(open_line(store), name)
    return store


def follower(store: MemoryStore, to: Path, *, code: int = 0, **options: Any) -> Follower:
    command = f"{sys.executable} -c {json.dumps(WRITES)} {to.with_name('log')} {code}"
    options = {"command": command, "consumer": "here"} | options
    return Follower(open_line(store), to, now=lambda: WHEN, **options)


def commands_run(to: Path) -> list[str]:
    """Return the version of each run of the command."""
    log = to.with_name("log")
    return [each for each in log.read_text().split() if each != "True"] if log.exists() else []


def acknowledged(store: MemoryStore) -> str | None:
    """Return the version that consumer `here` has acknowledged; "nothing" if it has not."""
    here = acknowledgements(store, "integration").get("here")
    return here.version if here else "nothing"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "served"


def test_each_version_has_a_folder_and_the_link_is_the_champion(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to)
    assert here.step() == ChampionChange(version="v0001", path=to / "v0001", exit_code=0)
    inode = (to / "v0001").stat().st_ino
    publish(open_line(store), "two")
    assert here.step() == ChampionChange(version="v0002", path=to / "v0002", exit_code=0)
    assert (to / "v0001" / "adapter_model.safetensors").read_bytes() == adapter("one")
    assert (to / CURRENT / "adapter_model.safetensors").read_bytes() == adapter("two")
    open_line(store).rollback(reason="worse", actor="ada")
    assert here.step() == ChampionChange(version="v0001", path=to / "v0001", exit_code=0)
    assert (to / "v0001").stat().st_ino == inode
    assert (to / CURRENT).readlink().name == "v0001"
    assert commands_run(to) == ["v0001", "v0002", "v0001"]


def test_a_rollback_to_the_base_model_removes_the_link(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to)
    here.step()
    open_line(store).rollback("base", reason="worse", actor="ada")
    assert here.step() == ChampionChange(version="base", path=None, exit_code=0)
    assert not (to / CURRENT).is_symlink()
    assert (to / "v0001").is_dir()
    assert commands_run(to) == ["v0001", "base"]
    assert acknowledged(store) is None


def test_the_command_runs_once_for_a_change_across_restarts(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to)
    assert here.step()
    assert here.step() is None
    assert follower(store, to).step() is None
    open_line(store).record(EventKind.REJECTED, cycle_key="a" * 64, reason="worse", actor="night", detail={})
    assert here.step() is None
    assert commands_run(to) == ["v0001"]


def test_each_newer_event_is_acknowledged(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to)
    here.step()
    open_line(store).record(EventKind.REJECTED, cycle_key="a" * 64, reason="worse", actor="night", detail={})
    here.step()
    assert {each.sequence for each in acknowledgements(store, "integration").values() if each} == {2}


def test_a_consumer_acknowledges_the_base_model_at_first(to: Path) -> None:
    store = MemoryStore()
    here = follower(store, to)
    assert here.step() is None
    assert acknowledged(store) is None
    publish(open_line(store), "one")
    assert here.step() is not None
    assert commands_run(to) == ["v0001"]


def test_consumer_name_and_command_are_optional(to: Path) -> None:
    store = line_of("one")
    assert follower(store, to, command=None, consumer=None).step() == ChampionChange(
        version="v0001", path=to / "v0001", exit_code=0
    )
    assert acknowledgements(store, "integration") == {}
    assert commands_run(to) == []


def test_a_failed_command_is_repeated_after_a_restart_only(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to, code=3)
    assert here.step() == ChampionChange(version="v0001", path=to / "v0001", exit_code=3)
    assert here.step() is None
    assert commands_run(to) == ["v0001"]
    assert acknowledged(store) == "nothing"
    assert follower(store, to).step() == ChampionChange(version="v0001", path=to / "v0001", exit_code=0)
    assert acknowledged(store) == "v0001"


def test_the_command_runs_for_the_change_after_a_failed_one(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to, code=3)
    here.step()
    publish(open_line(store), "two")
    assert here.step() is not None
    open_line(store).rollback("base", reason="worse", actor="ada")
    assert here.step() is not None
    assert commands_run(to) == ["v0001", "v0002", "base"]


def test_an_interrupted_delivery_is_completed(to: Path) -> None:
    class Away(MemoryStore):
        down = False

        def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
            if self.down and "/objects/" in key:
                raise StoreDownError("no answer")
            return super().read(key, start=start)

    store = Away()
    publish(open_line(store), "one")
    here = follower(store, to)
    here.step()
    publish(open_line(store), "two")
    store.down = True
    with pytest.raises(StoreDownError):
        here.step()
    assert (to / CURRENT).readlink().name == "v0001"
    store.down = False
    assert here.step() is not None
    assert commands_run(to) == ["v0001", "v0002"]


def test_a_modified_folder_is_repaired_at_the_start(to: Path) -> None:
    store = line_of("one")
    follower(store, to).step()
    (to / "v0001" / "adapter_config.json").write_bytes(b"{}")
    assert follower(store, to).step() is None
    assert (to / "v0001" / "adapter_config.json").read_bytes() == CONFIG


def test_an_older_head_is_refused(to: Path) -> None:
    store = line_of("one")
    old = store.get("integration/HEAD").data
    publish(open_line(store), "two")
    follower(store, to).step()
    store.put("integration/HEAD", old)
    with pytest.raises(IntegrityError, match="has 1 events, but 2 were seen before"):
        follower(store, to).step()
    assert (to / CURRENT).readlink().name == "v0002"


def test_only_old_version_folders_are_pruned(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to, keep=1)
    here.step()
    (to / "v9999").mkdir()
    (to / "notes").mkdir()
    publish(open_line(store), "two")
    here.step()
    assert sorted(each.name for each in to.iterdir()) == [STATE_FILE, CURRENT, "notes", "v0002", "v9999"]
    open_line(store).rollback("v0001", reason="worse", actor="ada", keep=True)
    here.step()
    assert {"v0001", "v0002"} <= {each.name for each in to.iterdir()}


def test_a_directory_follows_one_line(to: Path) -> None:
    follower(line_of("one"), to).step()
    (to / STATE_FILE).write_bytes((to / STATE_FILE).read_bytes().replace(b"integration", b"addition"))
    with pytest.raises(BadInputError, match="follows line addition"):
        follower(line_of("one"), to)


def test_an_unreadable_state_file_is_rebuilt(to: Path) -> None:
    store = line_of("one")
    follower(store, to).step()
    (to / STATE_FILE).write_bytes(b"{}")
    assert FollowedState.load(to) is None
    assert follower(store, to).step() is not None


def test_a_foreign_file_named_current_is_kept(to: Path) -> None:
    to.mkdir()
    (to / CURRENT).write_bytes(b"mine")
    with pytest.raises(BadInputError, match="is not a symbolic link of a follower"):
        follower(line_of("one"), to).step()


@pytest.mark.parametrize("command", ["no-such-program-here x", "'open quote", "''", "  "])
def test_an_invalid_command_is_refused_at_once(to: Path, command: str) -> None:
    with pytest.raises(BadInputError, match="--exec"):
        follower(MemoryStore(), to, command=command)


class Stop(BaseException):
    """Ends the endless loop of the test."""


def test_an_outage_is_reported_once_and_waited_out() -> None:
    change = ChampionChange(version="v0001", path=None, exit_code=0)
    steps = iter([StoreDownError("away"), StoreDownError("away"), IntegrityError("bad"), None, change])
    reports: list[ChampionChange | str] = []

    def step() -> ChampionChange | None:
        found = next(steps, Stop())
        if isinstance(found, BaseException):
            raise found
        return found

    with pytest.raises(Stop):
        follow(step, pause=lambda: None, report=reports.append)
    waiting = "(waiting; the delivered version stays in place)"
    assert reports == [f"away {waiting}", f"bad {waiting}", "the error is gone; following the champion again", change]


def test_bad_input_ends_the_loop() -> None:
    def step() -> ChampionChange | None:
        raise BadInputError("no link")

    with pytest.raises(BadInputError):
        follow(step, pause=lambda: None, report=lambda _: None)


@pytest.mark.parametrize("stubborn", [False, True])
def test_an_interrupt_stops_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stubborn: bool) -> None:
    monkeypatch.setattr(module, "TERMINATE_TIMEOUT_S", 0.2)
    begun = tmp_path / "begun"
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    code = f"import os, pathlib, signal, time; {ignore}"
    code += f"pathlib.Path({str(begun)!r}).write_text(str(os.getpid())); time.sleep(600)"
    stopped: list[subprocess.Popen[bytes]] = []

    class Stopped(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            if not stopped:
                while not begun.exists():
                    time.sleep(0.01)
                stopped.append(self)
                raise Stop
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Stopped)
    with pytest.raises(Stop):
        module.run_command([sys.executable, "-c", code], environ={})
    assert stopped[0].returncode == (-signal.SIGKILL if stubborn else -signal.SIGTERM)


def test_each_folder_has_a_receipt(to: Path) -> None:
    follower(line_of("one"), to).step()
    held = Receipt.of(to / "v0001")
    assert held is not None
    assert (held.version, held.sequence) == ("v0001", 1)
    assert (to / "v0001" / RECEIPT).is_file()
