"""The comparison of the ladder with its controls: rows resume, and the page states what the rows say."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.learning.__main__ import COMMAND
from bench.learning.arms import ARMS, TRAINED, UNTRAINED, Options, run_arm
from bench.learning.page import page, picture, summarize
from bench.learning.rows import RowFile
from bench.learning.subject import COMPOSITIONS, SUMS, solve_by_columns
from bench.lm_night import __main__ as lm_night
from everlearn.settings import LadderSettings, LearnSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = str(Path(__file__).parents[2] / "data/base")
TINY = Options(rollouts=8, items=4, skill_items=2, base=BASE)


def row(arm: str, seed: int, *, right: int) -> dict[str, Any]:
    marks = "1" * right + "0" * (4 - right)
    origin = {"date": "2026-01-01", "machine": "a laptop", "revision": "abc"}
    trained = {
        "curve": [[0, 0.0], [8, right / 4]],
        "rollouts": 8,
        "steps": 1,
        "minutes": 2.0,
        "tokens": 1200,
        "cpu_seconds": 60,
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
    text = page(ROWS, {"split": "dev", "rollouts": 8, "items": 4, "skill_items": 2}, SUMS, module="bench.learning")
    assert "| ladder | 3 | 50.0% (25.0% to 75.0%) |" in text
    assert "| pieces | 3 |  |  | 50.0% (25.0% to 75.0%) | 50.0% (25.0% to 75.0%) | none |" in text
    assert "50.0 points" in text
    assert picture(ROWS, SUMS).count("<polyline") == 3 * len(TRAINED)
    summary = summarize(ROWS, SUMS)
    assert summary["hard"]["direct"] == 0.5
    assert set(summary["largest_skill_loss"]) == set(TRAINED)


def test_a_stopped_bench_runs_only_the_missing_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = RowFile(tmp_path / "learning.json", TINY)
    for each in ROWS[1:]:
        file.put(each)
    ran: list[tuple[str, int]] = []

    def run(arm: str, seed: int, **_: object) -> dict[str, Any]:
        ran.append((arm, seed))
        return row(arm, seed, right=4)

    monkeypatch.setattr("bench.learning.command.run_row", run)
    options = ["--rollouts", "8", "--items", "4", "--skill-items", "2", "--base", BASE, "--out", str(tmp_path)]
    COMMAND.run([*options, "--json"])
    assert ran == [(ROWS[0]["arm"], ROWS[0]["seed"])]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["seeds"]["ladder"] == 3
    COMMAND.run([*options, "--rerun", "ladder,0"])
    assert "ladder, seed 0, 14 terms: 0 of 4 items differ" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="has rows of other options"):
        COMMAND.run([*options, "--items", "5"])
    with pytest.raises(SystemExit):
        COMMAND.run([*options, "--rerun", "stairs,0"])


def test_untrained_arms_give_the_same_marks_again() -> None:
    for arm in UNTRAINED:
        once, again = (run_arm(arm, seed=0, options=TINY)["table"] for _ in range(2))
        assert once == again
        assert {len(marks) for marks in once.values()} == {TINY.items}


def test_the_base_solves_the_sums_in_pieces() -> None:
    assert run_arm("pieces", seed=0, options=TINY)["table"][SUMS.hard] == "1111"


def test_compositions_are_not_solved_in_pieces() -> None:
    assert run_arm("pieces", seed=0, options=TINY, subject=COMPOSITIONS)["table"][COMPOSITIONS.hard] == "0000"


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["posterior", "course"])
def test_an_arm_trains_on_compositions(arm: str) -> None:
    growth, learn = LadderSettings(depth=1, breadth=2, rollouts=1), LearnSettings(prompts=2, group=2)
    subject = replace(COMPOSITIONS, roots=3, course_problems=6, growth=growth, learn=learn)
    made = run_arm(arm, seed=0, options=replace(TINY, rollouts=80), subject=subject)
    assert made["steps"] >= 1
    assert set(made["table"]) == set(COMPOSITIONS.table)


def test_columns_with_right_answers_make_the_right_sum() -> None:
    def ask(statements: Sequence[str]) -> list[str]:
        return [str(sum(map(int, statement.split(" + ")))) for statement in statements]

    rng = random.Random(0)
    pairs = [(rng.randrange(10**digits), rng.randrange(10**digits)) for digits in range(1, 8) for _ in range(40)]
    solved = solve_by_columns(ask, [f"{left} + {right}" for left, right in pairs])
    assert solved == [str(left + right) for left, right in pairs]


def test_a_column_without_an_answer_makes_a_wrong_sum() -> None:
    assert solve_by_columns(lambda statements: ["" for _ in statements], ["19 + 2"]) != ["21"]


def test_the_night_on_a_language_model_reports_its_goals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds: list[str] = []

    def run(arm: str, seed: int, *, arguments: list[str], **_: object) -> dict[str, Any]:
        seconds.append(arguments[arguments.index("--cpu-seconds") + 1])
        made = row(arm, seed, right=2)
        marks = made["table"]["14"]
        return made | {"table": {str(size): marks for size in lm_night.ADDITIONS.table}}

    monkeypatch.setattr("bench.learning.command.run_row", run)
    lm_night.COMMAND.run(["--arms", "ladder", "direct", "--seeds", "2", "--out", str(tmp_path), "--json"])
    assert seconds == ["0", "60", "0", "60"], "direct training gets the seconds of the ladder"
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    measured = {"before": 0.0, "after": 0.5, "direct_after": 0.5, "minutes": 2.0, "tokens_per_second": 10.0}
    assert summary.items() >= (measured | {"skill_loss_max": 0.5, "seeds": 2, "false_rewards": 0}).items()
