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
from everlearn.serving.follow import CURRENT, MEMORY, ChampionChange, Followed, Follower, follow
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


def told(to: Path) -> list[str]:
    log = to.with_name("log")
    return [each for each in log.read_text().split() if each != "True"] if log.exists() else []


def said(store: MemoryStore) -> str | None:
    here = acknowledgements(store, "integration").get("here")
    return here.version if here else "nothing"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "served"


def test_each_version_gets_a_folder_of_its_own_and_the_link_follows_the_champion(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to)
    assert here.step() == ChampionChange(version="v0001", path=to / "v0001", exit=0)
    inode = (to / "v0001").stat().st_ino
    publish(open_line(store), "two")
    assert here.step() == ChampionChange(version="v0002", path=to / "v0002", exit=0)
    assert (to / "v0001" / "adapter_model.safetensors").read_bytes() == adapter("one")
    assert (to / CURRENT / "adapter_model.safetensors").read_bytes() == adapter("two")
    open_line(store).rollback(reason="worse", actor="ada")
    assert here.step() == ChampionChange(version="v0001", path=to / "v0001", exit=0)
    assert (to / "v0001").stat().st_ino == inode
    assert (to / CURRENT).readlink().name == "v0001"
    assert told(to) == ["v0001", "v0002", "v0001"]


def test_a_rollback_to_the_base_model_removes_the_link_and_is_told(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to)
    here.step()
    open_line(store).rollback("base", reason="worse", actor="ada")
    assert here.step() == ChampionChange(version="base", path=None, exit=0)
    assert not (to / CURRENT).is_symlink()
    assert (to / "v0001").is_dir()
    assert told(to) == ["v0001", "base"]
    assert said(store) is None


def test_a_change_is_told_once_even_across_restarts(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to)
    assert here.step()
    assert here.step() is None
    assert follower(store, to).step() is None
    open_line(store).record(EventKind.REJECTED, cycle_key="a" * 64, reason="worse", actor="night", detail={})
    assert here.step() is None
    assert told(to) == ["v0001"]


def test_an_acknowledgement_follows_the_history_even_where_the_champion_stays(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to)
    here.step()
    open_line(store).record(EventKind.REJECTED, cycle_key="a" * 64, reason="worse", actor="night", detail={})
    here.step()
    assert {each.sequence for each in acknowledgements(store, "integration").values() if each} == {2}


def test_before_the_first_version_there_is_nothing_to_tell_but_who_is_there_is_known(to: Path) -> None:
    store = MemoryStore()
    here = follower(store, to)
    assert here.step() is None
    assert said(store) is None
    publish(open_line(store), "one")
    assert here.step() is not None
    assert told(to) == ["v0001"]


def test_without_a_name_nothing_is_acknowledged_and_without_a_command_nothing_is_run(to: Path) -> None:
    store = line_of("one")
    assert follower(store, to, command=None, consumer=None).step() == ChampionChange(
        version="v0001", path=to / "v0001", exit=0
    )
    assert acknowledgements(store, "integration") == {}
    assert told(to) == []


def test_a_command_that_fails_is_not_repeated_and_not_acknowledged_until_a_restart(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to, code=3)
    assert here.step() == ChampionChange(version="v0001", path=to / "v0001", exit=3)
    assert here.step() is None
    assert told(to) == ["v0001"]
    assert said(store) == "nothing"
    assert follower(store, to).step() == ChampionChange(version="v0001", path=to / "v0001", exit=0)
    assert said(store) == "v0001"


def test_the_next_change_is_told_after_one_that_failed(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to, code=3)
    here.step()
    publish(open_line(store), "two")
    assert here.step() is not None
    open_line(store).rollback("base", reason="worse", actor="ada")
    assert here.step() is not None
    assert told(to) == ["v0001", "v0002", "base"]


def test_a_change_whose_delivery_was_cut_short_is_made_up_for(to: Path) -> None:
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
    assert told(to) == ["v0001", "v0002"]


def test_a_folder_that_was_changed_is_put_right_at_the_start(to: Path) -> None:
    store = line_of("one")
    follower(store, to).step()
    (to / "v0001" / "adapter_config.json").write_bytes(b"{}")
    assert follower(store, to).step() is None
    assert (to / "v0001" / "adapter_config.json").read_bytes() == CONFIG


def test_an_older_head_is_not_followed(to: Path) -> None:
    store = line_of("one")
    old = store.get("integration/HEAD").data
    publish(open_line(store), "two")
    follower(store, to).step()
    store.put("integration/HEAD", old)
    with pytest.raises(IntegrityError, match="1 events, but 2 were seen before"):
        follower(store, to).step()
    assert (to / CURRENT).readlink().name == "v0002"


def test_the_oldest_folders_go_if_asked_but_never_the_one_that_serves_nor_anybody_elses(to: Path) -> None:
    store = line_of("one")
    here = follower(store, to, keep=1)
    here.step()
    (to / "v9999").mkdir()
    (to / "notes").mkdir()
    publish(open_line(store), "two")
    here.step()
    assert sorted(each.name for each in to.iterdir()) == [MEMORY, CURRENT, "notes", "v0002", "v9999"]
    open_line(store).rollback("v0001", reason="worse", actor="ada", keep=True)
    here.step()
    assert {"v0001", "v0002"} <= {each.name for each in to.iterdir()}


def test_a_directory_follows_one_line(to: Path) -> None:
    follower(line_of("one"), to).step()
    (to / MEMORY).write_bytes((to / MEMORY).read_bytes().replace(b"integration", b"addition"))
    with pytest.raises(BadInputError, match="follows line addition"):
        follower(line_of("one"), to)


def test_what_is_remembered_and_cannot_be_read_is_found_out_again(to: Path) -> None:
    store = line_of("one")
    follower(store, to).step()
    (to / MEMORY).write_bytes(b"{}")
    assert Followed.of(to) is None
    assert follower(store, to).step() is not None


def test_somebody_elses_current_is_left_alone(to: Path) -> None:
    to.mkdir()
    (to / CURRENT).write_bytes(b"mine")
    with pytest.raises(BadInputError, match="is no link that a watch has made"):
        follower(line_of("one"), to).step()


@pytest.mark.parametrize("command", ["no-such-program-here x", "'open quote", "''", "  "])
def test_a_command_that_is_none_is_refused_at_once(to: Path, command: str) -> None:
    with pytest.raises(BadInputError, match="--exec"):
        follower(MemoryStore(), to, command=command)


class Enough(BaseException):
    """The test has seen enough."""


def test_an_outage_is_waited_out_and_told_once() -> None:
    change = ChampionChange(version="v0001", path=None, exit=0)
    steps = iter([StoreDownError("away"), StoreDownError("away"), IntegrityError("bad"), None, change])
    heard: list[ChampionChange | str] = []

    def step() -> ChampionChange | None:
        found = next(steps, Enough())
        if isinstance(found, BaseException):
            raise found
        return found

    with pytest.raises(Enough):
        follow(step, pause=lambda: None, say=heard.append)
    waiting = "(waiting; what was delivered last stays in place)"
    assert heard == [f"away {waiting}", f"bad {waiting}", "going on", change]


def test_what_no_waiting_heals_ends_the_watch() -> None:
    def step() -> ChampionChange | None:
        raise BadInputError("no link")

    with pytest.raises(BadInputError):
        follow(step, pause=lambda: None, say=lambda _: None)


@pytest.mark.parametrize("stubborn", [False, True])
def test_when_the_watch_is_stopped_its_command_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stubborn: bool
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.2)
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
                raise Enough
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Stopped)
    with pytest.raises(Enough):
        module.run([sys.executable, "-c", code], environ={})
    assert stopped[0].returncode == (-signal.SIGKILL if stubborn else -signal.SIGTERM)


def test_every_folder_says_what_it_holds(to: Path) -> None:
    follower(line_of("one"), to).step()
    held = Receipt.of(to / "v0001")
    assert held is not None
    assert (held.version, held.sequence) == ("v0001", 1)
    assert (to / "v0001" / RECEIPT).is_file()
