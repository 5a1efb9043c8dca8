from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.cli import nights
from everlearn.cli.context import Installation
from everlearn.cli.nights import _with_inbox
from everlearn.cycle.inputs import CycleInputs
from everlearn.cycle.record import open_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.errors import ServiceError
from everlearn.local import laptop
from everlearn.local.seaweedfs import LocalS3
from everlearn.registry.connect import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.settings import Settings
    from tests.everlearn.cli.conftest import Ended


@dataclass(frozen=True, kw_only=True)
class CycleConfig:
    data: Path
    settings: Settings
    again: bool


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the flow by one that ends as `end` at once and keeps its config. The real one is tested in tests/flows."""
    night: dict[str, Any] = {"end": "PUBLISHED", "version": "v0001", "reason": "31 points up", "config": None}

    def run_cycle(config: CycleConfig) -> dict[str, Any]:
        night["config"] = config
        if "signal" in night:
            signal.raise_signal(night["signal"])
        night["api"] = os.environ.get("PREFECT_API_URL")
        return {
            name: night[name]
            for name in ("end", "version", "reason", "cycle_key", "waits_for", "items", "report")
            if name in night
        }

    flow = ModuleType("flows.run_cycle")
    flow.CycleConfig, flow.run_cycle = CycleConfig, run_cycle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flows.run_cycle", flow)
    # The session's S3 server is running; the start of Prefect takes many seconds and has a slow test.
    monkeypatch.setattr(
        laptop, "up", lambda directory, *, bucket: {"S3": LocalS3(directory / "s3", bucket=bucket).start()}
    )
    return night


def test_cycle_passes_servers_inbox_and_profile(
    everlearn: Callable[..., Ended], night: dict[str, Any], home: Path
) -> None:
    ended = everlearn("cycle", "--profile", "nightly")
    assert ended.code == 0
    assert "v0001" in ended.out
    assert night["config"].data is None, "so that the inbox in the bucket is read, too"
    assert night["config"].settings.inbox_directory.parent == home / "inbox"
    assert night["config"].settings.inbox_directory.name == night["config"].settings.store.line
    assert night["config"].settings.profile == "nightly"
    assert night["config"].settings.store.endpoint_url.startswith("http://127.0.0.1:")


def test_cycle_warns_about_misplaced_shards(everlearn: Callable[..., Ended], night: dict[str, Any], home: Path) -> None:
    stray = home / "inbox" / "a.jsonl"
    stray.parent.mkdir(exist_ok=True)
    stray.touch()
    assert f"1 shards in {home / 'inbox'} are in no line's inbox" in everlearn("cycle").err
    stray.unlink()
    assert "in no line's inbox" not in everlearn("cycle").err


def test_the_inbox_beside_the_settings_is_left_to_them(params: Path) -> None:
    installation = Installation.beside(params, home=None)
    assert _with_inbox(installation) == installation.settings()


@pytest.mark.parametrize(
    ("end", "code"),
    [("PUBLISHED", 0), ("SKIPPED", 0), ("NO_NEW_DATA", 0), ("REJECTED", 10), ("INSUFFICIENT", 11)],
)
def test_the_exit_code_is_the_end_of_the_night(
    end: str, code: int, everlearn: Callable[..., Ended], night: dict[str, Any], tmp_path: Path
) -> None:
    night["end"] = end
    ended = everlearn("cycle", "--data", str(tmp_path), "--json")
    assert ended.code == code
    assert ended.facts["end"] == end
    assert night["config"].data == tmp_path


def test_the_last_lines_say_how_many_items_are_the_users(
    everlearn: Callable[..., Ended], night: dict[str, Any], tmp_path: Path
) -> None:
    night["items"] = "31 of 200 target items are yours"
    assert "31 of 200 target items are yours" in everlearn("cycle", "--data", str(tmp_path)).out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_night_names_the_command_to_resume(
    number: signal.Signals, code: int, everlearn: Callable[..., Ended], night: dict[str, Any]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    night["signal"] = number
    ended = everlearn("cycle")
    assert ended.code == code
    assert "the same command resumes the night" in ended.err
    assert signal.getsignal(signal.SIGTERM) is before


def test_cycle_starts_no_server_for_a_configured_store(
    everlearn: Callable[..., Ended], night: dict[str, Any], params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laptop, "up", None)
    params.write_text("store: {endpoint_url: 'https://s3.example'}", encoding="utf-8")
    assert everlearn("cycle").code == 0
    assert night["config"].settings.store.endpoint_url == "https://s3.example"


@pytest.mark.usefixtures("night")
def test_cycle_says_before_the_night_that_prefect_does_not_answer(
    everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        ended = everlearn("cycle")
    assert ended.code == ServiceError.exit_code
    assert "the Prefect server at http://127.0.0.1:9/api does not answer" in ended.err


@pytest.mark.usefixtures("night")
def test_cycle_says_that_prefect_moves_to_another_database(
    everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Installation, "choose_database", lambda *_: "Prefect starts on another database.")
    assert "Prefect starts on another database." in everlearn("cycle").err


def test_cycle_asks_a_server_that_answers_for_its_version(
    everlearn: Callable[..., Ended], night: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://there/api")
    monkeypatch.setattr(nights, "prefect_client", lambda _: contextlib.nullcontext())
    assert (everlearn("cycle").code, night["api"]) == (0, "http://there/api")


def test_cycle_abandons_an_open_night(everlearn: Callable[..., Ended], home: Path, params: Path) -> None:
    assert everlearn("cycle", "--abandon", "--json").facts == {"abandoned": None, "charged": False}
    chosen = Installation(home=home, params=params).settings().store
    inputs = CycleInputs(data_digest="d", config_digest="c", parent=None, base_fingerprint="b", code_version="1")
    opened = open_cycle(open_store(chosen), chosen.line, inputs)
    said = everlearn("cycle", "--abandon").out
    assert (opened.key in said, "INSUFFICIENT" in said) == (True, False)
    opened = open_cycle(open_store(chosen), chosen.line, inputs)
    assert everlearn("cycle", "--abandon", "--json").facts == {"abandoned": opened.key, "charged": False}


def test_giving_up_a_measured_candidate_says_what_was_recorded_and_the_remedy(
    everlearn: Callable[..., Ended], home: Path, params: Path
) -> None:
    registry = Installation(home=home, params=params).registry()

    def give_up(data: str, *options: str) -> tuple[str, Ended]:
        inputs = CycleInputs(data_digest=data, config_digest="c", parent=None, base_fingerprint="b", code_version="1")
        opened = open_cycle(registry.store, registry.line, inputs)
        Workspace(registry.store, registry.line, opened.key, token=1).put("decision", b"{}")
        ended = everlearn("cycle", "--abandon", *options)
        event = registry.state().history[-1]
        assert (event.kind, event.cycle_key) == ("insufficient", opened.key)
        return opened.key, ended

    key, ended = give_up("one", "--json")
    assert ended.facts == {"abandoned": key, "charged": True}
    _, ended = give_up("two", "--data", "d")
    assert "INSUFFICIENT was recorded" in ended.out
    assert "SKIPPED now. Another one begins with: everlearn cycle --data d --again" in ended.out


def test_a_profile_names_the_line_for_every_command(
    everlearn: Callable[..., Ended], night: dict[str, Any], params: Path
) -> None:
    params.write_text(params.read_text() + "profiles: {sums: {store: {line: sums}}}\n", encoding="utf-8")
    assert everlearn("cycle", "--profile", "sums", "--abandon", "--json").facts == {"abandoned": None, "charged": False}
    chosen = Installation(home=params.parent, params=params, profile="sums").settings().store
    inputs = CycleInputs(data_digest="d", config_digest="c", parent=None, base_fingerprint="b", code_version="1")
    opened = open_cycle(open_store(chosen), "sums", inputs)
    assert everlearn("cycle", "--abandon", "--json").facts == {"abandoned": None, "charged": False}
    assert everlearn("cycle", "--profile", "sums", "--abandon", "--json").facts["abandoned"] == opened.key
    for words in (("--profile", "sums", "cycle"), ("cycle", "--profile", "sums")):
        shown = everlearn(*words).out
        assert "everlearn --profile sums report v0001" in shown
        assert "everlearn --profile sums rollback" in shown
    assert "everlearn report v0001" in everlearn("cycle", "--profile", "nightly").out, "the same line"
    assert everlearn("--profile", "sums", "doctor", "--json").facts[0]["detail"].endswith("profile sums, line sums")


def test_cycle_names_the_command_that_approves(everlearn: Callable[..., Ended], night: dict[str, Any]) -> None:
    night["waits_for"] = "approval"
    assert "everlearn approve v0001" in everlearn("cycle").out


def test_cycle_names_the_report_of_a_night_without_a_version(
    everlearn: Callable[..., Ended], night: dict[str, Any]
) -> None:
    night |= {"end": "INSUFFICIENT", "version": None, "cycle_key": "0123456789", "report": "d" * 64}
    assert "everlearn report 01234567\n" in everlearn("cycle").out


@pytest.mark.parametrize(
    ("end", "key", "offered"),
    [
        ("NO_NEW_DATA", "a" * 64, True),
        ("SKIPPED", "a" * 64, True),
        ("SKIPPED", None, False),
        ("REJECTED", "a" * 64, False),
    ],
)
def test_cycle_names_the_command_that_offers_data_again(
    everlearn: Callable[..., Ended], night: dict[str, Any], end: str, key: str | None, *, offered: bool
) -> None:
    night |= {"end": end, "cycle_key": key, "version": None}
    assert ("everlearn cycle --again" in everlearn("cycle").out) == offered
    assert night["config"].again is False
    assert ("everlearn cycle --data . --again" in everlearn("cycle", "--data", ".").out) == offered
    everlearn("cycle", "--again")
    assert night["config"].again is True
