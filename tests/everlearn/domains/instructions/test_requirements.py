"""Requirements of an answer in words: what meets them, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.domains.instructions.requirements import read_requirements
from everlearn.errors import GrammarError
from everlearn.problem import Ruling

DOMAIN = load_domain("instructions")


@pytest.mark.parametrize(
    ("requirement", "met", "missed"),
    [
        ("equals: Paris | paris, France", ["Paris", " paris. ", "Paris, France!"], ["Paris it is", "London"]),
        ("contains: blue | azure sky", ["It is Blue.", "an azure\n sky"], ["bluebell", "azure"]),
        ("lacks: I cannot | as an AI", ["I can", "gasp as an Aid"], ["Well, I cannot do that.", "As an AI model"]),
        ("starts: Certainly", ["certainly, a cat"], ["A cat, certainly"]),
        ("ends: Done.", ["It rains. Done."], ["Done. It rains"]),
        ("words: 2-3", ["one two", "one two three"], ["one", "one two three four"]),
        ("lines: 2", ["a\n\nb"], ["a b", "a\nb\nc"]),
        ("items: 3", ["- a\n- b\n- c", "1. a\n2) b\n* c"], ["a, b, c", "- a\n- b", "-a\n-b\n-c"]),
        ("case: upper", ["HELLO 7"], ["Hello", "7"]),
        ("case: lower", ["hello."], ["Hello."]),
        (
            "json: name, age",
            ['{"name": "Ann", "age": 30}', '```json\n{"age": 1, "name": 2}\n```'],
            ['{"name": 1}', "[1]", "{", "[" * 9000],
        ),
        ("varied: 4", ["a b c d a b c d", "one two"], ["a b c d " * 3]),
    ],
)
def test_each_kind_of_requirement(requirement: str, met: list[str], missed: list[str]) -> None:
    [read] = read_requirements(requirement)
    assert [read.is_met(answer) for answer in met] == [True] * len(met)
    assert [read.is_met(answer) for answer in missed] == [False] * len(missed)


@pytest.mark.parametrize(
    "text",
    ["", "rhymes: cat", "words", "words: many", "words: 5-2", "words: 1-99999", "case: title", "equals:", "x" * 3000],
)
def test_requirements_that_cannot_be_meant_are_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        read_requirements(text)


def test_a_request_is_asked_as_it_is_and_all_requirements_have_to_be_met() -> None:
    row = {"statement": "Name a colour in capital letters.", "reference": "case: upper\nwords: 1-3"}
    problem = DOMAIN.problem(row)
    assert DOMAIN.question(problem) == row["statement"]
    rulings = {
        answer: DOMAIN.verify(problem, answer).ruling for answer in ("RED", "red", "RED AND BLUE AND GREEN", " ")
    }
    assert list(rulings.values()) == [Ruling.CORRECT, Ruling.WRONG, Ruling.WRONG, Ruling.UNREADABLE]
    assert "case" in DOMAIN.verify(problem, "red").reason
    bare = DOMAIN.problem("Name a colour.")
    assert bare.reference is None
    assert DOMAIN.verify(bare, "red").ruling is Ruling.UNDECIDED
    assert DOMAIN.extract(" two\nlines ") == "two\nlines"


@pytest.mark.parametrize("row", [{"statement": " "}, {"statement": "a\x00b"}, {"statement": "a", "reference": "b"}])
def test_rows_without_a_request_or_with_unknown_requirements_are_refused(row: dict[str, str]) -> None:
    with pytest.raises(GrammarError):
        DOMAIN.problem(row)


@given(st.text(max_size=300))
def test_any_answer_gets_a_verdict(answer: str) -> None:
    kinds = "equals: a\ncontains: b\nlacks: c\nwords: 1-5\nlines: 1\nitems: 0\njson: k\nvaried: 4"
    problem = DOMAIN.problem({"statement": "Say something.", "reference": kinds})
    assert DOMAIN.verify(problem, answer).ruling in set(Ruling)
