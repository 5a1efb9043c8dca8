from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench.notation import SEED, judge, main, misses
from bench.notation_answers import draw, rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_no_wrong_answer_of_the_oracle_is_accepted() -> None:
    found = judge(rows(draw(count=150, seed=SEED)))

    assert misses(found) == []
    assert sum(found["wrong"].values()) > 40


def test_the_oracle_is_deterministic_and_distinct() -> None:
    written = draw(count=40, seed=3)

    assert written == draw(count=40, seed=3)
    assert len({(each.problem, each.answer) for each in written}) == 40


def test_every_missed_goal_is_named() -> None:
    found = judge(
        [
            {"id": "a:right", "problem": "2*x", "answer": "x^3"},
            {"id": "b:wrong", "problem": "2*x", "answer": "x^2"},
            {"id": "c:wrong", "problem": "2*x", "answer": "?"},
        ]
    )

    assert list(found["misjudged"]) == ["a:right", "b:wrong"]
    assert len(misses(found)) == 3


def test_the_last_line_is_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a:right", "problem": "1/x", "answer": "ln|x| + C"}\n')

    assert main(["--answers", str(path), "--oracle", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["file"]["right"] == {"CORRECT": 1}


def test_a_misjudged_answer_ends_with_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a:right", "problem": "1/x", "answer": "x"}\n')

    assert main(["--answers", str(path), "--oracle", "3"]) == 1
    assert "MISSED: file: 1 right answers WRONG" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "x\n", '{"id": 1}\n', "[]\n"])
def test_invalid_files_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text)

    assert main(["--answers", str(path)]) == 2
    assert main(["--answers", str(tmp_path / "missing.jsonl")]) == 2
    assert "give a JSONL file" in capsys.readouterr().err
