"""What `bench.bad_nights` counts, on made-up candidates; the real ones take an hour."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from bench import bad_nights

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def row(kind: str, outcome: str, *, bad: bool, number: int = 0) -> dict[str, Any]:
    return {"kind": kind, "number": number, "outcome": outcome, "truly_bad": bad}


ROWS = [
    row("noise", "PASS", bad=True),
    row("noise", "FAIL", bad=True, number=1),
    row("scaled", "PASS", bad=False),
    row("tiny noise", "PASS", bad=False),
    row("tiny noise", "FAIL", bad=False, number=1),
]


def test_only_what_is_truly_bad_counts_as_bad() -> None:
    found = bad_nights.summarize(ROWS)
    assert (found["bad"], found["bad_passed"], found["damaged_but_not_bad"]) == (2, 1, 1)
    assert (found["harmless"], found["harmless_failed"], found["harmless_passed"]) == (2, 0.5, 0.5)
    assert bad_nights.summarize([])["bad_passed_upper"] == 0.95


def test_a_finished_run_is_read_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [(kind, 1) for kind in bad_nights.BAD] + [(kind, 3) for kind in bad_nights.HARMLESS]
    rows = [row(kind, "FAIL", bad=True, number=n) for kind, count in kinds for n in range(count)]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(bad_nights, "Workshop", None)
    monkeypatch.setattr(sys, "argv", ["bench.bad_nights", "--each", "1", "--out", str(tmp_path / "rows.json")])
    bad_nights.main()
    assert "| noise | 1 | 1 | 0 | 0 | 1 | 0 |" in capsys.readouterr().out
