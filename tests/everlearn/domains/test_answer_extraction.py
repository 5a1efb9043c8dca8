"""The answer in a completion of a model that explains itself."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.answer_extraction import extract_answer


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("", ""),
        (" \n ", ""),
        ("42", "42"),
        ("First I add.\n\n  The sum is 42\n\n", "The sum is 42"),
        ("Answer: 42", "42"),
        ("I add.\n**Final answer:** 42", "42"),
        ("**Answer: 42**", "42"),
        ("The answer is 42.", "42."),
        ("Answering is hard", "Answering is hard"),
        ("So \\boxed{41}, no, \\boxed{42} it is.", "42"),
        ("\\boxed{\\frac{1}{2}} done", "\\frac{1}{2}"),
        ("\\boxed{never closed\n42", "42"),
        ("<answer>41</answer> wait <answer>\n 42\n</answer> bye", "42"),
        ("<answer>41 <answer>42</answer>", "42"),
        ("<answer>\\boxed{42}</answer>", "42"),
        ("\\boxed{41} <answer>42</answer>", "42"),
        ("<answer>42", "<answer>42"),
    ],
)
def test_the_last_marked_answer_or_the_last_line_counts(completion: str, answer: str) -> None:
    assert extract_answer(completion) == answer


@given(st.text())
def test_an_answer_is_part_of_the_completion(completion: str) -> None:
    answer = extract_answer(completion)
    assert answer in completion
    assert answer == answer.strip()


@pytest.mark.parametrize("unit", ["<answer>", "\\boxed{", "{", "answer ", "**", "\n", "<answer></answer>"])
def test_extraction_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    extract_answer(unit * (400_000 // len(unit)))
    assert time.process_time() - started < 1
