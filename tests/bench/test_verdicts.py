from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench.answers import AnswerCase, draw, is_right
from bench.rivals import by_math_verify, by_sympy, latex
from bench.verdicts import judge, main, outcome, ruling_of
from everlearn.problem import Ruling

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_the_last_line_is_a_summary_without_wrong_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--answers", "40", "--rivals", "0", "--out", str(tmp_path / "out.json"), "--json"])

    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(report) == ["verdicts_per_second", "wrong_accepts", "wrong_rejects", "undecided", "ratio_math_verify"]
    assert (report["wrong_accepts"], report["wrong_rejects"]) == (0, 0)
    assert report["verdicts_per_second"] > 0
    assert json.loads((tmp_path / "out.json").read_text())["measured"]["outcomes"]["all"]


def test_drawn_answers_are_seeded_and_distinct() -> None:
    cases = draw(count=50, seed=3)

    assert cases == draw(count=50, seed=3)
    assert len(set(cases)) == 50
    assert {each.kind for each in cases} == {"right", "near miss", "malformed"}


@pytest.mark.parametrize(
    ("statement", "answer", "right"),
    [
        ("2*x", "x^2 + 7", True),
        ("exp(x)", "e^(x)", True),
        ("2*x", "x^2 + x", False),
        ("1/x^3", "-1/2*x^(-2)", True),
        ("2*x", "x^(", False),
        ("2*x", "primitive(2*x)", False),
        ("2*x", "", False),
    ],
)
def test_the_truth_does_not_use_the_verifier(statement: str, answer: str, right: bool) -> None:  # noqa: FBT001
    assert is_right(AnswerCase(statement=statement, answer=answer, kind="right")) is right


def test_outcomes_distinguish_each_mistake() -> None:
    cases = [AnswerCase(statement="2*x", answer=answer, kind="right") for answer in ("x^2", "x^3", "erf(x)")]

    assert judge(cases, [False, True, True])["all"] == {"wrong accepts": 1, "wrong rejects": 1, "undecided": 1}
    assert outcome(Ruling.WRONG, right=False) == "right rejects"
    assert outcome(Ruling.UNREADABLE, right=True) == "unreadable"
    assert [ruling_of(said) for said in (True, False, None)] == [Ruling.CORRECT, Ruling.WRONG, Ruling.UNDECIDED]


def test_alternative_verifiers_judge_the_same_answers() -> None:
    assert latex("3/2*exp(2*x) - x^12") == r"3/2 \cdot e^{2 \cdot x} - x^{12}"
    for rival in (by_sympy, by_math_verify):
        assert rival("exp(2*x) + 4/(x^2+4)", "1/2*e^(2*x) + 2*atan(x/2) + 3")()
        assert not rival("exp(2*x)", "e^(2*x)")()
