from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.table import Table

from everlearn.cli.output import answer, complain, table, tell

if TYPE_CHECKING:
    import pytest


def test_the_answer_goes_to_standard_output_and_everything_else_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell("working")
    complain("[this] went wrong")
    answer({"a": "é"}, as_json=False, shown="the answer")
    out, err = capsys.readouterr()
    assert out == "the answer\n"
    assert err == "working\n[this] went wrong\n"


def test_for_programs_the_answer_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    answer({"a": "é", "path": json}, as_json=True, shown="the answer")
    out = capsys.readouterr().out
    assert json.loads(out)["a"] == "é"
    assert out.count("\n") == 1


def test_a_table_shows_a_dash_for_what_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    shown = table("a", "b", rows=[(1, None)])
    assert isinstance(shown, Table)
    answer({}, as_json=False, shown=shown)
    assert capsys.readouterr().out.split() == ["a", "b", "1", "-"]
