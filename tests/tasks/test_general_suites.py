"""General suites in a night: requests of another domain than the line's, for models that are addressed in words."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from everlearn.data.suites import SuiteKind, load_general, of_domain
from everlearn.data.used_problems import Use, load_records
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError
from everlearn.gate.decision_record import Against
from everlearn.training.models.policy import load_policy
from tasks.compare_with_record import guards_of
from tasks.decide import decide, decision_of, recheck_rewards
from tasks.freeze_suites import check_suites, forbidden_keys, freeze_suites, load_suites, roots_of
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.measure import check_bytes, measure_suites, measured, upload_candidate
from tasks.night import hold_line
from tasks.open_night import open_night
from tests.support import chat_models
from tests.support.night import LONG, opened

if TYPE_CHECKING:
    from everlearn.settings import Settings

SHIPPED = Path(__file__).parents[2] / "data" / "general"


def with_general(settings: Settings, folder: Path, **changes: object) -> Settings:
    return settings.model_copy(update={"data": settings.data.model_copy(update={"general": folder}), **changes})


def test_the_shipped_suite_has_requests_of_four_kinds_that_can_be_judged() -> None:
    [suite] = load_general(SHIPPED)
    domain = load_domain("instructions")
    kinds = [problem.id.partition("-")[0] for problem in suite.problems]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(("text", "format", "length", "refusal"), 60)
    for problem in suite.problems:
        row = {"statement": problem.statement, "reference": problem.reference}
        assert domain.problem(row).statement == problem.statement
        assert not domain.verify(problem, "banana " * 80).is_correct
        assert len({each.statement for each in suite.problems}) == len(suite.problems)


def test_a_night_measures_and_judges_what_its_line_does_not_train(settings: Settings, tmp_path: Path) -> None:
    base = chat_models.write_model(tmp_path / "base")
    asked = {
        "base": settings.base.model_copy(update={"path": base}),
        "format": settings.format.model_copy(update={"name": "chat", "system": "Integrate.", "max_tokens": 8}),
    }
    (tmp_path / "general").mkdir()
    lines = (SHIPPED / "requests.jsonl").read_text().splitlines()
    (tmp_path / "general" / "requests.jsonl").write_text("\n".join(lines[:31]))
    night = opened(with_general(settings, tmp_path / "general", **asked), *LONG)
    suites = {suite.name: suite for suite in load_suites(night)}
    assert suites["requests"].kind is SuiteKind.GENERAL
    assert {suite.name for suite in of_domain(suites.values(), "instructions")} == {"requests"}
    (tmp_path / "adapter").mkdir()
    load_policy(base).save(tmp_path / "adapter")
    night.work.put_tree("trained", tmp_path / "adapter")
    night.work.put("rewarded", b"")
    upload_candidate.fn(night)
    for policy in ("parent", "candidate"):
        measure_suites.fn(night, policy)
    answers = measured(night, "candidate")["requests"]
    assert len(answers) == 30
    assert max(len(each.answer) for each in answers) <= load_domain("instructions").request_tokens  # type: ignore[operator]
    check_bytes.fn(night)
    assert "failed" not in json.loads(night.work.get("check/bytes"))
    recheck_rewards.fn(night)
    decide.fn(night, ())
    rows = {row.suite: row for row in decision_of(night).rows if row.against is Against.PARENT}
    assert rows["requests"].kind is SuiteKind.GENERAL
    assert guards_of(night) == []


@pytest.mark.parametrize("line_domain", ["arithmetic", "arithmetic+equations"])
def test_what_general_suites_ask_of_the_lines_domain_is_not_trained_on(
    settings: Settings, tmp_path: Path, line_domain: str
) -> None:
    base = chat_models.write_model(tmp_path / "base")
    asked = [
        {"suite": "sums", "kind": "general"},
        *({"domain": "arithmetic", "statement": f"{n} + 8"} for n in range(30, 50)),
    ]
    rows = [{"domain": "arithmetic", "problem": f"{n} + 8"} for n in range(20, 60)]
    (tmp_path / "data" / "suites" / "short.jsonl").unlink()  # of another domain
    for name, lines in (("general/sums.jsonl", asked), ("new/rows.jsonl", rows)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    changes = {"domain": line_domain, "base": settings.base.model_copy(update={"path": base})}
    given = with_general(settings, tmp_path / "general", **changes)
    with hold_line(given) as token:
        intake = read_problems.fn(given, tmp_path / "new")
        validate_problems.fn(given, intake)
        night = open_night.fn(given, token, claim_problems.fn(given, intake))
        assert freeze_suites.fn(night)
    domain = load_domain(line_domain)
    prefix = "" if line_domain == "arithmetic" else "arithmetic: "
    measured_keys = {domain.equivalence(f"{prefix}{n} + 8") for n in range(30, 50)}
    roots, held_out = roots_of(night)
    assert roots
    assert not measured_keys & {domain.equivalence(each.statement) for each in (*roots, *held_out)}
    assert measured_keys <= forbidden_keys(night)
    later = load_records(night.store, night.line, Use.MEASURED).values()
    assert measured_keys <= frozenset[str]().union(*(record.keys(domain) for record in later))


def test_a_model_that_is_not_addressed_in_words_gets_none_with_a_warning(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="everlearn.night"):
        night = opened(with_general(settings, SHIPPED), *LONG)
    assert "requests" not in {suite.name for suite in load_suites(night)}
    assert "not addressed in words" in caplog.text


def test_a_folder_without_general_suites_is_refused_before_a_night_is_opened(
    settings: Settings, tmp_path: Path
) -> None:
    asked = settings.format.model_copy(update={"name": "chat"})
    check_suites.fn(with_general(settings, SHIPPED, format=asked))
    with pytest.raises(BadInputError, match=r"data\.general names a folder of suites, or is null"):
        check_suites.fn(with_general(settings, tmp_path / "none", format=asked))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no suite in"),
        (['{"suite": "mine", "kind": "skill"}', '{"id": "1", "statement": "x"}'], "there, all are general"),
        (
            ['{"domain": "instructions", "problem": "Say yes."}', '{"domain": "arithmetic", "problem": "347 + 58"}'],
            "mixes the domains arithmetic, instructions: write one file for each",
        ),
    ],
)
def test_a_folder_without_general_suites_of_one_domain_each_is_refused(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    if lines:
        (tmp_path / "mine.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(BadInputError, match=message):
        load_general(tmp_path)
