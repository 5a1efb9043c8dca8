"""A night on word problems with worked solutions, which the model first learns, the gate weighs and nothing of the night shows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against, Outcome
from everlearn.registry.connect import open_registry
from tasks.decide import decide, decision_of, name_baselines, pseudo_metrics, recheck_rewards
from tasks.freeze_suites import freeze_suites, load_suites, roots_of
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.measure import check_bytes, measure_suites, upload_candidate
from tasks.night import hold_line
from tasks.open_night import open_night
from tasks.publish import publish_night
from tasks.train import grow_ladder, ladder_of, learn_reference_answers, train_adapter
from tasks.write_report import report_of, schooling_notes, write_report
from tests.support.chat_models import write_model
from tests.support.night import tiny

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings
    from tests.conftest import S3Server

WORKED = "together these are"
MARKED = b"".join(
    json.dumps({"statement": "Anna has 1 apple.", "answer": answer, "pseudo": "majority"}).encode() + b"\n"
    for answer in ("1", "1.0")
)
"""What a training leaves where pseudo-labels reward: a random model proposes no variants, so these are planted."""


@pytest.fixture
def settings(s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A line of the domain `numbers` with a tiny chat model."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.chdir(tmp_path)
    base = {"path": write_model(tmp_path / "model")}
    form = {"name": "chat", "max_tokens": 64}
    return tiny(
        s3_server,
        bucket,
        line="numbers",
        domain="numbers",
        base=base,
        format=form,
        supervised={"epochs": 1},
        learn={"steps": 2, "prompts": 4, "group": 2, "rank": 2, "pseudo_labels": 0.6},
        verifiers=0,
    )


def write_rows(folder: Path) -> Path:
    """Write 24 rows as data sets have them: a question, and an answer that ends with its number; every second one as a chat."""
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(2, 26):
        question = f"Anna has {number} apples and buys {2 * number} more. How many has she?"
        answer = f"{number} and {2 * number}, {WORKED} {3 * number}\n#### {3 * number}"
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"messages": turns} if number % 2 else {"question": question, "answer": answer})
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_worked_solutions_are_learned_judged_by_and_weighed_by_the_gate(settings: Settings, tmp_path: Path) -> None:
    intake = read_problems.fn(settings, write_rows(tmp_path / "new"))
    validate_problems.fn(settings, intake)
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, claim_problems.fn(settings, intake))
        assert freeze_suites.fn(night)
        learn_reference_answers.fn(night)
        grow_ladder.fn(night)
        train_adapter.fn(night)
        night.work.put("rewarded", night.work.get("rewarded") + MARKED)
        upload_candidate.fn(night)
        for policy in ("parent", "candidate"):
            measure_suites.fn(night, policy)
        check_bytes.fn(night)
        recheck_rewards.fn(night)
        outcome = decide.fn(night, name_baselines.fn(night))
        write_report.fn(night)
        night.work.put("decision", replace(decision_of(night), outcome=Outcome.PASS).to_json().encode())
        published = publish_night.fn(night, "PASS")

        roots, held_out = roots_of(night)
        suites, decision = load_suites(night), decision_of(night)
        schooled = json.loads(night.work.get("schooling"))
        rungs = ladder_of(night.work, "ladder after").rungs.values()

    assert len(roots) + len(held_out) == 24
    assert schooled["used"] == len(roots), "every worked solution is judged right"
    assert schooling_notes(night)[0].startswith(f"Supervised first: {len(roots)} reference answers were learned")
    assert {rung.statement for rung in rungs} >= {problem.statement for problem in roots}
    assert WORKED not in night.work.get("ladder after").decode()

    assert [suite.kind for suite in suites] == [SuiteKind.TARGET], "the held-out rows are the measured suite"
    assert {problem.id for problem in suites[0].problems} == {problem.id for problem in held_out}
    assert outcome in set(Outcome)
    assert [(row.suite, row.against, row.n) for row in decision.rows] == [("target", Against.PARENT, len(held_out))]
    assert all(check.passed for check in decision.checks)
    registry = open_registry(settings)
    page = registry.get_object(report_of(night)).decode()
    assert "reference answers were learned" in page
    assert WORKED not in page

    rewards, manifest = json.loads(night.work.get("check/rewards")), registry.manifest(str(published["version"]))
    assert (rewards["rewarded"], rewards["pseudo"]) == (0, 2)
    assert "Rewarded by pseudo-labels: 2 answers to variants that only a reference could judge" in page
    assert manifest.metrics["rewards/pseudo-labelled"] == 2
    assert manifest.config["learn"]["pseudo_labels"] == 0.6
    assert pseudo_metrics(night) == {"rewards/pseudo-labelled": 2}
