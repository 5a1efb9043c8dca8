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
    return [(told["id"], told["verdict"]) for told in map(json.loads, ended.out.splitlines())]


def test_one_line_comes_out_for_each_line_in_and_the_counts_go_to_standard_error(
    everlearn: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "answers.jsonl").write_bytes(RIGHT + WRONG)
    ended = everlearn("verify", str(tmp_path / "answers.jsonl"))
    assert ended.code == 0
    assert verdicts(ended) == [("a", "CORRECT"), (2, "WRONG")]
    assert ended.err == "2 lines: 1 CORRECT, 1 WRONG, 0 UNDECIDED\n"


def test_a_line_that_cannot_be_understood_ends_with_2_and_the_others_are_judged(
    everlearn: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "answers.jsonl").write_bytes(b"\xff\n" + RIGHT)
    ended = everlearn("verify", str(tmp_path / "answers.jsonl"))
    assert ended.code == BadInputError.exit_code
    assert verdicts(ended) == [(1, "UNDECIDED"), ("a", "CORRECT")]
    assert "1 of them could not be understood" in ended.err


def test_a_dash_is_standard_input(everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(RIGHT)))
    assert verdicts(everlearn("verify", "-")) == [("a", "CORRECT")]


@pytest.mark.parametrize("name", ["none.jsonl", "empty.jsonl", "folder"])
def test_what_cannot_be_read_is_one_message(name: str, everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    ended = everlearn("verify", str(tmp_path / name))
    assert ended.code == BadInputError.exit_code
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
