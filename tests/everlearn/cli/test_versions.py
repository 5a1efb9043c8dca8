from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from everlearn.errors import RegistryError, StoreError
from everlearn.events import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry import Registry
    from tests.everlearn.cli.conftest import Ended


def test_an_empty_line_says_that_the_base_model_serves(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("status")
    assert ended.code == 0
    assert "none yet: the base model serves" in ended.out
    facts = everlearn("status", "--json").facts
    assert (facts["champion"], facts["versions"], facts["last"], facts["events"]) == (None, [], None, 0)
    assert "nothing has happened yet" in everlearn("history").out


def test_a_published_version_is_the_champion_with_its_reason(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish(reason="12 more solved [of 200]")
    assert everlearn("status", "--json").facts["champion"] == "v0001"
    ended = everlearn("status")
    assert "published v0001 as champion: 12 more solved [of 200]" in ended.out


def test_history_shows_the_newest_first_and_no_more_than_asked_for(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish(reason="first")
    publish(reason="second")
    told = everlearn("history", "--limit", "1")
    assert "second" in told.out
    assert "first" not in told.out
    assert [event["sequence"] for event in everlearn("history", "--json").facts] == [2, 1]


def test_a_night_without_a_version_is_in_the_history_with_its_reason(
    everlearn: Callable[..., Ended], registry: Registry
) -> None:
    registry.record(Kind.REJECTED, cycle_key="a" * 64, reason="skills got worse", actor="night", detail={})
    assert "rejected: skills got worse" in everlearn("history").out


def test_rollback_lets_the_version_before_serve_again_and_bars_the_other(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish()
    publish()
    ended = everlearn("rollback", "--reason", "wrong signs", "--json")
    assert ended.code == 0
    assert ended.facts["detail"] == {"from": "v0002", "to": "v0001", "barred": True}
    facts = everlearn("status", "--json").facts
    assert (facts["champion"], facts["barred"]) == ("v0001", ["v0002"])
    told = everlearn("rollback", "--to", "base", "--reason", "all of it")
    assert told.out == "rolled back v0001 to the base model: all of it\n"


def test_rollback_without_a_reason_is_refused(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("rollback")
    assert ended.code == 2
    assert "--reason" in ended.err


def test_rollback_where_nothing_was_published_says_so(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("rollback", "--reason", "x")
    assert ended.code == RegistryError.exit_code
    assert "nothing to roll back" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(("words", "asked"), [((), 1), (("--yes",), 0)])
def test_at_a_terminal_rollback_asks_first_unless_told_not_to(
    words: tuple[str, ...],
    asked: int,
    everlearn: Callable[..., Ended],
    publish: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish()
    questions: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda question, **_: questions.append(question))
    assert everlearn("rollback", "--reason", "x", *words).code == 0
    assert len(questions) == asked
    assert all("Take back v0001, so that the base model serves?" in question for question in questions)


def test_show_tells_where_a_version_came_from_and_what_the_gate_said(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish()
    ended = everlearn("show", "champion")
    assert "gate: PASS" in ended.out
    assert "104 won, 4 lost [of 200]" in ended.out
    assert "the base model" in ended.out
    facts = everlearn("show", "v0001", "--json").facts
    assert facts["decision"]["outcome"] == "PASS"
    assert facts["files"]["adapter_model.safetensors"]["size"] == 9
    assert not facts["barred"]


def test_a_version_without_decision_and_report_can_be_shown_but_not_reported(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish(report=False, decision=False)
    assert "gate" not in everlearn("show", "v0001").out
    ended = everlearn("report", "v0001")
    assert ended.code == StoreError.exit_code
    assert "published without a report" in ended.err


def test_an_unknown_version_is_refused_with_those_there_are(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish()
    ended = everlearn("show", "v0009")
    assert ended.code == RegistryError.exit_code
    assert "v0001" in ended.err


def test_pull_delivers_the_champion_into_a_directory(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path
) -> None:
    publish()
    facts = everlearn("pull", "champion", "--to", str(tmp_path / "adapter"), "--json").facts
    assert facts["files"] == ["adapter_model.safetensors", "everlearn.json"]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == b"weights 0"


def test_the_report_of_a_night_is_fetched_as_one_page(
    everlearn: Callable[..., Ended], publish: Callable[..., str], home: Path, tmp_path: Path
) -> None:
    publish()
    page = home / "reports" / "v0001.html"
    page.unlink(missing_ok=True)
    ended = everlearn("report", "champion")
    assert ended.out == f"{page}\n"
    assert page.read_text(encoding="utf-8") == "<html>the night</html>"
    assert everlearn("report", "v0001", "--to", str(tmp_path / "n.html"), "--json").facts["version"] == "v0001"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["n.html", "params.yaml"]


def test_without_a_server_the_remedy_is_named(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    ended = everlearn("status", at=tmp_path / "nowhere")
    assert ended.code == StoreError.exit_code
    assert "everlearn up" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("words", [["status"], ["history"], ["show", "v0001"], ["rollback", "--reason", "x"]])
def test_no_command_of_the_registry_imports_what_is_heavy(
    words: list[str], publish: Callable[..., str], home: Path, params: Path
) -> None:
    publish()
    code = (
        "import sys; from everlearn.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: print(ended.code or 0, {'torch', 'great_expectations', 'prefect'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "--home", str(home), "--params", str(params), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 set()"


def test_a_damaged_version_is_not_delivered(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry, tmp_path: Path
) -> None:
    publish()
    ref = registry.manifest("v0001").files["adapter_model.safetensors"]
    registry._store.put(f"{registry.line}/objects/sha256/{ref.digest}", b"weights 9")
    ended = everlearn("pull", "v0001", "--to", str(tmp_path / "adapter"))
    assert ended.code == 5
    assert not (tmp_path / "adapter").exists()
