from __future__ import annotations

import io
import json
from typing import Any

import pytest

from everlearn.domains.verification import MAX_LINE_BYTES, Summary, verify_lines
from everlearn.errors import BadInputError, UnknownDomainError


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
    assert summary == Summary(lines=3, correct=1, wrong=1, undecided=1, unreadable=0)
    assert summary.is_clean


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "line 1 is not JSON: write"),
        (b"x^2", "line 1 is not JSON: write"),
        (b"[" * 60_000, "line 1 is not JSON: write"),
        (b'["2*x", "x^2"]', "line 1 is not a JSON object: write"),
        (b'{"answer": "x"}', "no text under 'problem' or 'integrand'"),
        (b'{"problem": "x"}', "no text under 'answer' or 'antiderivative'"),
        (b'{"problem": "x", "answer": 3}', "no text under 'answer'"),
        (b'{"problem": "2x", "answer": "x"}', "line 1: 'x' at position 2"),
        (b'{"problem": "x", "answer": "x", "domain": "chess"}', "line 1: unknown domain 'chess': use one of"),
        (b'{"problem": "x", "answer": "x", "domain": ["chess"]}', "line 1: unknown domain"),
        (b'{"problem": "\xff"}', "line 1 is not UTF-8 (byte 0xff at 14): save"),
        (b'{"problem": "' + b"x" * 10_000_000 + b'"}', f"line 1 is longer than {MAX_LINE_BYTES} bytes: shorten"),
    ],
)
def test_an_invalid_line_is_reported_as_undecided(line: bytes, reason: str) -> None:
    results, summary = judged(line, b'{"problem": "2*x", "answer": "x^2"}')

    assert [each["verdict"] for each in results] == ["UNDECIDED", "CORRECT"]
    assert reason in results[0]["reason"]
    assert summary.unreadable == 1
    assert not summary.is_clean


def test_the_last_line_may_be_too_long() -> None:
    results, _ = judged(b'{"problem": "2*x", "answer": "x^2"}', b"x" * 200_000)

    assert [each["verdict"] for each in results] == ["CORRECT", "UNDECIDED"]


def test_lone_surrogates_are_escaped() -> None:
    results, _ = judged(b'{"id": "\\ud800", "problem": "x", "answer": "\\ud800"}')

    assert results[0]["id"] == "\ud800"
    assert results[0]["verdict"] == "WRONG"


def test_empty_input_is_an_error() -> None:
    with pytest.raises(BadInputError, match="the input is empty: write one JSON object a line"):
        judged()


def test_the_default_domain_must_exist() -> None:
    with pytest.raises(UnknownDomainError):
        verify_lines(io.BytesIO(b"{}"), io.StringIO(), domain="chess")
