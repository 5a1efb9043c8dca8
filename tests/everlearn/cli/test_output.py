from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.table import Table

from everlearn.cli.output import is_interactive, print_error, print_note, print_result, table

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


def test_text_from_outside_neither_controls_the_terminal_nor_becomes_an_emoji(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "rm \x1b[2J\x1b]0;owned\x07 \x9b1m :x: k:on:z\nb"
    print_result({}, as_json=False, text=text)
    print_result({}, as_json=False, text=table("reason", rows=[(text,)]))
    print_note(text)
    out, err = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b"} & set(out + err)
    assert err == out.partition("reason")[0] == "rm [2J]0;owned 1m :x: k:on:z\nb\n"


def test_nothing_is_asked_where_standard_input_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not is_interactive()
