"""A night on several domains: each has its own suites and rows of the gate, and a loss in one is not made good by a gain in another."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from everlearn.data import suites
from everlearn.data.generated_problems import generate_problems, write_problems
from everlearn.data.suites import SuiteKind
from everlearn.domains.contract import load_domain
from everlearn.gate.decision_record import Against, Outcome
from everlearn.problem import Measurement, Ruling, Verdict
from tasks.decide import decide, decision_of
from tasks.freeze_suites import freeze_suites, load_suites, roots_of
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.night import hold_line
from tasks.open_night import open_night
from tests.support.chat_models import write_model
from tests.support.night import tiny

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.data.suites import Suite
    from everlearn.settings import Settings
    from tasks.night import Night
    from tests.conftest import S3Server

DOMAINS = ("arithmetic", "equations")
MIXED = load_domain("+".join(DOMAINS))
BYTES = {"same_answers": 2, "probes": 2, "worst_gap": 0.0, "changed": True, "finite": True}
LENGTHS = {"length_before": 5.0, "length_after": 5.0}
REWARDS = {"rewarded": 2, "checked": 2, "wrong": [], "undecided": []}


@pytest.fixture
def settings(s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A line of two domains, with rows and a skill suite of each, and a suite of a third one."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.chdir(tmp_path)
    shipped = tmp_path / "data" / "suites"
    shipped.mkdir(parents=True)
    for name in DOMAINS:
        domain = load_domain(name)
        write_problems(generate_problems(domain, count=30, size=9, seed=0), tmp_path / "new" / f"{name}.jsonl")
        easy = generate_problems(domain, count=120, size=6, seed=1)
        write_problems(easy, shipped / f"easy-{name}.jsonl", suite=f"easy-{name}")
    other = generate_problems(load_domain("integration"), count=3, size=2, seed=0)
    write_problems(other, shipped / "other.jsonl", suite="other")
    return tiny(
        s3_server,
        bucket,
        line="mixed",
        domain=MIXED.name,
        base={"path": write_model(tmp_path / "model")},
        ingest={"min_target_items": 80},
        format={"name": "chat"},
    )


def opened(settings: Settings, data: Path) -> Night:
    """Return an open night on these rows, with its suites frozen."""
    intake = read_problems.fn(settings, data)
    validate_problems.fn(settings, intake)
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, claim_problems.fn(settings, intake))
        assert freeze_suites.fn(night)
    return night


def keep_answers(night: Night, folder: Path, policy: str, *, right: set[str]) -> None:
    """Store measurements of a policy: it is right on every second item, and on all items of the suites `right`."""
    folder.mkdir()
    for suite in load_suites(night):
        rows = []
        for number, item in enumerate(suite.problems):
            ruling = Ruling.CORRECT if suite.name in right or number % 2 else Ruling.WRONG
            verdict = Verdict(ruling=ruling, reason="planted")
            rows.append(Measurement(item=item.id, root=item.id, verdict=verdict, answer="1"))
        lines = [json.dumps(asdict(row)) + "\n" for row in rows]
        (folder / f"{suite.name}.jsonl").write_text("".join(lines), encoding="utf-8")
    night.work.put_tree(f"measured/{policy}", folder)


def domains_of(suite: Suite) -> set[str]:
    return {MIXED.part(item.statement) for item in suite.problems}


def test_a_loss_in_one_domain_is_not_made_good_by_a_gain_in_another(settings: Settings, tmp_path: Path) -> None:
    night = opened(settings, tmp_path / "new")
    frozen = {suite.name: suite for suite in load_suites(night)}
    kinds = {"target": SuiteKind.TARGET, "fillers": SuiteKind.GENERATED, "easy": SuiteKind.SKILL}
    assert {name: suite.kind for name, suite in frozen.items()} == {
        f"{base}-{name}": kind for base, kind in kinds.items() for name in DOMAINS
    }
    assert all(domains_of(suite) == {name.partition("-")[2]} for name, suite in frozen.items())
    own = {name: len(frozen[f"target-{name}"].problems) + len(frozen[f"fillers-{name}"].problems) for name in DOMAINS}
    assert own == dict.fromkeys(DOMAINS, 40), "each domain has its share of the items"
    roots, held_out = roots_of(night)
    assert {MIXED.part(problem.statement) for problem in roots} == {*DOMAINS}
    targets = suites.of_domain([frozen[f"target-{name}"] for name in DOMAINS], MIXED.name)
    assert {item.statement for suite in targets for item in suite.problems} <= {each.statement for each in held_out}

    keep_answers(night, tmp_path / "before", "parent", right={"easy-equations"})
    keep_answers(night, tmp_path / "after", "candidate", right={"target-arithmetic", "fillers-arithmetic"})
    night.work.put("check/bytes", json.dumps(BYTES | LENGTHS).encode())
    night.work.put("check/rewards", json.dumps(REWARDS).encode())
    outcome = decide.fn(night, ())

    decision = decision_of(night)
    assert {row.suite for row in decision.rows if row.against is Against.PARENT} == frozen.keys()
    found = {row.suite: row.outcome for row in decision.rows}
    assert found["fillers-arithmetic"] is Outcome.PASS
    assert found["easy-equations"] is Outcome.FAIL
    assert outcome == Outcome.FAIL
    assert any("easy-equations" in reason for reason in decision.reasons)
