"""The comparison of the ladder with its controls: rows resume, and the page states what the rows say."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import compositions, lm_gym
from bench.learning.__main__ import COMMAND
from bench.learning.arms import ARMS, TRAINED, UNTRAINED, Bench, Options, run_arm
from bench.learning.page import page, picture, stem_of, summarize
from bench.learning.rows import RowFile
from bench.learning.subject import COMPOSITIONS, SUMS, solve_by_columns
from bench.lm_night import __main__ as lm_night
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training import ladder_growth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.learning.command import Command
    from bench.learning.subject import Subject

DOCS = Path(__file__).parents[2] / "docs"
BASE = str(Path(__file__).parents[2] / "data/base")
TINY = Options(rollouts=8, items=4, skill_items=2, base=BASE)


def row(arm: str, seed: int, *, right: int) -> dict[str, Any]:
    marks = "1" * right + "0" * (4 - right)
    origin = {"date": "2026-01-01", "machine": "a laptop", "revision": "abc"}
    trained = {
        "curve": [[0, 0.0, 0.0], [8, right / 4, 60.0]],
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
    assert "| ladder | 3 | 60 | 50.0% (25.0% to 75.0%) |" in text
    assert "| pieces | 3 |  |  |  | 50.0% (25.0% to 75.0%) | 50.0% (25.0% to 75.0%) | none |" in text
    assert "| base, before training | 3 |  |  |  | 0.0% (0.0% to 0.0%) |  |  |" in text
    assert "| -50.0 points |" in text
    assert "- `course`: problems of 4 to 13 terms from the domain's generator" in text
    assert text.count("\n- `") == len(ARMS)
    assert picture(ROWS, SUMS).count("<polyline") == 3 * len(TRAINED)
    summary = summarize(ROWS, SUMS)
    assert summary["hard"]["direct"] == 0.5
    assert set(summary["largest_skill_loss"]) == set(TRAINED)


def page_of(rows: list[dict[str, Any]]) -> str:
    return page(rows, {"split": "dev", "rollouts": 8, "items": 4, "skill_items": 2}, SUMS, module="bench.learning")


def test_the_page_says_which_arm_is_best() -> None:
    ladder, course = row("ladder", 0, right=2), row("course", 0, right=3)
    assert "the base 0.0% before training. No other arm was run, so nothing is shown" in page_of([ladder])
    assert "more is solved by `course` with 75.0% (one seed).**" in page_of([ladder, course])
    assert "`course` with 62.5% (its seeds overlap).**" in page_of([ladder, course, row("course", 1, right=2)])
    assert "`course` with 75.0%.**" in page_of([ladder, course, row("course", 1, right=3)])
    assert "**No other arm here solves more.**" in page_of([ladder, row("course", 0, right=2)])
    assert "0.0% before training, no more than before." in page_of([row("ladder", 0, right=0), course])
    assert "ladder solves" not in page_of([course])


def test_a_gained_skill_is_a_gain_on_the_page() -> None:
    better = row("ladder", 0, right=2) | {"skills_before": {"1": "10"}, "skills_after": {"1": "11"}}
    same = row("ladder", 0, right=2) | {"skills_before": {"1": "10"}, "skills_after": {"1": "01"}}
    assert "| +50.0 points |" in page_of([better])
    assert "| 0.0 points |" in page_of([same])


def test_a_page_is_written_again_and_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.learning.command.run_row", lambda *_, **__: pytest.fail("a row was run"))
    with pytest.raises(SystemExit, match="run the bench without --page first"):
        COMMAND.run(["--page", "--out", str(tmp_path)])
    file = RowFile(tmp_path / "learning.json", TINY)
    file.put(ROWS[0])
    before = file.path.read_bytes()
    COMMAND.run(["--page", "--out", str(tmp_path)])
    assert "Every trained arm samples at most 8 completions" in (tmp_path / "learning.md").read_text()
    assert file.path.read_bytes() == before


@pytest.mark.parametrize("command", [COMMAND, compositions.COMMAND, lm_night.COMMAND, lm_gym.COMMAND])
def test_the_stored_pages_are_those_of_the_stored_rows(command: Command, tmp_path: Path) -> None:
    for budget in ([], ["--cpu-seconds", "1"]):
        stem = stem_of(command.module, cpu_seconds=len(budget))
        if budget and not (DOCS / f"{stem}.json").exists():
            continue
        (tmp_path / f"{stem}.json").write_bytes((DOCS / f"{stem}.json").read_bytes())
        arguments = ["--page", *budget]
        command.run([*arguments, "--out", str(tmp_path)])
        for name in (f"{stem}.md", f"{stem}.svg"):
            again = f"run `python -m {command.module} {' '.join(arguments)}`"
            assert (tmp_path / name).read_text() == (DOCS / name).read_text(), again


def test_rows_at_equal_cpu_seconds_have_a_page_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[str] = []

    def run(arm: str, seed: int, *, arguments: list[str], **_: object) -> dict[str, Any]:
        given.extend(arguments)
        return row(arm, seed, right=2)

    monkeypatch.setattr("bench.learning.command.run_row", run)
    options = ["--arms", "ladder", "variants", "--seeds", "1", "--cpu-seconds", "90", "--out", str(tmp_path)]
    COMMAND.run([*options, "--keep", "kept"])
    assert given[given.index("--cpu-seconds") + 1] == "90"
    assert "kept/learning_seconds,ladder,0" in given
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"learning_seconds.{end}" for end in ("json", "md", "svg")
    ]
    text = (tmp_path / "learning_seconds.md").read_text()
    assert capsys.readouterr().out.startswith(text)
    assert "Every trained arm has at most 90 CPU seconds for proposals" in text
    assert "`python -m bench.learning --split dev --cpu-seconds 90`" in text
    assert "`python -m bench.learning --page --cpu-seconds 90` writes this page" in text
    assert "![pass rate over CPU seconds](learning_seconds.svg)" in text
    assert "6000" not in text
    drawn = (tmp_path / "learning_seconds.svg").read_text()
    assert "CPU seconds; greedy pass rate" in drawn
    assert ">60</text>" in drawn, "the axis ends at the CPU seconds of the last point"


def test_a_picture_names_the_arms_that_it_shows() -> None:
    drawn = picture([row("ladder", 0, right=1), row("variants", 0, right=2), row("pieces", 0, right=4)], SUMS)
    assert [arm for arm in ARMS if f">{arm}</text>" in drawn] == ["ladder", "variants"]


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


def test_sampling_for_cpu_seconds_keeps_what_was_solved_once() -> None:
    bench = Bench(subject=SUMS, options=replace(TINY, cpu_seconds=1), seed=0)
    easy, hard = bench.problems(size=1, count=3, stream="easy"), bench.problems(size=24, count=1, stream="hard")
    assert bench.solve_by_sampling([*easy, *hard]) == "1110"
    assert bench.meter.cpu_seconds() >= 1


def tiny(subject: Subject) -> Subject:
    growth, learn = LadderSettings(depth=1, breadth=2, rollouts=1), LearnSettings(prompts=2, group=2, regrow=1)
    return replace(subject, roots=3, course_problems=6, growth=growth, learn=learn)


@pytest.mark.parametrize("subject", [SUMS, COMPOSITIONS])
def test_variants_of_the_domain_cost_no_completions(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder_growth, "_decode_proposals", lambda *_, **__: pytest.fail("the model was asked"))
    bench = Bench(subject=tiny(subject), options=replace(TINY, rollouts=24), seed=0)
    made = bench.train("variants", forbidden=[], watched=bench.problems(size=1, count=1, stream="table"))
    assert made["steps"] >= 2, "the ladder grew again after the first step"
    assert made["rollouts"] <= 24
    assert [len(point) for point in made["curve"]] == [3] * len(made["curve"])
    assert made["curve"][0] == (0, 1.0, 0.0)


def test_the_base_solves_the_sums_in_pieces() -> None:
    assert run_arm("pieces", seed=0, options=TINY)["table"][SUMS.hard] == "1111"


def test_compositions_are_not_solved_in_pieces() -> None:
    assert run_arm("pieces", seed=0, options=TINY, subject=COMPOSITIONS)["table"][COMPOSITIONS.hard] == "0000"


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["posterior", "variants", "course"])
def test_an_arm_trains_on_compositions(arm: str) -> None:
    made = run_arm(arm, seed=0, options=replace(TINY, rollouts=80), subject=tiny(COMPOSITIONS))
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
