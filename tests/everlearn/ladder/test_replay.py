"""The reservoir of mastered problems: bounded, and every night and stratum stays in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.errors import IntegrityError
from everlearn.ladder.replay import Mastered, Reservoir, choose, is_mastered, mastered, repair_weights
from everlearn.ladder.tree import Ladder, Rung, rung_digest

DOMAIN = load_domain("integration")
RUNG = Rung(digest="d", statement="2*x", parent=None, depth=0, move=None, rollouts=4, passed=1)
NIGHTS = st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), max_size=30), max_size=12)
"""For each night, stratum and number of each mastered problem."""


def problem(night: int, stratum: int, number: int) -> Mastered:
    name = f"{stratum} {number}"
    return Mastered(statement=name, key=name, stratum=str(stratum), night=str(night))


def folded(nights: list[list[tuple[int, int]]], *, most: int) -> tuple[Mastered, ...]:
    """Update a reservoir night by night: no night reads more than the reservoir before it."""
    kept: tuple[Mastered, ...] = ()
    for night, found in enumerate(nights):
        kept = choose([*kept, *(problem(night, *each) for each in found)], most=most)
    return kept


@given(NIGHTS, st.integers(24, 60))
def test_every_night_and_stratum_stays_represented(nights: list[list[tuple[int, int]]], most: int) -> None:
    kept = folded(nights, most=most)
    assert len(kept) <= most
    assert {each.stratum for each in kept} == {str(stratum) for found in nights for stratum, _ in found}
    first = {each: night for night, found in reversed([*enumerate(nights)]) for each in found}
    assert {each.night for each in kept} == {str(night) for night in first.values()}


@given(NIGHTS, st.integers(1, 40))
def test_the_room_is_used_and_never_exceeded(nights: list[list[tuple[int, int]]], most: int) -> None:
    kept = folded(nights, most=most)
    classes = {each for found in nights for each in found}
    assert len({each.key for each in kept}) == len(kept) == min(most, len(classes))
    assert kept == folded(nights, most=most), "the same nights give the same reservoir"


@given(st.permutations([problem(0, number % 3, number) for number in range(30)]))
def test_the_order_of_arrival_does_not_matter(candidates: list[Mastered]) -> None:
    assert choose(candidates, most=12) == choose(sorted(candidates, key=lambda each: each.key), most=12)


def test_strata_share_the_room_in_equal_parts() -> None:
    candidates = [problem(0, 0, number) for number in range(500)] + [problem(0, 1, number) for number in range(20)]
    counts = Counter(each.stratum for each in choose(candidates, most=30))
    assert counts == {"0": 15, "1": 15}


def test_half_of_the_draws_are_for_skills_that_need_them_and_no_problem_is_left_out() -> None:
    skills = {str(number): "sin/cos" if number < 2 else f"{number % 7}" for number in range(400)}
    weights = repair_weights(skills, repaired={"sin/cos", "tan"})
    assert weights.keys() == skills.keys()
    assert sum(weights.values()) == pytest.approx(400), "earlier nights have no more draws than without"
    assert sum(weights[key] for key in ("0", "1")) == pytest.approx(200)
    assert len({*weights.values()}) == 2


@pytest.mark.parametrize("repaired", [set(), {"tan"}, {"sin"}, {"sin", "cos"}])
def test_without_other_problems_or_skills_all_weigh_the_same(repaired: set[str]) -> None:
    skills = {str(number): "sin" if number < 5 else "cos" for number in range(9)}
    assert repair_weights(skills, repaired=repaired) == {}


def test_more_nights_than_room_leave_a_sample_of_all() -> None:
    kept = folded([[(0, night)] for night in range(400)], most=40)
    nights = sorted(int(each.night) for each in kept)
    assert len(kept) == 40
    assert nights[0] < 100
    assert nights[-1] > 300, "neither only the newest nor only the oldest"


@pytest.mark.parametrize(
    ("rollouts", "passed", "expected"), [(4, 4, True), (4, 3, False), (0, 0, False), (None, None, False)]
)
def test_a_rung_is_mastered_when_every_rollout_passed(
    rollouts: int | None, passed: int | None, *, expected: bool
) -> None:
    assert is_mastered(replace(RUNG, rollouts_after=rollouts, passed_after=passed)) is expected


@pytest.mark.parametrize(
    ("statement", "rollouts", "passed", "stratum"),
    [
        ("3*x^2", 4, 0, "algebraic/passed 0 of 4"),
        ("3*x^2", 8, 5, "algebraic/passed 2 of 4"),
        ("3*x^2 + sin(x) - exp(x)", 3, 3, "exp+sin/passed 4 of 4"),
        ("3*x^2", 0, 0, "algebraic/size 1"),
        ("3*x^2 + sin(x) - exp(x)", 0, 0, "exp+sin/size 2"),
        ("sin(x) + cos(x) + exp(x) + log(x)", 0, 0, "mixed/size 3"),
    ],
)
def test_a_stratum_is_skill_and_measured_pass_rate(statement: str, rollouts: int, passed: int, stratum: str) -> None:
    rung = replace(RUNG, statement=statement, rollouts=rollouts, passed=passed)
    assert mastered(rung, night="n", domain=DOMAIN).stratum == stratum


def test_a_ladder_adds_what_it_mastered() -> None:
    rungs = [
        replace(RUNG, digest="a", statement="x^2", rollouts_after=2, passed_after=2),
        replace(RUNG, digest="b", statement="3*x^2", rollouts_after=2, passed_after=2),
        replace(RUNG, digest="c", statement="sin(x)", rollouts_after=2, passed_after=1),
        replace(RUNG, digest="d", statement="exp(x)", rollouts_after=2, passed_after=2),
    ]
    reservoir = Reservoir().updated(Ladder(rungs={each.digest: each for each in rungs}), night="n", domain=DOMAIN)
    assert [each.statement for each in reservoir.problems] == ["exp(x)", "x^2"], "a multiple is the same problem"
    assert Reservoir.from_bytes(reservoir.to_bytes()) == reservoir
    allowed = reservoir.allowed(domain=DOMAIN, forbidden={DOMAIN.equivalence("5*exp(x)")})
    assert [each.statement for each in allowed] == ["x^2"]


@pytest.mark.parametrize("data", [b"{", b'{"statement": "x"}\n'])
def test_damaged_bytes_are_no_reservoir(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="reservoir"):
        Reservoir.from_bytes(data)


def test_a_mastered_root_keeps_its_reference_and_a_variant_has_none() -> None:
    root = replace(RUNG, digest="a", statement="x^2", rollouts_after=2, passed_after=2)
    variant = replace(root, digest="b", statement="sin(x)", parent="a")
    ladder = Ladder(rungs={each.digest: each for each in (root, variant)})
    reservoir = Reservoir().updated(ladder, night="n", domain=DOMAIN, references={"a": "secret", "b": "no"})
    again = Reservoir.from_bytes(reservoir.to_bytes())
    found = {problem.statement: problem.reference for problem in again.allowed(domain=DOMAIN, forbidden=())}
    assert found == {"x^2": "secret", "sin(x)": None}
    assert b"reference" not in Reservoir().updated(ladder, night="n", domain=DOMAIN).to_bytes()


def test_a_corrected_reference_replaces_that_of_an_earlier_night() -> None:
    first = Ladder(rungs={"a": replace(RUNG, digest="a", rollouts_after=4, passed_after=4)})
    before = Reservoir().updated(first, night="one", domain=DOMAIN, references={"a": "wrong"})
    corrected = {rung_digest("2*x", domain=DOMAIN): "right"}
    after = before.updated(Ladder(), night="two", domain=DOMAIN, references=corrected)
    assert [(each.reference, each.night) for each in after.problems] == [("right", "one")]
    assert before.updated(Ladder(), night="two", domain=DOMAIN) == before
