"""The comparison of the ladder with its controls: rows resume, and the page states what the rows say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.learning.__main__ import main
from bench.learning.arms import ARMS, HARD, TRAINED, UNTRAINED, Options, run_arm
from bench.learning.page import page, picture, summarize
from bench.learning.rows import RowFile

BASE = str(Path(__file__).parents[2] / "data/base")
TINY = Options(rollouts=8, items=4, skill_items=2, base=BASE)


def row(arm: str, seed: int, *, right: int) -> dict[str, Any]:
    marks = "1" * right + "0" * (4 - right)
    origin = {"date": "2026-01-01", "machine": "a laptop", "revision": "abc"}
    trained = {
        "curve": [[0, 0.0], [8, right / 4]],
        "rollouts": 8,
        "steps": 1,
        "stopped": None,
        "rewarded": 3,
        "false_rewards": 0,
        "skills_before": dict.fromkeys("123", "11"),
        "skills_after": dict.fromkeys("123", "10"),
    }
    table = {"table": {"14": marks, "18": marks} | ({"6": marks, "10": marks} if arm in TRAINED else {})}
    return {"arm": arm, "seed": seed} | origin | table | (trained if arm in TRAINED else {})


ROWS = [row(arm, seed, right=1 + seed) for arm in ARMS for seed in range(3)]


def test_the_page_shows_medians_with_the_range_of_seeds() -> None:
    text = page(ROWS, {"split": "dev", "rollouts": 8, "items": 4, "skill_items": 2})
    assert "| ladder | 3 | 50.0% (25.0% to 75.0%) |" in text
    assert "| pieces | 3 |  |  | 50.0% (25.0% to 75.0%) | 50.0% (25.0% to 75.0%) | none |" in text
    assert "50.0 points" in text
    assert picture(ROWS).count("<polyline") == 3 * len(TRAINED)
    summary = summarize(ROWS)
    assert summary["hard"]["direct"] == 0.5
    assert set(summary["largest_skill_loss"]) == set(TRAINED)


def test_a_stopped_bench_runs_only_the_missing_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = RowFile(tmp_path / "learning.json", TINY)
    for each in ROWS[1:]:
        file.put(each)
    ran: list[tuple[str, int]] = []

    def run(arm: str, seed: int, *, arguments: list[str]) -> dict[str, Any]:
        ran.append((arm, seed))
        return row(arm, seed, right=4)

    monkeypatch.setattr("bench.learning.__main__.run_row", run)
    options = ["--rollouts", "8", "--items", "4", "--skill-items", "2", "--base", BASE, "--out", str(tmp_path)]
    main([*options, "--json"])
    assert ran == [(ROWS[0]["arm"], ROWS[0]["seed"])]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["seeds"]["ladder"] == 3
    main([*options, "--rerun", "ladder,0"])
    assert "ladder, seed 0, 14 terms: 0 of 4 items differ" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="has rows of other options"):
        main([*options, "--items", "5"])
    with pytest.raises(SystemExit):
        main([*options, "--rerun", "stairs,0"])


def test_untrained_arms_give_the_same_marks_again() -> None:
    for arm in UNTRAINED:
        once, again = (run_arm(arm, seed=0, options=TINY)["table"] for _ in range(2))
        assert once == again
        assert {len(marks) for marks in once.values()} == {TINY.items}


def test_the_base_solves_the_sums_in_pieces() -> None:
    assert run_arm("pieces", seed=0, options=TINY)["table"][HARD] == "1111"
