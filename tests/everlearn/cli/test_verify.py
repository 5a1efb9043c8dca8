from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.everlearn.cli.conftest import Ended

RIGHT = b'{"id": "a", "problem": "2*x", "answer": "x^2 + 7"}\n'
WRONG = b'{"integrand": "2*x", "antiderivative": "x^3"}\n'


def verdicts(ended: Ended) -> list[tuple[object, str]]:
    return [(verdict["id"], verdict["verdict"]) for verdict in map(json.loads, ended.out.splitlines())]


def test_verify_prints_a_line_per_line_and_counts(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_bytes(RIGHT + WRONG)
    ended = everlearn("verify", str(tmp_path / "answers.jsonl"))
    assert ended.code == 0
    assert verdicts(ended) == [("a", "CORRECT"), (2, "WRONG")]
    assert ended.err == "2 lines: 1 CORRECT, 1 WRONG, 0 UNREADABLE, 0 UNDECIDED\n"


def test_verify_judges_the_lines_beside_an_invalid_one(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_bytes(b"\xff\n" + RIGHT)
    ended = everlearn("verify", str(tmp_path / "answers.jsonl"))
    assert ended.code == BadInputError.exit_code
    assert verdicts(ended) == [(1, "UNDECIDED"), ("a", "CORRECT")]
    assert "1 of them could not be understood" in ended.err


def test_verify_reads_standard_input(everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(RIGHT)))
    assert verdicts(everlearn("verify", "-")) == [("a", "CORRECT")]


@pytest.mark.parametrize("name", ["none.jsonl", "empty.jsonl", "folder"])
def test_verify_names_an_unreadable_file(name: str, everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    ended = everlearn("verify", str(tmp_path / name))
    assert ended.code == BadInputError.exit_code
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
