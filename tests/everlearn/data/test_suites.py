"""Suites on disk, the held-out share, and the night's target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from everlearn.data.suites import Suite, SuiteKind, freeze_target, load
from everlearn.domains.contamination import equivalence_keys
from everlearn.errors import BadInputError
from everlearn.problem import Problem

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from everlearn.domains.contract import Domain


@dataclass
class Counting:
    """A domain of statements `3*7`: equal by value, kin by the second number, `limit` of which there are."""

    limit: int = 1000
    asked: list[str | None] = field(default_factory=list)

    def canonical(self, statement: str) -> str:
        return statement.replace(" ", "")

    def equivalence(self, statement: str) -> str:
        return "kin " + statement.replace(" ", "").split("*")[1]

    def problem(self, statement: str) -> Problem:
        return Problem(id=statement, domain="counting", statement=statement)

    def generate(self, rng: random.Random, *, like: str | None = None) -> str:
        self.asked.append(like)
        return f"{rng.randrange(2, 9)}*{rng.randrange(self.limit)}"


def counting(limit: int = 1000) -> Domain:
    return cast("Domain", Counting(limit=limit))


def problem(statement: str) -> Problem:
    return Problem(id=statement, domain="counting", statement=statement)


SUITE = Suite(name="short", kind=SuiteKind.SKILL, problems=(problem("1*2"), problem("é*3")))


def test_a_suite_survives_the_disk_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "short.jsonl"
    SUITE.save(path)
    assert load(path) == SUITE
    assert load(path).digest == SUITE.digest
    assert [p.name for p in path.parent.iterdir()] == ["short.jsonl"]


def test_the_digest_knows_name_kind_order_and_problems() -> None:
    others = [
        Suite(name="long", kind=SuiteKind.SKILL, problems=SUITE.problems),
        Suite(name="short", kind=SuiteKind.TARGET, problems=SUITE.problems),
        Suite(name="short", kind=SuiteKind.SKILL, problems=SUITE.problems[::-1]),
        SUITE,
    ]
    assert len({suite.digest for suite in others}) == 4


def test_a_file_without_header_takes_name_kind_and_ids_from_its_surroundings(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('\n{"problem": "x"}\n{"statement": "y", "id": 7, "domain": "d"}\n', encoding="utf-8")
    suite = load(path, domain="integration", kind=SuiteKind.GENERAL)
    assert (suite.name, suite.kind) == ("mine", SuiteKind.GENERAL)
    assert [(p.domain, p.statement) for p in suite.problems] == [("integration", "x"), ("d", "y")]
    assert suite.problems[1].id == "7"
    assert suite.problems[0].id == load(path).problems[0].id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no problems"),
        ('{"suite": "s", "kind": "skill"}\n', "holds no problems"),
        ('{"suite": "s", "kind": "other"}\n{"statement": "x"}', "line 1: kind 'other' is none of"),
        ('{"statement": "x"}\nnot json\n', "line 2: no JSON"),
        ("[1]", "line 1: a JSON object is needed, not list"),
        ('{"statement": "  "}', "line 1: a problem needs a `problem`"),
        ('{"statement": 3}', "line 1: a problem needs a `problem`"),
        ('{"statement": "x", "id": "a"}\n{"statement": "y", "id": "a"}', "line 2: the id 'a' was used before"),
        ("[" * 100_000, "line 1: no JSON"),
    ],
)
def test_a_bad_suite_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        load(path)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no suite at .*gone"):
        load(tmp_path / "gone.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="UTF-8"):
        load(tmp_path / "bytes.jsonl")


def test_the_target_is_topped_up_and_keeps_clear_of_what_is_trained() -> None:
    domain = counting()
    trained = [problem(f"1*{k}") for k in range(500)]
    forbidden = equivalence_keys([p.statement for p in trained], domain=domain)
    held = [problem("1*600"), problem("2*600"), problem("1*3"), problem("1*700")]
    suite = freeze_target(held, domain=domain, size=60, forbidden=forbidden, seed=3)
    assert suite.problems[:2] == (held[0], held[3])
    assert len(suite.problems) == 60
    keys = equivalence_keys([p.statement for p in suite.problems], domain=domain)
    assert len(keys) == 60
    assert not keys & forbidden
    assert set(cast("Counting", domain).asked) == {"1*600", "1*700"}
    assert suite == freeze_target(held, domain=counting(), size=60, forbidden=forbidden, seed=3)


def test_a_domain_that_runs_out_gives_a_smaller_target() -> None:
    suite = freeze_target([problem("1*1")], domain=counting(limit=5), size=20, forbidden=(), seed=0)
    assert len(suite.problems) == 5


def test_enough_held_out_problems_need_no_fresh_ones() -> None:
    held = [problem(f"1*{k}") for k in range(4)]
    assert freeze_target(held, domain=counting(), size=2, forbidden=(), seed=0).problems == tuple(held)


def test_without_held_out_problems_models_are_needed() -> None:
    models = [problem("1*1")]
    assert len(freeze_target([], domain=counting(), size=9, forbidden=(), seed=0, like=models).problems) == 9
    with pytest.raises(BadInputError, match="bring more new problems"):
        freeze_target(models, domain=counting(), size=9, forbidden={"1*1"}, seed=0)
