"""Tests in references: JSON and asserts, read strictly."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.programs.hidden_tests import MOST, read_tests
from everlearn.errors import GrammarError

TWO = [{"args": [1], "result": 2}, {"args": [2], "result": 4}]


def results(reference: str) -> list[Any]:
    return [case.result for case in read_tests(reference).cases]


def test_tests_are_read_from_json() -> None:
    read = read_tests(json.dumps([*TWO, {"args": [[None, True, 1.5]], "result": {"a": "b"}}]))
    assert read.name is None
    assert [(case.arguments, case.result) for case in read.cases] == [
        ([1], 2),
        ([2], 4),
        ([[None, True, 1.5]], {"a": "b"}),
    ]


def test_asserts_are_read_from_lines_or_a_list() -> None:
    lines = [
        "assert f(1, 'a') == [1, (2.5,)]",
        "assert f(-2, 'b') == {'k': {1, 2}, -1: None}",
        "assert f(3, '\\d') == set()",
    ]
    for reference in (json.dumps(lines), "\n\n".join(lines)):
        read = read_tests(reference)
        assert read.name == "f"
        assert [case.arguments for case in read.cases] == [[1, "a"], [-2, "b"], [3, "\\d"]]
        assert [case.result for case in read.cases] == [[1, (2.5,)], {"k": {1, 2}, -1: None}, set()]


def test_numbers_that_are_none_are_read() -> None:
    [first, *_] = results(
        '[{"args": [1], "result": NaN}, {"args": [2], "result": -Infinity}, {"args": [3], "result": 1}]'
    )
    assert math.isnan(first)


@pytest.mark.parametrize(
    "line",
    [
        "f(3) == 4",
        "assert f(3)",
        "assert f(3) == 4, 'no'",
        "assert f(3) != 4",
        "assert f(3) == 4 == 4",
        "assert f(3) is True",
        "assert not f(3)",
        "assert 4 == f(3)",
        "assert f(x=3) == 4",
        "assert f(*[3]) == 4",
        "assert f(g(3)) == 4",
        "assert f(3) == 2 + 2",
        "assert f(3) == g(4)",
        "assert f(3) == x",
        "assert f(3) == __import__('os').system('x')",
        "assert f(3) == [x for x in [1]]",
        "assert f(3) == f'{1}'",
        "assert f(3) == b'x'",
        "assert f(3) == 1j",
        "assert f(3) == ...",
        "assert f(3) == -True",
        "assert f(3) == --1",
        "assert f(3) == {**{}}",
        "assert f(3) == {1: 2, 1: 3}",
        "assert f(3) == {1, True}",
        "assert f(3) == {[1]: 2}",
        "assert f(3) == set([1])",
        "assert a.f(3) == 4",
        "assert (lambda x: x)(3) == 4",
        "assert f(3) == 4; import os",
        "import os",
        "assert f(3) == " + "[" * 40 + "]" * 40,
        "assert f(3) == " + "[" * 1000 + "]" * 1000,
        "assert f(3) == " + "-" * 3000 + "1",
        "assert f(3) == '" + "a" * 4000 + "'",
        "assert f(3) == 'x\x00'",
        "assert f(",
        "not Python at all",
        "assert g(3) == 4",
        "assert f(3, 4) == 4",
        "assert f(1) == 4",
    ],
)
def test_an_assert_is_a_call_and_a_literal(line: str) -> None:
    with pytest.raises(GrammarError) as caught:
        read_tests(json.dumps(["assert f(1) == 2", "assert f(2) == 4", line]))
    assert len(line) < 15 or line not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (json.dumps(TWO), "there are 2 tests: 3 to 200"),
        ("[]", "there are 0 tests"),
        (json.dumps([{"args": [n], "result": n} for n in range(MOST + 1)]), "201 tests"),
        (json.dumps([{"args": [n], "result": 1} for n in range(5)]), "a constant would pass"),
        (json.dumps([*TWO, {"args": [3, 4], "result": 1}]), "number of arguments"),
        (json.dumps([*TWO, {"args": [3]}]), "a test is"),
        (json.dumps([*TWO, {"args": 3, "result": 4}]), "a test is"),
        (json.dumps([*TWO, {"args": [3], "result": 4, "name": "x"}]), "a test is"),
        (json.dumps([*TWO, 3]), "a test is"),
        ("{}", "tests are a list"),
        ("3", "tests are a list"),
        ("[" * 50_000, "an assert compares"),
        (" " * 60_001, "60001 characters"),
        (
            '[{"args": [1], "result": '
            + "[" * 60
            + "]" * 60
            + '}, {"args": [2], "result": 1}, {"args": [3], "result": 2}]',
            "too large",
        ),
        ("[" + ", ".join(["9" * 5000] * 3) + "]", "an assert compares"),
    ],
)
def test_other_references_are_refused(reference: str, says: str) -> None:
    with pytest.raises(GrammarError, match=says):
        read_tests(reference)


@given(st.text(max_size=80) | st.text("[]{}\"'assert f(1)==2,:-\n", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_tests(text)
    except GrammarError as error:
        assert len(str(error)) < 300  # noqa: PT017
