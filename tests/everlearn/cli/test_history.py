from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import typer

from everlearn.canonical_json import canonical
from everlearn.cli.waiting import parse_duration
from everlearn.errors import BadInputError, LateError, NotFoundError, RegistryError, StoreError
from everlearn.gate.decision_record import Outcome
from everlearn.registry.bill_of_materials import bill
from everlearn.registry.events import EventKind
from everlearn.registry.provenance import statement
from everlearn.storage.s3 import S3Store
from tests.everlearn.cli.conftest import DECISION
from tests.support.line import CONFIG, adapter, candidate
from tests.support.manifests import MANIFEST, RUN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended


LIGHT = (
    *("status", "history", "show v0001", "pull champion --to DIR/one", "watch --once --to DIR/all", "replicas"),
    *("promote v0001 --reason x", "rollback --reason x"),
)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({}, None),
        ({"PREFECT_API_URL": "http://127.0.0.1:4200/api"}, "http://127.0.0.1:4200"),
        ({"PREFECT_API_URL": "https://in.example/api", "PREFECT_UI_URL": "https://ui.example"}, "https://ui.example"),
    ],
)
def test_status_shows_the_address_of_the_dashboard(
    everlearn: Callable[..., Ended],
    publish: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    shown: str | None,
) -> None:
    publish()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert everlearn("status", "--json").facts["dashboard"] == shown
    assert shown is None or shown in everlearn("status").out


def test_status_of_an_empty_line_names_the_base_model(everlearn: Callable[..., Ended], registry: Registry) -> None:
    registry.store.put(f"{registry.line}/inbox/a.jsonl", b"{}")  # the bucket holds other lines: this one is known
    ended = everlearn("status")
    assert ended.code == 0
    assert "none: the base model serves" in ended.out
    assert "no version has been champion yet" in ended.out
    facts = everlearn("status", "--json").facts
    assert (facts["champion"], facts["versions"], facts["last"], facts["events"]) == (None, [], None, 0)
    assert "nothing has happened yet" in everlearn("history").out


def test_status_and_history_show_the_champion(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish(reason="12 more solved [of 200]")
    assert everlearn("status", "--json").facts["champion"] == "v0001"
    ended = everlearn("status")
    assert "published v0001 as champion: 12 more solved [of 200]" in ended.out


def test_history_shows_the_newest_up_to_the_limit(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish(reason="first")
    publish(reason="second")
    ended = everlearn("history", "--limit", "1")
    assert "second" in ended.out
    assert "first" not in ended.out
    assert [event["sequence"] for event in everlearn("history", "--json").facts] == [2, 1]


def test_history_shows_nights_without_a_version(everlearn: Callable[..., Ended], registry: Registry) -> None:
    registry.record(EventKind.REJECTED, cycle_key="a" * 64, reason="skills got worse", actor="night", detail={})
    assert "rejected: skills got worse" in everlearn("history").out


def test_rollback_returns_to_the_version_before_and_bars(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish()
    publish()
    ended = everlearn("rollback", "--reason", "wrong signs", "--json")
    assert ended.code == 0
    assert ended.facts["detail"] == {"from": "v0002", "to": "v0001", "barred": True}
    facts = everlearn("status", "--json").facts
    assert (facts["champion"], facts["barred"]) == ("v0001", ["v0002"])
    ended = everlearn("rollback", "--to", "base", "--reason", "all of it")
    assert ended.out.splitlines()[0] == "rolled back v0001 to the base model: all of it"


def test_rollback_without_a_reason_is_refused(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("rollback")
    assert ended.code == 2
    assert "--reason" in ended.err


@pytest.mark.parametrize("reason", ["", "  ", "\t\n"])
@pytest.mark.parametrize("command", ["rollback", "promote v0001"])
def test_an_empty_reason_is_refused_first(
    everlearn: Callable[..., Ended], publish: Callable[..., str], command: str, reason: str
) -> None:
    publish()
    ended = everlearn(*command.split(), "--reason", reason)
    assert ended.code == 2
    assert "say why in a few words" in " ".join(ended.err.split())
    assert everlearn("status", "--json").facts["events"] == 1


def test_show_prints_the_documents_of_a_version(everlearn: Callable[..., Ended], registry: Registry) -> None:
    documents = {"provenance": statement(MANIFEST, run=RUN), "bom": bill(MANIFEST, run=RUN)}
    documents["certificate"] = {"certificates": [{"content": {"domain": "chess"}, "signature": None}] * 3}
    refs = {name: registry.put_object(canonical(document)) for name, document in documents.items()}
    manifest = replace(candidate(registry, "one"), decision={}, **refs)  # type: ignore[arg-type]
    registry.publish(manifest, make_champion=True, actor="night", reason="better")
    for name, document in documents.items():
        assert everlearn("show", "champion", f"--{name}", "--json").facts == document
        shown = everlearn("show", "v0001", f"--{name}").out
        assert shown.count("\n") > 20
        assert json.loads(shown) == document
    both = everlearn("show", "v0001", "--bom", "--provenance")
    assert both.code == BadInputError.exit_code
    assert "ask for one at a time" in both.err
    assert everlearn("show", "v0001", "--json").facts["bom"]["digest"] == refs["bom"].digest


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("abc with uncommitted changes", "0.1.0, commit abc with uncommitted changes"),
        (None, "0.1.0, not from a checkout"),
    ],
)
def test_show_names_the_commit_of_the_code(
    everlearn: Callable[..., Ended], registry: Registry, code: str | None, shown: str
) -> None:
    made = replace(candidate(registry, "one"), decision={})
    document = registry.put_object(canonical(statement(made, run=replace(RUN, code=code))))
    registry.publish(replace(made, provenance=document), make_champion=True, actor="night", reason="better")
    assert everlearn("show", "v0001", "--json").facts["code"] == code
    assert shown in everlearn("show", "v0001").out


def test_show_refuses_missing_provenance(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish()
    ended = everlearn("show", "v0001", "--provenance")
    assert ended.code == NotFoundError.exit_code
    assert "v0001 was published without provenance" in ended.err


def test_rollback_of_an_empty_line_is_refused(everlearn: Callable[..., Ended], registry: Registry) -> None:
    registry.store.put(f"{registry.line}/inbox/a.jsonl", b"{}")
    ended = everlearn("rollback", "--reason", "x")
    assert ended.code == RegistryError.exit_code
    assert "nothing to roll back" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(("words", "expected"), [((), 1), (("--yes",), 0)])
def test_rollback_asks_for_confirmation_at_a_terminal(
    words: tuple[str, ...],
    expected: int,
    everlearn: Callable[..., Ended],
    publish: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish()
    questions: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda question, **_: questions.append(question))
    assert everlearn("rollback", "--reason", "x", *words).code == 0
    assert len(questions) == expected
    wanted = "Roll back v0001, so that the base model serves? v0001 will be barred."
    assert all(wanted in question for question in questions)


def test_rollback_prints_what_consumers_will_get(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish()
    publish()
    lines = everlearn("rollback", "--reason", "wrong signs").out.splitlines()
    assert lines[0] == "rolled back v0002 to v0001: wrong signs"
    assert lines[1] == "  v0002 is barred: it can be neither champion nor parent"
    assert lines[2] == "  the data of its night, 1111111111111111, is flagged for review"
    assert lines[3].startswith("  a pull of the champion now delivers v0001 (manifest ")
    assert lines[3].endswith(f", 2 files, {len(adapter('0')) + len(CONFIG)} bytes)")
    lines = everlearn("rollback", "--reason", "this, too").out.splitlines()
    assert lines[-1] == "  a pull of the champion is now refused: the base model serves"


def test_rollback_keep_does_not_bar_the_version(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish()
    publish()
    facts = everlearn("rollback", "--reason", "only a trial", "--keep", "--verify", "full", "--json").facts
    assert facts["detail"]["barred"] is False
    assert facts["consumers_get"]["version"] == "v0001"
    assert everlearn("status", "--json").facts["barred"] == []
    promoted = everlearn("promote", "v0002", "--reason", "the trial is over")
    assert promoted.out.splitlines()[0] == "promoted v0002: the trial is over"
    again = everlearn("promote", "v0002", "--reason", "the trial is over", "--json").facts
    assert (again["changed"], again["version"]) == (False, "v0002")
    assert "is the champion already" in everlearn("promote", "v0002", "--reason", "x").out


def test_promote_refuses_a_barred_version(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish()
    everlearn("rollback", "--reason", "wrong signs")
    ended = everlearn("promote", "v0001", "--reason", "why not")
    assert ended.code == RegistryError.exit_code
    assert "v0001 is barred" in ended.err


def object_of(registry: Registry, version: str) -> str:
    ref = registry.manifest(version).files["adapter_model.safetensors"]
    return f"{registry.line}/objects/sha256/{ref.digest}"


def test_rollback_checks_objects_before_it_changes_anything(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry
) -> None:
    publish()
    publish()
    key = object_of(registry, "v0001")
    registry.store.put(key, adapter("9"))
    ended = everlearn("rollback", "--reason", "x")
    assert (ended.code, "is damaged" in ended.err) == (5, True)
    registry.store.delete(key)
    ended = everlearn("rollback", "--reason", "x")
    assert (ended.code, "is missing" in ended.err) == (5, True)
    assert everlearn("status", "--json").facts["champion"] == "v0002"


def test_rollback_hashes_every_byte_if_asked(
    everlearn: Callable[..., Ended], publish: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    publish()
    read: list[str] = []
    read_objects(monkeypatch, read)
    assert everlearn("rollback", "--reason", "x").code == 0
    assert read == []
    publish()
    assert everlearn("rollback", "--to", "v0001", "--reason", "x", "--verify", "full").code == 0
    assert len(read) == 3, "the adapter's two files and the report"


def read_objects(monkeypatch: pytest.MonkeyPatch, read: list[str]) -> None:
    """Record the keys of all objects that are read."""
    for name in ("get", "read"):
        method = getattr(S3Store, name, None)
        if method is None:
            continue

        def noting(
            self: S3Store, key: str, *rest: object, method: Callable[..., object] = method, **named: object
        ) -> object:
            read.extend([key] if "/objects/" in key else [])
            return method(self, key, *rest, **named)

        monkeypatch.setattr(S3Store, name, noting)


def test_rollback_works_while_prefect_is_down(
    everlearn: Callable[..., Ended], publish: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert everlearn("rollback", "--reason", "x").code == 0


def test_rollback_waits_until_all_consumers_have_followed(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path
) -> None:
    publish()
    publish()
    everlearn("pull", "v0001", "--to", str(tmp_path / "a"), "--consumer", "here")
    ended = everlearn("rollback", "--reason", "x", "--wait", "1m")
    assert ended.code == 0
    assert "here serves v0001" in ended.out
    assert "all consumers have followed" in ended.err


def test_rollback_names_consumers_that_are_late(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path
) -> None:
    publish()
    publish()
    everlearn("pull", "v0002", "--to", str(tmp_path / "a"), "--consumer", "there")
    ended = everlearn("rollback", "--reason", "x", "--wait", "0.1s")
    assert ended.code == LateError.exit_code
    assert "there serves v0002 and has not followed yet" in ended.out
    assert "the champion has changed, but there did not follow within 0.1 s" in ended.err
    assert everlearn("status", "--json").facts["champion"] == "v0001"


def test_durations_have_units(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("rollback", "--reason", "x", "--wait", "soon")
    assert (ended.code, "is not a duration; write 60s, 5m or 1h" in ended.err) == (2, True)
    assert [parse_duration(text) for text in ("60", "60s", "1.5m", "2h")] == [60, 60, 90, 7200]


def test_rollback_succeeds_if_consumers_cannot_be_listed(
    everlearn: Callable[..., Ended], publish: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise StoreError("the bucket refuses to list")

    publish()
    monkeypatch.setattr(S3Store, "list", refused)
    ended = everlearn("rollback", "--reason", "x")
    assert ended.code == 0
    assert "the consumers cannot be read: the bucket refuses to list" in ended.out


@pytest.mark.parametrize("words", [("rollback",), ("promote", "v0001")])
def test_a_refused_confirmation_does_not_move_head(
    everlearn: Callable[..., Ended],
    publish: Callable[..., str],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    publish()
    publish()
    terminal = io.TextIOWrapper(io.BytesIO(b"n\n"))
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    ended = everlearn(*words, "--reason", "x")
    assert ended.code == 1
    assert "?" in ended.err
    assert registry.state().champion == "v0002"


def test_show_prints_origin_and_gate_decision(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish()
    ended = everlearn("show", "champion")
    assert "gate: PASS" in ended.out
    assert "104 won, 4 lost [of 200]" in ended.out
    assert "the base model" in ended.out
    facts = everlearn("show", "v0001", "--json").facts
    assert facts["decision"]["outcome"] == "PASS"
    assert facts["files"]["adapter_model.safetensors"]["size"] == len(adapter("0"))
    assert not facts["barred"]


def test_show_says_how_many_items_were_the_users(registry: Registry, everlearn: Callable[..., Ended]) -> None:
    metrics = {
        "items/own": 31.0,
        "items/generated": 169.0,
        "skill": 0.5,
        "transfer/average": 0.8,
        "share/memory-v1": 0.7,
    }
    made = replace(candidate(registry, "own"), metrics=metrics)
    registry.publish(replace(made, decision={}), make_champion=True, actor="night", reason="better")
    shown = everlearn("show", "v0001").out
    assert "31 of 200 target items are yours" in shown
    assert "items/own" not in shown
    assert "transfer/average" in shown
    assert "share/" not in shown
    assert everlearn("show", "v0001", "--json").facts["metrics"]["items/own"] == 31


def test_a_version_without_report_can_be_shown(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish(report=False, decision=False)
    assert "gate" not in everlearn("show", "v0001").out
    ended = everlearn("report", "v0001")
    assert ended.code == StoreError.exit_code
    assert "published without a report" in ended.err


def test_an_unknown_version_is_refused_with_the_known_ones(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish()
    ended = everlearn("show", "v0009")
    assert ended.code == RegistryError.exit_code
    assert "v0001" in ended.err


def test_report_fetches_one_page(
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


def record_night(registry: Registry, kind: EventKind, *, cycle_key: str, complete: bool = True) -> None:
    """Record a night without a version, as `tasks.publish` does; one that is not complete ended before the gate."""
    decision = replace(DECISION, outcome=Outcome.FAIL).to_dict()
    report = registry.put_object(f"<html>{cycle_key}</html>".encode()).digest
    detail = {"report": report, "decision": decision} if complete else {"data_digest": "d" * 64}
    registry.record(kind, cycle_key=cycle_key, reason="skills got worse", actor="night", detail=detail)


@pytest.mark.parametrize("kind", [EventKind.REJECTED, EventKind.INSUFFICIENT])
def test_a_night_without_version_is_shown_by_its_cycle(
    everlearn: Callable[..., Ended], registry: Registry, tmp_path: Path, kind: EventKind
) -> None:
    key = "ab12" * 16
    record_night(registry, kind, cycle_key=key)
    assert key[:8] in everlearn("history").out
    shown = everlearn("show", key[:12])
    assert shown.code == 0
    assert "gate: FAIL" in shown.out
    assert "skills got worse" in shown.out
    assert f"everlearn report {key[:8]}" in shown.out
    assert everlearn("show", key[:4], "--json").facts["detail"]["decision"]["outcome"] == "FAIL"
    page = tmp_path / "night.html"
    facts = everlearn("report", key[:6], "--to", str(page), "--json").facts
    assert facts == {"version": None, "cycle_key": key, "report": str(page)}
    assert page.read_text(encoding="utf-8") == f"<html>{key}</html>"
    refused = everlearn("show", key, "--bom")
    assert (refused.code, "made no version" in refused.err) == (NotFoundError.exit_code, True)


def test_a_night_that_ended_before_the_gate_has_no_report(everlearn: Callable[..., Ended], registry: Registry) -> None:
    record_night(registry, EventKind.NO_NEW_DATA, cycle_key="cd34" * 16, complete=False)
    assert "none: it ended early" in everlearn("show", "cd34").out
    ended = everlearn("report", "cd34")
    assert (ended.code, "no report; it ended before one was written" in ended.err) == (NotFoundError.exit_code, True)


def test_a_cycle_that_published_shows_its_version(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path
) -> None:
    publish()
    assert everlearn("show", "0" * 12, "--json").facts["version"] == "v0001"
    assert everlearn("report", "0000", "--to", str(tmp_path / "n.html"), "--json").facts["version"] == "v0001"
    unknown = everlearn("report", "feed")
    assert (unknown.code, "00000000 (published v0001)" in unknown.err) == (RegistryError.exit_code, True)


def test_an_unreachable_store_names_the_remedy(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    ended = everlearn("status", at=tmp_path / "nowhere")
    assert ended.code == StoreError.exit_code
    assert "everlearn up" in ended.err
    assert "Traceback" not in ended.err


def test_registry_commands_import_no_heavy_package(
    publish: Callable[..., str], home: Path, params: Path, tmp_path: Path
) -> None:
    publish()
    code = """
import sys
from everlearn.cli import main
start, each = sys.argv, []
for words in sys.stdin.read().splitlines():
    sys.argv = [*start, *words.split()]
    try:
        main()
    except SystemExit as ended:
        each.append(ended.code or 0)
print(each, {'torch', 'great_expectations', 'prefect'} & set(sys.modules))
"""
    command = [sys.executable, "-c", code, "--home", str(home), "--params", str(params)]
    words = "\n".join(each.replace("DIR", str(tmp_path / "served")) for each in LIGHT)
    done = subprocess.run(command, capture_output=True, text=True, check=True, input=words)
    assert done.stdout.splitlines()[-1] == f"{[0] * len(LIGHT)} set()"
