"""Selection of mastered problems of earlier nights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everlearn.domains.contract import load_domain
from everlearn.ladder import replay
from everlearn.ladder.replay import is_mastered, select_replay
from everlearn.ladder.tree import Ladder, Rung

DOMAIN = load_domain("integration")
RUNG = Rung(digest="d", statement="2*x", parent=None, depth=0, move=None, rollouts=4, passed=1)


def ladder(*statements: str) -> Ladder:
    rungs = [replace(RUNG, digest=text, statement=text, rollouts_after=4, passed_after=4) for text in statements]
    return Ladder(rungs={rung.digest: rung for rung in rungs})


@pytest.mark.parametrize(
    ("rollouts", "passed", "mastered"), [(4, 4, True), (4, 3, False), (0, 0, False), (None, None, False)]
)
def test_a_rung_is_mastered_when_every_rollout_passed(
    rollouts: int | None, passed: int | None, *, mastered: bool
) -> None:
    assert is_mastered(replace(RUNG, rollouts_after=rollouts, passed_after=passed)) is mastered


def test_ladders_are_replayed_in_the_given_order() -> None:
    found = select_replay([ladder("3*x", "4*x"), ladder("5*x")], domain=DOMAIN)
    assert [problem.statement for problem in found] == ["3*x", "4*x", "5*x"]


def test_replay_stops_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_REPLAYED", 2)
    assert len(select_replay([ladder("3*x"), ladder("4*x", "5*x")], domain=DOMAIN)) == 2
