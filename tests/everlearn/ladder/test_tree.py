"""The ladder: what may become a rung, what is refused and why, and that a saved ladder comes back whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError
from everlearn.ladder.tree import Ladder, Rung, load_ladder

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")
NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def ladder() -> Ladder:
    made = Ladder()
    made.add("3*x^2 + sin(x) + exp(x)", domain=DOMAIN, forbidden=NOTHING)
    return made


def below(ladder: Ladder, statement: str, forbidden: frozenset[str] = NOTHING) -> Rung | None:
    return ladder.add(statement, domain=DOMAIN, forbidden=forbidden, parent=ladder.roots()[0], move="DROP")


def test_a_variant_has_parent_depth_and_move(ladder: Ladder) -> None:
    rung = below(ladder, "3*x^2 + sin(x)")
    assert rung is not None
    assert (rung.parent, rung.depth, rung.move) == (ladder.roots()[0].digest, 1, "DROP")
    assert ladder.rungs[rung.digest] == rung


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("sin(x) + 3*x^2 + exp(x)", "duplicate"),
        ("3*x^2 +", "outside the grammar"),
        ("4*cos(2*x)", "leak"),
        ("-2*cos(2*x)", "leak"),
    ],
)
def test_invalid_variants_are_counted_and_refused(ladder: Ladder, statement: str, reason: str) -> None:
    forbidden = equivalence_keys(["cos(2*x)"], domain=DOMAIN)
    assert below(ladder, statement, forbidden) is None
    assert ladder.counts[reason] == 1
    assert len(ladder.rungs) == 1


def test_pass_rates_are_kept_before_and_after(ladder: Ladder) -> None:
    digest = ladder.roots()[0].digest
    ladder.set_pass_rate(digest, rollouts=4, passed=1)
    ladder.set_pass_rate(digest, rollouts=4, passed=3, after=True)
    rung = ladder.rungs[digest]
    assert (rung.passed, rung.rollouts, rung.passed_after, rung.rollouts_after) == (1, 4, 3, 4)


def test_a_copy_grows_independently(ladder: Ladder) -> None:
    copy = ladder.copy()
    below(copy, "sin(x)")
    assert len(ladder.rungs) == 1
    assert ladder.counts["accepted"] == 0


def test_a_saved_ladder_loads_equal(ladder: Ladder, tmp_path: Path) -> None:
    below(ladder, "sin(x)")
    ladder.save(tmp_path / "ladder.jsonl")
    assert load_ladder(tmp_path / "ladder.jsonl") == ladder


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", '{"counts": {}}\n{"digest": 1}\n'])
def test_invalid_ladder_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ladder.jsonl"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"ladder\.jsonl is not a ladder"):
        load_ladder(path)


def test_missing_ladder_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"gone\.jsonl"):
        load_ladder(tmp_path / "gone.jsonl")
