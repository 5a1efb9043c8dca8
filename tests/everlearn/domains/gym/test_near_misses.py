"""Wrong answers are wrong by construction."""

from __future__ import annotations

import random
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.gym.near_misses import near_misses, other_copies

numbers = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.decimals(-1000, 1000, places=3, allow_nan=False).map(lambda number: f"{number:f}"),
)


@given(numbers, st.integers(0, 9))
def test_no_near_miss_is_the_number(answer: str, seed: int) -> None:
    near = near_misses(answer, rng=random.Random(seed))
    assert 10 <= len(near) == len(set(near)) <= 40
    assert not [text for text in near if Decimal(text) == Decimal(answer)]


def test_the_usual_mistakes_are_among_them() -> None:
    near = near_misses("-38", rng=random.Random(0))
    assert {"38", "-37", "-39", "-380", "-138", "-83", "-3", "-8", "62"} <= set(near)
    assert "-0.25" in near_misses("0.25", rng=random.Random(0))


@pytest.mark.parametrize("answer", ["", "abc", "1/2", "007", "1e3", "- 3", "1 2", "1,000", "٣", "1" * 50, "[1, 2]"])
def test_other_answers_have_none(answer: str) -> None:
    assert near_misses(answer, rng=random.Random(0)) == []


def test_a_list_of_numbers_from_the_question_is_wrong_with_any_other_number() -> None:
    question = "Sort these: 3.5, -2, 7. Give a list like ['1', '2']."
    others = other_copies("['-2', '3.5', '7']", question, rng=random.Random(1))
    assert others
    for text in others:
        numbers = re.findall(r"-?[0-9.]+", text)
        assert len(set(numbers) - {"-2", "3.5", "7"}) == 1, "one number is replaced"


def test_a_number_of_the_question_is_no_other_number() -> None:
    assert not other_copies("[7, 12]", " ".join(map(str, range(-10, 40))), rng=random.Random(0))


@pytest.mark.parametrize("answer", ["12", "3.5 and 7", "['3.5', '8']", ""])
def test_nothing_is_known_about_other_answers(answer: str) -> None:
    assert not other_copies(answer, "Sort these: 3.5, -2, 7", rng=random.Random(0))
