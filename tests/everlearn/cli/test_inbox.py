from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from everlearn.cli.context import Installation
from everlearn.errors import BadDataError, BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended


def write(path: Path, *statements: str) -> Path:
    path.write_text("".join(json.dumps({"problem": each}) + "\n" for each in statements), encoding="utf-8")
    return path


@pytest.fixture
def fresh(home: Path, params: Path) -> Path:
    """The empty inbox of the line."""
    return Installation(home=home, params=params).inbox


def test_ingest_stores_each_shard_once(everlearn: Callable[..., Ended], fresh: Path, tmp_path: Path) -> None:
    shard = write(tmp_path / "a.jsonl", "2*x", "3*x^2", "x*2", "cos(x)", "sin(x)", "exp(x)", "((")
    facts = everlearn("ingest", str(shard), "--json").facts
    assert (facts["rows"], facts["good"], facts["duplicates"]) == (7, 6, 1)
    assert sum(facts["faults"].values()) == 1
    assert [kept.read_bytes() for kept in fresh.iterdir()] == [shard.read_bytes()]
    again = everlearn("ingest", str(shard))
    assert "outside the grammar" in again.out
    assert "a.jsonl:7" in again.err
    assert len(list(fresh.iterdir())) == 1


def test_ingest_says_that_answers_are_not_used(everlearn: Callable[..., Ended], fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "2*x", "solution": "x^2"}\n', encoding="utf-8")
    ended = everlearn("ingest", str(tmp_path / "a.jsonl"))
    assert "answers in the rows (1 in 'solution') are not used" in ended.err
    assert len(list(fresh.iterdir())) == 1


def test_ingest_refuses_too_many_bad_rows(everlearn: Callable[..., Ended], fresh: Path, tmp_path: Path) -> None:
    ended = everlearn("ingest", str(write(tmp_path / "a.jsonl", "2*x", "((", "))")))
    assert ended.code == BadDataError.exit_code
    assert "2 of 3 rows are bad" in ended.err
    assert "a.jsonl:2" in ended.err
    assert not list(fresh.glob("*"))


def test_ingest_judges_rows_of_other_domains_as_a_night_does(
    everlearn: Callable[..., Ended], fresh: Path, tmp_path: Path
) -> None:
    rows = [{"problem": "2*x"}] * 9 + [{"domain": "arithmetic", "problem": "12 + 5"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = everlearn("ingest", str(tmp_path / "a.jsonl"), "--json")
    assert (ended.facts["good"], sum(ended.facts["faults"].values())) == (9, 1)
    assert "is not that of the line" in ended.err


@pytest.mark.parametrize(("name", "content"), [("missing.jsonl", None), ("empty.jsonl", b""), ("folder", b"")])
def test_ingest_names_an_unreadable_path(
    name: str, content: bytes | None, everlearn: Callable[..., Ended], tmp_path: Path
) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    ended = everlearn("ingest", str(path))
    assert ended.code == BadInputError.exit_code
    assert str(path) in ended.err
    assert "Traceback" not in ended.err


def test_ingest_can_upload_shards_to_the_bucket(
    everlearn: Callable[..., Ended], fresh: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write(tmp_path / "a.jsonl", "2*x", "3*x^2")
    for was_sent, message in ((False, "no Prefect server"), (True, "a night starts")):
        monkeypatch.setattr("everlearn.orchestration.events_client.emit", lambda *_, was_sent=was_sent, **__: was_sent)
        assert message in everlearn("ingest", str(shard), "--bucket").err
    held = list(registry.store.list(f"{registry.line}/inbox/"))
    assert [registry.store.get(each.key).data for each in held] == [shard.read_bytes()]
    assert not list(fresh.glob("*")), "not on this machine as well"


def test_files_with_equal_bytes_are_uploaded_once(
    everlearn: Callable[..., Ended], registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "rows").mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path / "rows" / name, "2*x", "3*x^2")
    ended = everlearn("ingest", str(tmp_path / "rows"), "--bucket")
    assert (ended.code, "no Prefect server" in ended.err) == (0, True)
    assert len(list(registry.store.list(f"{registry.line}/inbox/"))) == 1


def test_ingest_works_in_any_directory(
    everlearn: Callable[..., Ended], params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params.write_text(params.read_text(encoding="utf-8") + "data: {inbox: waiting}\n", encoding="utf-8")
    shard = write(tmp_path / "a.jsonl", "2*x")
    monkeypatch.chdir("/")
    facts = everlearn("ingest", str(shard), "--json").facts
    (kept,) = (tmp_path / "waiting").glob("*/*.jsonl")
    assert (facts["good"], kept.read_bytes()) == (1, shard.read_bytes())
