"""Context, weights or search: what the page says about rows, and a row in small."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench.context import SUBJECTS, kind_of, main, measure_row, page, picture, results_of, summarize
from bench.learning.arms import Options
from bench.lm_gym import TASK, draw_sum
from everlearn.domains.contract import load_domain
from everlearn.training.context_results import Choice, ContextResult

DOCS = Path(__file__).parents[2] / "docs"
BASE = str(Path(__file__).parents[2] / "data/base")


def result(policy: str, examples: int, choice: Choice, right: str, cpu_seconds: float) -> dict[str, Any]:
    return ContextResult(
        policy=policy,
        examples=examples,
        choice=choice,
        right=tuple(mark == "1" for mark in right),
        prompt_tokens=20.0 + 40 * examples,
        answer_tokens=10.0,
        seconds=cpu_seconds,
        cpu_seconds=cpu_seconds,
    ).to_content()


ROWS: dict[str, Any] = {
    f"sums,{seed}": {
        "date": "2026-01-01",
        "machine": "a laptop",
        "revision": "abc",
        "trained_cpu_seconds": 100.0,
        "results": [
            result("base", 0, Choice.NONE, "0000", 0.1),
            result("base", 4, Choice.RANDOM, "1000", 0.3),
            result("base", 4, Choice.SIMILAR, "1100", 0.3),
            result("adapter", 0, Choice.NONE, "1100", 0.1),
            result("best of 16", 0, Choice.NONE, "1000", 1.6),
            result("ttrl", 0, Choice.NONE, "11", 20.0),
        ],
    }
    for seed in range(2)
}


def test_the_summary_has_every_policy_and_when_weights_are_cheaper() -> None:
    summary = summarize(ROWS, "sums")
    assert (summary["base"], summary["best_context"], summary["weights"]) == (0.0, 0.5, 0.5)
    assert (summary["best_of_n"], summary["ttrl"], summary["most_examples"]) == (0.25, 1.0, 4)
    assert summary["requests_until_weights_are_cheaper"] == pytest.approx(500)
    assert summarize({}, "sums") == {"subject": "sums", "seeds": 0}


def test_the_page_and_the_picture_show_every_result() -> None:
    text = page(ROWS)
    assert "| base | 4, similar | 50.0% (50.0% to 50.0%) of 4 | 180 | 10 | 0.300 |" in text
    assert "paid for itself after 500 requests" in text
    assert picture(ROWS).count("<circle") == sum(len(results_of(row)) for row in ROWS.values())
    assert {kind_of(each) for each in results_of(ROWS["sums,0"])} >= {
        "weights",
        "best of n",
        "ttrl",
        "context, similar",
    }


def test_the_page_says_which_context_is_the_largest_and_what_was_not_measured() -> None:
    rows = json.loads(json.dumps(ROWS))
    for seed, count in ((0, 5), (1, 7)):
        largest = result("base", count, Choice.SIMILAR, "0000", 0.4) | {"is_largest": True}
        rows[f"sums,{seed}"]["results"] += [
            largest,
            result("ttrl", 0, Choice.NONE, "11", 20.0) | {"prompt_tokens": 0.0},
        ]
    text = page(rows)
    assert "| base | 5 to 7, similar, the most | 0.0%" in text
    assert "| ttrl | none | 100.0% (100.0% to 100.0%) of 2 | 20 |" in page(ROWS)
    assert "| adapter | none |" in text
    rows["sums,0"]["results"] = rows["sums,1"]["results"] = [
        each for each in rows["sums,0"]["results"] if each["policy"] != "ttrl" or not each["prompt_tokens"]
    ]
    assert "| ttrl | none | 100.0% (100.0% to 100.0%) of 2 | - | 10 | 20.000 |" in page(rows)


def test_each_subject_has_a_panel_with_its_name() -> None:
    drawn = picture(ROWS | {"compositions,0": ROWS["sums,0"]})
    assert drawn.count("<g transform=") == 2
    assert [drawn.count(f">{subject}: CPU seconds a request") for subject in ("sums", "compositions")] == [1, 1]


def test_the_stored_page_is_that_of_the_stored_rows(tmp_path: Path) -> None:
    (tmp_path / "context.json").write_bytes((DOCS / "context.json").read_bytes())
    main(["--seeds", "0", "--out", str(tmp_path)])
    for name in ("context.md", "context.svg"):
        assert (tmp_path / name).read_text() == (DOCS / name).read_text(), "run `python -m bench.context --seeds 0`"


@pytest.mark.slow
def test_a_row_measures_all_policies_on_the_same_problems(tmp_path: Path) -> None:
    options = Options(rollouts=600, items=3, skill_items=0, base=BASE)
    row = measure_row(SUBJECTS["sums"][0], options, seed=0, ttrl=0, adapter=None)
    policies = [each.policy for each in results_of(row)]
    assert policies[0] == "base"
    assert policies[-2:] == ["adapter", "best of 16"]
    assert {len(each.right) for each in results_of(row)} == {3}


def test_a_problem_of_the_gym_bench_has_as_many_numbers_as_asked() -> None:
    domain = load_domain(TASK)
    for numbers in (2, 6):
        question = domain.question(domain.stated(draw_sum(random.Random(1), numbers)))
        assert len([word for word in question.split() if word.isdigit()]) == numbers
