from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cli import consumers
from everlearn.errors import BadInputError, IntegrityError, StoreDownError
from everlearn.local.process import wait_until
from everlearn.serving.follow import Follower
from tests.support.line import adapter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended


def test_pull_delivers_the_champion_into_a_directory(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path
) -> None:
    publish()
    facts = everlearn("pull", "champion", "--to", str(tmp_path / "adapter"), "--json").facts
    assert facts["files"] == ["adapter_config.json", "adapter_model.safetensors", "everlearn.json"]
    assert (facts["version"], facts["sequence"]) == ("v0001", 1)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == adapter("0")


def test_a_damaged_version_is_not_delivered(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry, tmp_path: Path
) -> None:
    publish()
    ref = registry.manifest("v0001").files["adapter_model.safetensors"]
    registry.store.put(f"{registry.line}/objects/sha256/{ref.digest}", adapter("9"))
    ended = everlearn("pull", "v0001", "--to", str(tmp_path / "adapter"))
    assert ended.code == IntegrityError.exit_code
    assert not (tmp_path / "adapter").exists()


def test_pull_says_that_a_version_is_barred(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry, tmp_path: Path
) -> None:
    publish()
    registry.rollback(reason="wrong signs", actor="ada")
    ended = everlearn("pull", "v0001", "--to", str(tmp_path / "adapter"))
    assert (ended.code, "v0001 is barred" in ended.err) == (0, True)


def test_pull_refuses_an_older_history(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry, tmp_path: Path
) -> None:
    publish()
    old = registry.store.get(f"{registry.line}/HEAD").data
    publish()
    to = str(tmp_path / "adapter")
    assert everlearn("pull", "champion", "--to", to, "--at-least", "3").code == IntegrityError.exit_code
    assert everlearn("pull", "champion", "--to", to, "--at-least", "2").code == 0
    registry.store.put(f"{registry.line}/HEAD", old)
    ended = everlearn("pull", "champion", "--to", to)
    assert (ended.code, "1 events, but 2 were seen before" in ended.err) == (IntegrityError.exit_code, True)


def test_pull_shows_the_progress_of_a_large_version(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.setattr(consumers, "LARGE", 9)
    ended = everlearn("pull", "champion", "--to", str(tmp_path / "adapter"), "--json")
    assert ended.facts["version"] == "v0001"
    assert "fetching v0001: 0 MiB" in ended.err


def test_replicas_shows_what_a_named_consumer_serves(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path
) -> None:
    assert "no consumer has acknowledged a version" in everlearn("replicas").out
    publish()
    everlearn("pull", "champion", "--to", str(tmp_path / "a"), "--consumer", "web-1")
    (replica,) = everlearn("replicas", "--json").facts
    assert (replica["consumer"], replica["version"], replica["behind"], replica["sequence"]) == (
        "web-1",
        "v0001",
        False,
        1,
    )
    assert "up to date" in everlearn("replicas").out
    publish()
    assert "behind" in everlearn("replicas").out
    assert everlearn("replicas", "--forget", "web-1", "--json").facts == []
    assert everlearn("replicas", "--forget", "web-1").code == BadInputError.exit_code


def test_pull_checks_the_consumer_name_first(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path
) -> None:
    publish()
    ended = everlearn("pull", "champion", "--to", str(tmp_path / "a"), "--consumer", "../HEAD")
    assert ended.code == BadInputError.exit_code
    assert not (tmp_path / "a").exists()


def test_replicas_shows_a_damaged_acknowledgement(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry
) -> None:
    publish()
    registry.store.put(f"{registry.line}/consumers/web-1.json", b"?")
    assert "cannot be read" in everlearn("replicas").out
    assert everlearn("replicas", "--json").facts[0]["behind"] is True


def test_watch_once_delivers_the_champion(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path
) -> None:
    to = tmp_path / "served"
    assert everlearn("watch", "--to", str(to), "--once").out == "nothing has changed\n"
    publish()
    facts = everlearn("watch", "--to", str(to), "--once", "--json").facts
    assert facts == {"changed": True, "version": "v0001", "path": str(to / "v0001"), "exit": 0}
    assert everlearn("watch", "--to", str(to), "--once", "--json").facts["changed"] is False
    assert [each["consumer"] for each in everlearn("replicas", "--json").facts] == [socket.gethostname()]
    everlearn("rollback", "--reason", "x")
    ended = everlearn("watch", "--to", str(to), "--once", "--consumer", "")
    assert ended.out == "the base model alone serves\n"
    assert everlearn("replicas", "--json").facts[0]["version"] == "v0001"


@pytest.mark.parametrize(("ending", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 15)", 143)])
def test_watch_once_returns_the_exit_code_of_the_command(
    *, everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path, ending: str, code: int
) -> None:
    publish()
    command = f"{sys.executable} -c {json.dumps(ending)}"
    ended = everlearn("watch", "--to", str(tmp_path / "served"), "--exec", command, "--once")
    assert ended.code == code
    assert "the command failed" in ended.out
    assert everlearn("replicas", "--json").facts == []


def interrupted() -> Callable[[Follower], Any]:
    """A step that fails with StoreDownError at the second call, and is interrupted at the third."""
    looks, step = itertools.count(1), Follower.step

    def look(follower: Follower) -> Any:
        match next(looks):
            case 2:
                raise StoreDownError("the store is away")
            case 3:
                os.kill(os.getpid(), signal.SIGINT)
        return step(follower)

    return look


def test_watch_prints_changes_and_outages(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.setattr(Follower, "step", interrupted())
    handler = signal.getsignal(signal.SIGTERM)
    ended = everlearn("watch", "--to", str(tmp_path / "served"), "--interval", "0.1", "--json")
    assert ended.code == 0
    assert ended.facts["version"] == "v0001"
    assert "the store is away (waiting" in ended.err
    assert "stopped by SIGINT; what was delivered stays" in ended.err
    assert signal.getsignal(signal.SIGTERM) is handler


def logged_versions(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def test_watch_follows_changes_until_sigterm(
    *, publish: Callable[..., str], registry: Registry, home: Path, params: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    record = f"import os; open({str(log)!r}, 'a').write(os.environ['EVERLEARN_VERSION'] + ' ')"
    words = ["--home", str(home), "--params", str(params), "watch", "--to", str(tmp_path / "served")]
    words += ["--exec", f"{sys.executable} -c {json.dumps(record)}", "--interval", "0.1", "--consumer", "web-1"]
    command = [sys.executable, "-c", "from everlearn.cli import main; main()", *words]
    publish()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert wait_until(lambda: logged_versions(log) == ["v0001"], timeout_s=60)
        publish()
        assert wait_until(lambda: logged_versions(log) == ["v0001", "v0002"], timeout_s=60)
        registry.rollback(reason="x", actor="ada")
        assert wait_until(lambda: logged_versions(log) == ["v0001", "v0002", "v0001"], timeout_s=60)
        key = f"{registry.line}/consumers/web-1.json"
        assert wait_until(lambda: b'"sequence":3' in registry.store.get(key).data, timeout_s=60)
        assert process.stdout is not None
        told = [process.stdout.readline().split(" ")[0] for _ in range(3)]  # the last one after its acknowledgement
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (told, out) == (["v0001", "v0002", "v0001"], "")
    assert "stopped by SIGTERM" in err
    assert "Traceback" not in err
