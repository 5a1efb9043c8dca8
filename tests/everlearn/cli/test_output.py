from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.table import Table

from everlearn.cli.output import print_error, print_note, print_result, table

if TYPE_CHECKING:
    import pytest


def test_only_the_result_goes_to_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_note("working")
    print_error("[this] went wrong")
    print_result({"a": "é"}, as_json=False, text="the answer")
    out, err = capsys.readouterr()
    assert out == "the answer\n"
    assert err == "working\n[this] went wrong\n"


def test_json_results_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"a": "é", "path": json}, as_json=True, text="the answer")
    out = capsys.readouterr().out
    assert json.loads(out)["a"] == "é"
    assert out.count("\n") == 1


def test_tables_show_a_dash_for_none(capsys: pytest.CaptureFixture[str]) -> None:
    shown = table("a", "b", rows=[(1, None)])
    assert isinstance(shown, Table)
    print_result({}, as_json=False, text=shown)
    assert capsys.readouterr().out.split() == ["a", "b", "1", "-"]
