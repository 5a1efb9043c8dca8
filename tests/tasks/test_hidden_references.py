"""A night on problems with hidden references: they judge answers, and stand in snapshot and suites alone."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from everlearn.canonical_json import digest_of
from everlearn.data.snapshot_store import load_snapshot
from everlearn.gate.decision_record import Outcome
from everlearn.registry.connect import open_registry
from everlearn.training.models.formats.chat_template import ChatTemplate
from tasks.decide import decision_of
from tasks.freeze_suites import freeze_suites, load_suites, roots_of
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.night import hold_line
from tasks.open_night import open_night
from tasks.train import grow_ladder, ladder_of, learn_reference_answers
from tasks.write_report import report_of, supervised_notes, write_report
from tests.support.judged_night import train_and_judge
from tests.support.night import tiny
from tests.support.plugins import install_passwords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everlearn.settings import Settings
    from tasks.night import Night
    from tests.conftest import S3Server

MARKER = "hunter2xyz"
HOLDS_REFERENCES = ("/intake/", "dvc/files/")


@pytest.fixture
def settings(s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A line of the domain `passwords` with a skill suite, whose verifiers are processes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.chdir(tmp_path)
    install_passwords(tmp_path, monkeypatch)
    folder = tmp_path / "data" / "suites"
    folder.mkdir(parents=True)
    lines = [{"suite": "known", "kind": "skill"}]
    lines += [{"id": f"k{n}", "statement": f"hint known {n}", "reference": f"{MARKER}{n}"} for n in range(4)]
    (folder / "known.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    yield tiny(
        s3_server,
        bucket,
        line="passwords",
        domain="passwords",
        verifiers=1,
        format={"max_tokens": 24},
        supervised={"epochs": 1},
    )
    sys.modules.pop("passwords_plugin", None)


def shard(folder: Path) -> Path:
    """Thirty hints, with the password as `reference` or as `answer`, and a bad row with one."""
    folder.mkdir()
    rows = [
        {"id": f"p{n}", "problem": f"hint {n}", ("answer" if n % 2 else "reference"): f"{MARKER}{n}"} for n in range(30)
    ]
    rows.append({"reference": MARKER, "problem": "no clue"})
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"answer": "' + MARKER + '", "problem": "hint'
    (folder / "a.jsonl").write_text(text + "\n")
    return folder


def learn_and_decide(night: Night) -> str:
    """Run all steps from the reference answers to the report. Return the outcome of the gate."""
    learn_reference_answers.fn(night)
    learn_reference_answers.fn(night)  # a resumed night does so once
    grow_ladder.fn(night)
    outcome = train_and_judge(night)
    write_report.fn(night)
    return outcome


def test_references_judge_and_leave_no_trace(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, logger="everlearn")
    prompts: list[str] = []
    encode = ChatTemplate.encode

    def encode_and_keep(template: ChatTemplate, text: str) -> list[int]:
        prompts.append(text)
        return encode(template, text)

    monkeypatch.setattr(ChatTemplate, "encode", encode_and_keep)

    intake = read_problems.fn(settings, shard(tmp_path / "new"))
    validate_problems.fn(settings, intake)
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, claim_problems.fn(settings, intake))
        assert freeze_suites.fn(night)
        entries = load_snapshot(night.store, night.line, night.inputs.data_digest).entries
        assert len(entries) == 30
        assert all(entry.reference and entry.reference.startswith(MARKER) for entry in entries)
        roots, held_out = roots_of(night)
        assert all(problem.reference for problem in (*roots, *held_out))
        assert all(problem.reference for suite in load_suites(night) for problem in suite.problems)

        outcome = learn_and_decide(night)
        schooled = json.loads(night.work.get("schooling"))
        rungs = ladder_of(night.work, "ladder after").rungs.values()
        rewarded = night.work.get("rewarded").decode().splitlines()
        report = json.loads(night.work.get("check/rewards"))

    assert schooled["used"] > 0, "no reference answer was learned"
    assert len(schooled["losses"]) == 1
    assert supervised_notes(night)[0].startswith(f"Supervised first: {schooled['used']} reference answers were learned")
    assert rewarded, "no answer was judged right, so that nothing was tested"
    assert {json.loads(line)["statement"] for line in rewarded} <= {rung.statement for rung in rungs if not rung.parent}
    assert (report["checked"], report["no_recheck"]) == (0, "passwords")
    judged = {row.suite: row.n for row in decision_of(night).rows}
    assert judged == {"target": 4, "known": 4}
    assert outcome != Outcome.PASS, "four of four items won would be p = 1/16"
    page = open_registry(settings).get_object(report_of(night)).decode()
    assert supervised_notes(night)[0] in page
    assert MARKER not in page
    assert night.work.has("evidence"), "what the gate decided by is stored, and is among the objects below"
    assert prompts
    assert MARKER not in "\n".join(prompts)
    assert MARKER not in caplog.text
    assert "are not used" not in caplog.text
    holding = [info.key for info in night.store.list("") if MARKER.encode() in night.store.get(info.key).data]
    assert any(key.startswith("dvc/files/") for key in holding), "the snapshot has no references"
    kept = [suite.to_jsonl().encode() for suite in load_suites(night)]
    kept += [night.work.get("replay")] if night.work.has("replay") else []
    allowed = (*HOLDS_REFERENCES, *map(digest_of, kept))
    assert not [key for key in holding if not any(part in key for part in allowed)]
    assert not [key for key in holding if "quarantine" in key or key.endswith(".html")]
