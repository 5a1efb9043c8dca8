from __future__ import annotations

import io
import json
from typing import Any

import pytest

from everlearn.domains.verification import Summary, verify_lines
from everlearn.errors import BadInputError, UnknownDomainError
from everlearn.problem import ANSWER_FIELDS, STATEMENT_FIELDS


def judged(*lines: bytes) -> tuple[list[dict[str, Any]], Summary]:
    sink = io.StringIO()
    summary = verify_lines(io.BytesIO(b"\n".join(lines)), sink, seed=1)
    return [json.loads(line) for line in sink.getvalue().splitlines()], summary


def test_each_input_line_gives_one_output_line() -> None:
    results, summary = judged(
        b'{"id": "b", "problem": "2*x", "answer": "x^2 + 7"}',
        b'{"integrand": "2*x", "antiderivative": "x^3", "domain": "integration"}',
        b'{"id": 7, "problem": "exp(-x^2)", "answer": "erf(x)"}\n',
    )

    assert [(line["id"], line["verdict"]) for line in results] == [("b", "CORRECT"), (2, "WRONG"), (7, "UNDECIDED")]
    assert all(line["reason"] for line in results)
    assert summary == Summary(lines=3, correct=1, wrong=1, unreadable=0, undecided=1, invalid=0)
    assert summary.is_clean


def test_an_unreadable_answer_is_told_apart_from_a_wrong_one() -> None:
    told, summary = judged(b'{"problem": "2*x", "answer": "no idea"}', b'{"problem": "2*x", "answer": "x^3"}')

    assert [line["verdict"] for line in told] == ["UNREADABLE", "WRONG"]
    assert summary == Summary(lines=2, correct=0, wrong=1, unreadable=1, undecided=0, invalid=0)
    assert summary.is_clean


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x^2", "line 1: the line is no JSON object"),
        (b"[" * 60_000, "line 1: the line is no JSON object"),
        (b'["2*x", "x^2"]', "line 1: the line is JSON, but a list and not an object"),
        (b'{"answer": "x"}', "line 1: no text under 'problem' or 'integrand'"),
        (b'{"problem": "x"}', "no text under 'answer' or 'antiderivative'"),
        (b'{"problem": "x", "answer": 3}', "no text under 'answer'"),
        (b'{"problem": "x2", "answer": "x"}', "line 1: 'x2' at position 1"),
        (b'{"problem": "x", "answer": "x", "domain": "chess"}', "line 1: unknown domain 'chess': use one of"),
        (b'{"problem": "x", "answer": "x", "domain": ["chess"]}', "line 1: unknown domain"),
        (b'{"problem": "\xff"}', "line 1: byte 14 of the line is not UTF-8; save"),
        (b'{"problem": "' + b"x" * 10_000_000 + b'"}', "line 1: the line is longer than 64 KiB"),
    ],
)
def test_an_invalid_line_is_reported_as_undecided(line: bytes, reason: str) -> None:
    results, summary = judged(line, b'{"problem": "2*x", "answer": "x^2"}')

    assert [each["verdict"] for each in results] == ["UNDECIDED", "CORRECT"]
    assert reason in results[0]["reason"]
    assert summary.invalid == 1
    assert not summary.is_clean


@pytest.mark.parametrize("statement", STATEMENT_FIELDS)
@pytest.mark.parametrize("answer", ANSWER_FIELDS)
def test_usual_names_of_the_fields_are_read(statement: str, answer: str) -> None:
    results, _ = judged(json.dumps({statement: "2*x", answer: "x^2", "domain": None, "id": None}).encode())
    assert [(each["id"], each["verdict"]) for each in results] == [(1, "CORRECT")]


def test_every_output_line_is_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    sink = io.StringIO()
    lines = b'{"id": NaN, "problem": "x"}\n{"id": 1e999, "problem": "x"}\n{"id": 1, "id": 2, "problem": "x"}\n'
    summary = verify_lines(io.BytesIO(lines), sink)
    results = [json.loads(line, parse_constant=refuse) for line in sink.getvalue().splitlines()]
    assert [each["id"] for each in results] == [1, 2, 3]
    assert summary.undecided == 3


def test_blank_lines_count_for_numbers_only() -> None:
    results, summary = judged(b"", b"  ", b'{"problem": "2*x", "answer": "x^2"}')
    assert ([each["id"] for each in results], summary.lines) == ([3], 1)


def test_the_last_line_may_be_too_long() -> None:
    results, _ = judged(b'{"problem": "2*x", "answer": "x^2"}', b"x" * 200_000)

    assert [each["verdict"] for each in results] == ["CORRECT", "UNDECIDED"]


def test_lone_surrogates_are_escaped() -> None:
    results, _ = judged(b'{"id": "\\ud800", "problem": "x", "answer": "\\ud800"}')

    assert results[0]["id"] == "\ud800"
    assert results[0]["verdict"] == "UNREADABLE"


def test_empty_input_is_an_error() -> None:
    with pytest.raises(BadInputError, match="the input is empty: write one JSON object a line"):
        judged()


def test_the_default_domain_must_exist() -> None:
    with pytest.raises(UnknownDomainError):
        verify_lines(io.BytesIO(b"{}"), io.StringIO(), domain="chess")
