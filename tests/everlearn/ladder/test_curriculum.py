"""The curriculum: trains where the pass rate is between none and all, tries the frontier, keeps what is mastered."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.ladder.curriculum import Curriculum
from everlearn.ladder.replay import repair_weights

rates = st.dictionaries(st.integers(1, 20), st.integers(0, 100), min_size=1, max_size=12)


def curriculum(
    passed: dict[int, int],
    *,
    replay: float = 0.2,
    frontier: float = 0.2,
    uniform: bool = False,
    posterior: bool = False,
) -> Curriculum:
    made = Curriculum(
        classes={size: [f"{size}/{number}" for number in range(5)] for size in passed},
        replay=replay,
        frontier=frontier,
        uniform=uniform,
        posterior=posterior,
    )
    for size, count in passed.items():
        made.count(size, rollouts=100, passed=count)
    return made


@given(rates)
def test_shares_of_a_step_sum_to_one(passed: dict[int, int]) -> None:
    assert sum(curriculum(passed).weights().values()) == pytest.approx(1.0)


@given(rates)
def test_mastered_classes_keep_their_share(passed: dict[int, int]) -> None:
    made = curriculum(passed)
    mastered = [size for size in passed if made.rate(size) >= 0.9]
    share = sum(made.weights()[size] for size in mastered)
    expected = 0.0 if not mastered else 1.0 if len(mastered) == len(passed) else 0.2
    assert share == pytest.approx(expected)


def test_only_the_first_unsolved_class_has_a_minimum_share() -> None:
    weights = curriculum({2: 95, 4: 50, 6: 0, 8: 0}).weights()
    assert weights[6] == pytest.approx(0.8 * 0.2)
    assert weights[8] == 0.0
    assert weights[4] == pytest.approx(0.8 * 0.8)


def test_a_class_with_more_rungs_is_drawn_more_often() -> None:
    made = curriculum({2: 95, 3: 95, 4: 50, 6: 50})
    made.classes[3] = made.classes[3][:2]
    made.classes[6] = made.classes[6][:1]
    weights = made.weights()
    assert weights[2] / weights[3] == pytest.approx(5 / 2)
    assert weights[4] / weights[6] == pytest.approx(5 / 1)


def test_without_mixed_classes_the_frontier_gets_everything() -> None:
    assert curriculum({6: 0, 8: 0}).weights() == {6: 1.0, 8: 0.0}


def test_a_step_draws_distinct_rungs_least_used_first() -> None:
    made = curriculum({4: 50})
    first = made.choose(random.Random(0), count=3)
    second = made.choose(random.Random(1), count=2)
    assert len({*first, *second}) == 5


def test_a_small_ladder_gives_all_its_rungs() -> None:
    assert len(curriculum({4: 50}).choose(random.Random(0), count=99)) == 5


def test_uniform_sampling_draws_from_every_class() -> None:
    chosen = curriculum({2: 100, 4: 50, 8: 0}, uniform=True).choose(random.Random(0), count=99)
    assert len(chosen) == 15


WAYS: list[dict[str, bool]] = [{}, {"posterior": True}, {"uniform": True}]


@pytest.mark.parametrize("way", WAYS)
def test_rungs_are_drawn_in_proportion_to_their_weight(way: dict[str, bool]) -> None:
    made = curriculum({2: 95}, **way)
    made.classes = {2: [str(number) for number in range(100)]}  # the weights sum to 100: half for the first three
    made.weight = {str(number): 100 / 6 if number < 3 else 100 / 194 for number in range(100)}
    drawn = Counter(digest for seed in range(600) for digest in made.choose(random.Random(seed), count=1))
    assert sum(drawn[each] for each in "012") == pytest.approx(300, abs=50)
    assert len(drawn) > 90, "no other rung is left out"


def test_a_repair_leaves_the_share_of_earlier_nights_as_it_was() -> None:
    skills = {f"2/{number}": "sin" if number < 2 else "cos" for number in range(400)}
    made = curriculum({2: 95, 3: 95, 4: 50})
    made.classes[2], made.classes[3] = [*skills], [f"3/{number}" for number in range(100)]
    before = made.weights()
    made.weight = repair_weights(skills, repaired={"sin"})
    assert made.weights() == pytest.approx(before)
    assert before[2] == pytest.approx(0.2 * 0.8), "of 400 problems of earlier nights and 100 mastered rungs"


def test_old_measurements_are_discounted() -> None:
    made = curriculum({4: 0})
    for _ in range(40):
        made.learn({4: (8, 8)})
    assert made.rate(4) > 0.99


def test_an_unmeasured_class_is_unsolved() -> None:
    made = curriculum({4: 50})
    made.count(6, rollouts=0, passed=0)
    assert made.rate(6) == 0.0


def with_results(*, measured: bool = False) -> Curriculum:
    """Return a curriculum of one class, in which a single rung has had answers of both kinds."""
    made = curriculum({4: 50}, posterior=True)
    results = {f"4/{number}": (8, 8 * (number % 2)) for number in range(4)} | {"4/4": (8, 4)}
    if measured:
        for rung, (rollouts, passed) in results.items():
            made.count(4, rollouts=rollouts, passed=passed, rung=rung)
    else:
        made.learn({4: (40, 20)}, results)
    return made


def share_of_the_mixed_rung(made: Curriculum) -> float:
    return sum(made.choose(random.Random(seed), count=1) == ["4/4"] for seed in range(400)) / 400


@pytest.mark.parametrize("measured", [False, True])
def test_rungs_with_answers_of_both_kinds_come_first(*, measured: bool) -> None:
    assert share_of_the_mixed_rung(with_results(measured=measured)) > 0.8


def test_a_mixed_rung_is_one_of_many_once_its_results_are_old() -> None:
    made = with_results()
    for _ in range(300):
        made.learn({4: (8, 4)})
    assert share_of_the_mixed_rung(made) == pytest.approx(1 / 5, abs=0.1)


def test_a_rung_without_results_has_the_rate_of_its_class() -> None:
    made = curriculum({4: 50}, posterior=True)
    made.learn({4: (64, 32)}, {f"4/{number}": (80, 0) for number in range(4)})
    assert share_of_the_mixed_rung(made) > 0.6


@given(rates)
def test_a_posterior_draws_distinct_rungs(passed: dict[int, int]) -> None:
    chosen = curriculum(passed, posterior=True).choose(random.Random(0), count=6)
    assert (
        len(chosen)
        == len(set(chosen))
        == min(6, 5 * sum(bool(share) for share in curriculum(passed).weights().values()))
    )
