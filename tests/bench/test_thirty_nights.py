"""Thirty nights: what the schedule promises, and what the figures say about rows."""

from __future__ import annotations

from typing import Any

import pytest

from bench.thirty_nights.__main__ import facts_of, page, picture, summarize
from bench.thirty_nights.line import ARMS
from bench.thirty_nights.stream import (
    MEASURED,
    NIGHTS,
    SCHEDULE,
    SKILLS,
    arrival_of,
    measured_problems,
    problems_of,
    skills_of,
)
from everlearn.domains.contract import load_domain

ORIGIN = {"date": "2026-01-01", "machine": "a laptop", "revision": "abc", "command": "python"}


def night(number: int, *, right: dict[str, int], version: str | None) -> dict[str, Any]:
    marks = {skill: "1" * right.get(skill, 2) + "0" * (10 - right.get(skill, 2)) for skill in SKILLS}
    facts = {"seconds": 50.0, "cpu_seconds": 60.0 + number, "bytes": 10**6 * number, "why": ""}
    return {
        "night": number,
        "end": "PUBLISHED" if version else "REJECTED",
        "version": version,
        "accuracy": marks,
    } | facts


def row(*, forgets: bool = False, learns: bool = True) -> dict[str, Any]:
    """Return a row in which each skill is learned in its first night."""
    nights = [night(0, right={}, version=None)]
    for number in range(1, NIGHTS + 1):
        right = {skill: 9 if learns and arrival_of(skill) <= number else 2 for skill in SKILLS}
        if forgets and number > 10:
            right["sums of 10"] = 1
        nights.append(night(number, right=right, version=f"v{number:04}" if learns else None))
    return ORIGIN | {"nights": nights}


def test_every_night_has_problems_and_the_first_skill_returns_after_twenty_nights() -> None:
    assert all(skills_of(number) for number in range(1, NIGHTS + 1))
    first, second = SCHEDULE["sums of 10"]
    assert second.start - first.stop == 20
    assert all(arrival_of(skill) + 5 <= NIGHTS for skill in SKILLS), (
        "a skill that comes too late cannot be learned in five nights"
    )


def test_no_night_sees_a_problem_that_is_measured_and_seeds_differ() -> None:
    measured = measured_problems()
    assert {len(set(texts)) for texts in measured.values()} == {MEASURED}
    hidden = {text for texts in measured.values() for text in texts}
    tonight = problems_of(5, seed=0)
    assert tonight == problems_of(5, seed=0)
    assert not hidden & set(tonight)
    assert set(tonight).isdisjoint(problems_of(5, seed=1))
    domain = load_domain("integration")
    assert all(domain.problem(text).statement for text in tonight[:3])


def test_the_figures_of_a_line_that_learns_and_keeps() -> None:
    facts = facts_of(row())
    assert (facts["nights"], facts["published"], facts["nights_to_learn"]) == (30, 30, 1)
    assert (facts["backward_transfer"], facts["skills_below_first"]) == (0.0, 0)
    assert facts["accuracy_gain"] == pytest.approx(0.7)


def test_a_forgotten_skill_shows() -> None:
    facts = facts_of(row(forgets=True))
    assert facts["backward_transfer"] == pytest.approx(-0.8 / len(SKILLS), abs=1e-4)
    assert facts["skills_below_first"] == 1
    still = facts_of(row(learns=False))
    assert (still["published"], still["nights_to_learn"]) == (0, None)


def test_the_summary_takes_the_worst_seed_and_names_the_other_arms() -> None:
    rows = {"everything,0": row(), "everything,1": row(forgets=True), "naive,0": row(forgets=True)}
    rows["everything,2"] = ORIGIN | {"nights": row()["nights"][:9]}  # unfinished
    summary = summarize(rows)
    assert (summary["seeds"], summary["skills_below_first"], summary["published"]) == (2, 1, 30)
    assert set(summary["others"]) == {"naive"}
    assert summarize({}) == {"nights": 0, "seeds": 0}
    text = page(rows)
    assert "| everything | 1 | 30 | 30 | 20.0% to" in text
    assert "sums of 10: 1 to 3, 24 to 25" in text
    assert picture(rows).count("<polyline") == len(rows)
    assert {key.rpartition(",")[0] for key in rows} <= set(ARMS)
