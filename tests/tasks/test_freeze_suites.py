"""The suites of a night are frozen before any ladder: own problems, fillers like them, and the shipped suites."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.data.suites import SuiteKind, parse
from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import Domain, load_domain
from everlearn.domains.integration.term_templates import summands_of
from everlearn.errors import BadInputError, GrammarError
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.registry.connect import open_registry
from everlearn.registry.events import EventKind
from tasks.freeze_suites import forbidden_keys, freeze_suites, item_metrics, load_suites, require_problems, roots_of
from tasks.night import hold_line
from tasks.open_night import open_night
from tasks.publish import record_nothing_to_learn
from tests.support.night import stored_snapshot
from tests.support.plugins import install_passwords

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from everlearn.data.suites import Suite
    from everlearn.settings import Settings
    from tasks.night import Night

UNKNOWN = [f"{a}*tan({b}*x) + sinh({a}*x)" for a in range(1, 6) for b in range(1, 7)]
DOMAIN = load_domain("integration")


class SignedTasks:
    """A domain in which a row's reference may add a signature to its statement, as in `programs`."""

    name = "signed"

    def problem(self, row: Mapping[str, Any]) -> Problem:
        signature = "" if row["statement"].startswith("def ") else "def f(x, y): "
        return Problem(id="", domain=self.name, statement=f"{signature}{row['statement']}")

    def question(self, problem: Problem) -> str:
        if not problem.statement.startswith("def "):
            raise GrammarError("no signature")
        return problem.statement

    def verify(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(ruling=Ruling.UNDECIDED, reason=answer)


def opened(settings: Settings, problems: Iterable[str]) -> Night:
    """Return a night on these problems whose suites are frozen."""
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, stored_snapshot(settings, problems))
        assert freeze_suites.fn(night)
    return night


def by_name(night: Night) -> dict[str, Suite]:
    return {suite.name: suite for suite in load_suites(night)}


@pytest.fixture
def asking_for_40(settings: Settings) -> Settings:
    return settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"min_target_items": 40})})


def test_the_target_is_tonights_own_and_fillers_are_a_suite_beside_it(
    asking_for_40: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="everlearn.night")
    night = opened(asking_for_40, UNKNOWN)
    frozen = by_name(night)
    roots, held_out = roots_of(night)
    own = frozen["target"].problems
    assert [suite.kind for suite in load_suites(night)][:2] == [SuiteKind.TARGET, SuiteKind.GENERATED]
    assert {problem.statement for problem in own} <= {problem.statement for problem in held_out}
    assert len(own) + len(frozen["fillers"].problems) == 40
    assert item_metrics(night) == {"items/own": len(own), "items/generated": 40 - len(own)}
    assert f"{len(own)} of 40 target items are yours" in caplog.text
    assert "to see a smaller one, raise ingest.holdout_share" in caplog.text

    families = {term.template for text in UNKNOWN for term in summands_of(text)}
    assert {term.template for item in frozen["fillers"].problems for term in summands_of(item.statement)} <= families
    keys = [equivalence_keys([p.statement for p in group], domain=DOMAIN) for group in (roots, own)]
    fillers = equivalence_keys([p.statement for p in frozen["fillers"].problems], domain=DOMAIN)
    assert not fillers & (keys[0] | keys[1])


def test_too_few_own_items_are_said_before_training(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    night = opened(settings, UNKNOWN[:9])
    assert 0 < item_metrics(night)["items/own"] < 5
    [record] = [record for record in caplog.records if "target items are yours" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "fewer than 5 can never show an improvement" in record.getMessage()


def test_a_night_without_held_out_problems_has_fillers_only(settings: Settings, tmp_path: Path) -> None:
    share = settings.ingest.model_copy(update={"holdout_share": 1e-9})
    night = opened(settings.model_copy(update={"ingest": share}), UNKNOWN)
    assert "target" not in by_name(night)
    assert item_metrics(night) == {"items/own": 0, "items/generated": 8}


def test_nothing_is_counted_where_an_older_revision_froze_the_suites(settings: Settings, tmp_path: Path) -> None:
    night = opened(settings, UNKNOWN)
    night.work.drop("items")
    assert item_metrics(night) == {}


def test_an_item_of_another_domain_is_named() -> None:
    text = '{"id": "a", "statement": "2*x = 4"}\n{"id": "b", "statement": "5*cos(2*x)"}\n'
    suite = parse(text, name="short", where="short.jsonl", domain="equations")
    with pytest.raises(BadInputError, match=r"^item b of suite short is no problem of domain equations: .*`domain`$"):
        require_problems(suite, domain=load_domain("equations"))


def test_an_item_that_a_domain_without_a_canonical_form_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = load_domain(install_passwords(tmp_path, monkeypatch))
    text = '{"statement": "hint 1", "reference": "secret"}\n{"id": "b", "statement": "5*x", "reference": "secret"}\n'
    suite = parse(text, name="short", where="short.jsonl", domain="passwords")
    with pytest.raises(
        BadInputError, match=r"^item b of suite short is no problem of domain passwords: no hint"
    ) as raised:
        require_problems(suite, domain=domain)
    assert "secret" not in str(raised.value)


def test_an_item_whose_statement_cannot_be_asked_without_its_reference_is_named() -> None:
    text = '{"id": "a", "statement": "Return the larger of two numbers", "reference": "assert f(1, 2) == 2"}\n'
    suite = parse(text, name="short", where="short.jsonl", domain="signed")
    with pytest.raises(BadInputError, match=r"^item a of suite short is no problem of domain signed: no signature"):
        require_problems(suite, domain=Domain(SignedTasks()))


def test_problems_equivalent_to_suite_items_leave_nothing_to_learn(settings: Settings) -> None:
    with hold_line(settings) as token:
        night = open_night.fn(settings, token, stored_snapshot(settings, ["6*cos(2*x)"]))
        assert not freeze_suites.fn(night)
        ended = record_nothing_to_learn.fn(night)
    assert ended["end"] == "INSUFFICIENT"
    [event] = open_registry(settings).state().history
    assert event.kind is EventKind.INSUFFICIENT
    assert event.detail["improvement_error"] == "night", "it is no test of a budget of the line"


def test_suites_of_one_name_end_the_night_before_anything_is_recorded(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data" / "suites" / "again.jsonl").write_text('{"suite": "short", "kind": "skill"}\n{"problem": "x"}\n')
    with pytest.raises(BadInputError, match="two suites are named 'short'"):
        opened(settings, UNKNOWN)
    assert open_registry(settings).state().history == ()


def test_a_suite_that_guards_nothing_is_named(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data" / "suites" / "mine.jsonl").write_text('{"id": "1", "problem": "x^3"}\n')
    with caplog.at_level(logging.WARNING, logger="everlearn.night"):
        night = opened(settings, UNKNOWN)
    assert by_name(night)["mine"].kind is SuiteKind.TARGET
    assert "suite mine is a target, which guards nothing" in caplog.text
    assert "suite short" not in caplog.text


def test_a_night_reads_forbidden_keys_of_an_earlier_revision(settings: Settings, tmp_path: Path) -> None:
    night = opened(settings, UNKNOWN)
    keys = forbidden_keys(night)
    night.work.drop("forbidden keys")
    night.work.put("forbidden", "\n".join(sorted(keys)).encode())
    assert forbidden_keys(night) == keys
