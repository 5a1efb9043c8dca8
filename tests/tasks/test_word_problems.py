"""A night on word problems with worked solutions, whose numbers the model first learns, the gate weighs and nothing of the night shows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.data.suites import SuiteKind
from everlearn.domains.contract import load_domain
from everlearn.gate.decision_record import Against, Outcome
from everlearn.registry.connect import open_registry
from tasks.decide import decision_of, pseudo_metrics
from tasks.freeze_suites import forbidden_keys, freeze_suites, load_suites, roots_of
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.night import hold_line
from tasks.open_night import open_night
from tasks.publish import publish_night
from tasks.train import grow_ladder, ladder_of, learn_reference_answers
from tasks.write_report import report_of, supervised_notes, write_report
from tests.support.chat_models import write_model
from tests.support.judged_night import train_and_judge
from tests.support.night import tiny

if TYPE_CHECKING:
    from everlearn.settings import Settings
    from tasks.night import Night
    from tests.conftest import S3Server

WORKED = "and that leaves"
GUESSES = {"7": 0.55, "8": 0.45}
"""How the model answers before it has learned anything; 8 is right for every row."""


@pytest.fixture
def settings(s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A line of the domain `numbers` with a tiny chat model."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.chdir(tmp_path)
    base = {"path": write_model(tmp_path / "model", guesses=GUESSES)}
    form = {"name": "chat", "max_tokens": 16}  # less than a worked solution has, so that its number is learned
    return tiny(
        s3_server,
        bucket,
        line="numbers",
        domain="numbers",
        base=base,
        format=form,
        supervised={"epochs": 1, "rows": 4, "rate": 0.01},
        learn={"steps": 2, "prompts": 24, "group": 8, "rank": 2, "pseudo_labels": 0.6},
        verifiers=0,
    )


def write_rows(folder: Path) -> Path:
    """Write 24 rows as data sets have them: a question, and an answer that ends with its number; every second one as a chat."""
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(10, 34):
        question = f"Anna has {number} apples and gives away {number - 8}. How many are left?"
        answer = f"{number} less {number - 8}, {WORKED} 8\n#### 8"
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"messages": turns} if number % 2 else {"question": question, "answer": answer})
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def plant_variants(night: Night) -> set[str]:
    """Add a variant of each root to the ladder, as moves or a model in words would; return their statements."""
    domain, ladder, planted = load_domain("numbers"), ladder_of(night.work, "ladder"), set()
    for root in ladder.roots():
        statement = root.statement.replace("Anna", "Berta")
        assert ladder.add(statement, domain=domain, forbidden=forbidden_keys(night), parent=root, move="renamed")
        planted.add(statement)
    with tempfile.TemporaryDirectory() as folder:
        ladder.save(Path(folder) / "ladder")
        night.work.put("ladder", (Path(folder) / "ladder").read_bytes())
    return planted


def learn_and_decide(night: Night) -> tuple[set[str], str]:
    """Run all steps from the reference answers to the report. Return the planted variants and the outcome of the gate."""
    learn_reference_answers.fn(night)
    grow_ladder.fn(night)
    planted = plant_variants(night)
    outcome = train_and_judge(night)
    write_report.fn(night)
    return planted, outcome


def test_worked_solutions_are_learned_judged_by_and_weighed_by_the_gate(settings: Settings, tmp_path: Path) -> None:
    intake = read_problems.fn(settings, write_rows(tmp_path / "new"))
    validate_problems.fn(settings, intake)
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, claim_problems.fn(settings, intake))
        assert freeze_suites.fn(night)
        planted, outcome = learn_and_decide(night)
        published = publish_night.fn(night, outcome)

        roots, held_out = roots_of(night)
        suites, decision = load_suites(night), decision_of(night)
        schooled = json.loads(night.work.get("schooling"))
        rungs = ladder_of(night.work, "ladder after").rungs.values()
        rewarded = [json.loads(line) for line in night.work.get("rewarded").splitlines()]
        curve = json.loads(night.work.get("curve"))

    assert len(roots) + len(held_out) == 24
    assert schooled["used"] == len(roots), "every worked solution is judged right"
    assert supervised_notes(night)[0].startswith(f"Supervised first: {len(roots)} reference answers were learned")
    assert {rung.statement for rung in rungs} >= {problem.statement for problem in roots}
    assert WORKED not in night.work.get("ladder after").decode()

    assert [suite.kind for suite in suites] == [SuiteKind.TARGET], "the held-out rows are the measured suite"
    assert {problem.id for problem in suites[0].problems} == {problem.id for problem in held_out}
    [row] = decision.rows
    assert (row.suite, row.against, row.n) == ("target", Against.PARENT, len(held_out))
    assert (row.won, row.lost) == (len(held_out), 0), "the base says 7 everywhere, what learned the answers says 8"
    assert outcome == Outcome.PASS, "seven of seven items won are p = 1/128"
    assert all(check.passed for check in decision.checks)
    registry = open_registry(settings)
    page = registry.get_object(report_of(night)).decode()
    assert "reference answers were learned" in page
    assert WORKED not in page

    variants = {rung.statement for rung in rungs if rung.parent}
    marked = [line for line in rewarded if "pseudo" in line]
    assert variants >= planted
    assert {line["statement"] for line in marked} <= variants, "roots have references"
    assert {line["statement"] for line in marked} & planted
    assert {(line["answer"], line["pseudo"]) for line in marked} == {("8", "majority")}
    assert {line["statement"] for line in rewarded if line not in marked} <= {problem.statement for problem in roots}

    rewards, manifest = json.loads(night.work.get("check/rewards")), registry.manifest(str(published["version"]))
    assert (rewards["rewarded"], rewards["pseudo"]) == (len(rewarded) - len(marked), len(marked))
    assert sum(point["groups_used"] for point in curve) > rewards["rewarded"] > 0, (
        "no variant was learned: a group of a root that is used has a right answer, and is one line of the rewarded"
    )
    assert f"Rewarded by pseudo-labels: {len(marked)} answers to variants that only a reference could judge" in page
    assert manifest.metrics["rewards/pseudo-labelled"] == len(marked)
    assert manifest.config["learn"]["pseudo_labels"] == 0.6
    assert pseudo_metrics(night) == {"rewards/pseudo-labelled": len(marked)}
