from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.textbook import differs, judge, load, main, measure_rate, perturbations

DATA = Path(__file__).parents[1] / "data/integrals.jsonl"


def test_the_repository_textbook_meets_the_goals() -> None:
    items = load(DATA)

    outcome = judge(items, rate=1e6)

    assert (outcome.read, outcome.correct, outcome.undecided) == (len(items), len(items) - 1, 1)
    assert outcome.perturbed > 80
    assert outcome.false_accepts == 0
    assert list(outcome.explained) == ["no-theory"]
    assert outcome.misses() == [f"{len(items) - 1} of {len(items)} CORRECT, the goal is 97%"]


def test_every_missed_goal_is_named() -> None:
    outcome = judge([{"id": "a", "integrand": "∫", "antiderivative": "x"}], rate=1.0)

    assert outcome.explained["a"].startswith("integrand: ")
    assert len(replace(outcome, false_accepts=1).misses()) == 4


def test_a_published_error_is_reported() -> None:
    # The answer lacks its sign, so that the perturbation of the sign is right: a false accept, were it one.
    outcome = judge([{"id": "a", "integrand": "sin(x)", "antiderivative": "cos(x)"}], rate=1e6)

    assert (outcome.wrong, outcome.false_accepts) == (1, 1)
    assert "a sign" in outcome.explained


@pytest.mark.parametrize(
    ("answer", "spoilt"),
    [
        ("x", ["-x", "2*x", "0"]),
        ("-x^3", ["x^3", "-x^4", "0"]),
        ("3*x", ["-(3*x)", "4*x", "0"]),
        ("Li(x)", []),
    ],
)
def test_an_answer_is_perturbed_in_three_ways(answer: str, spoilt: list[str]) -> None:
    assert [text for _, text in perturbations(answer, seed="s")] == spoilt


def test_a_dropped_term_leaves_the_others() -> None:
    texts = [text for _, text in perturbations("sin(x) - cos(x)", seed="s")]

    assert texts[2] in ("sin(x)", "-cos(x)")


@pytest.mark.parametrize(
    ("other", "changed"), [("x^2 + 3", False), ("x^2 + log(2*x) - log(x)", False), ("x^2 + x/9^9", True)]
)
def test_only_a_changed_derivative_counts(other: str, *, changed: bool) -> None:
    assert differs("x^2", other) is changed


def test_the_rate_is_verdicts_per_second() -> None:
    ticks = iter([10.0, 14.0])

    assert measure_rate(count=20, clock=lambda: next(ticks)) == 5.0


@pytest.mark.parametrize("text", ["", "x\n", '{"id": 1}\n', "[]\n"])
def test_invalid_textbook_files_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(text)

    assert main([str(path)]) == 2
    assert "give a JSONL file" in capsys.readouterr().err
    assert main([str(tmp_path / "missing.jsonl")]) == 2


def test_the_last_line_is_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "a", "integrand": "x2", "antiderivative": "x^2"}\n')

    assert main([str(path), "--json"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert json.loads(said[-1])["items"] == 1
    assert any(line.startswith("MISSED: read 0 of 1") for line in said)
