"""The comparison of test-time training with sampling: rows resume, and each arm gets what `ttrl` has used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench import ttrl
from everlearn.domains.contract import load_domain
from everlearn.training.test_time import Budget, By, Solution

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")
WORDS = ["--problems", "4", "--seeds", "1"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Budget]]:
    """Solutions as `solve` gives them, from the known antiderivatives: each arm with a ladder solves the sums."""
    calls: list[tuple[int, Budget]] = []

    def solved(statement: str, *, seed: int, budget: Budget) -> Solution:
        calls.append((seed, budget))
        is_right = budget.trains and DOMAIN.size(statement) == 12
        return Solution(
            statement=statement,
            answer=DOMAIN.solve(DOMAIN.stated(statement)) if is_right else None,
            by=By.TRAINING if is_right else None,
            rollouts=400,
            tokens=9000,
            cpu_seconds=7.0,
            rungs=60,
            steps=3,
            contradicted=0,
        )

    monkeypatch.setattr(ttrl, "_solve", solved)
    return calls


def test_rows_resume_and_the_page_states_them(
    asked: list[tuple[int, Budget]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ttrl.main([*WORDS, "--out", str(tmp_path), "--arms", "ttrl"])
    chosen = [budget for seed, budget in asked if budget == ttrl.FAILED]
    assert len(chosen) == 4, "each problem was tried before, with rollouts of its own"
    del asked[:]
    ttrl.main([*WORDS, "--out", str(tmp_path), "--json"])
    budgets = [budget for _, budget in asked]
    assert len(budgets) == 12, "only the missing rows are run"
    assert [budget.rollouts for budget in budgets] == [400, 0, 400] * 4, "all arms of a problem together"
    assert [budget.cpu_seconds for budget in budgets[1::3]] == [7.0] * 4
    assert budgets[2].samples == 200
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary == {
        "problems": 4,
        "seeds": 1,
        "solved_by_ttrl": 2,
        "solved_by_best_of_n": 0,
        "solved_by_best_of_n_at_equal_seconds": 0,
        "solved_by_both": 2,
        "false_solved": 0,
    }
    page = (tmp_path / "ttrl.md").read_text()
    assert "| ttrl | 0 | 2 of 4 | 2 of 2 | 0 of 2 | 400 | 7 |" in page
    assert "| samples | 1 | 0 (0 to 0) of 4 | 0 (0 to 0) of 2 | 0 (0 to 0) of 2 | 0 | 2 |" in page
    assert "| both | 1 | 2 (2 to 2) of 4 | 2 (2 to 2) of 2 | 0 (0 to 0) of 2 | 0 | 0 |" in page
    assert (tmp_path / "ttrl.svg").read_text().count("<polyline") == 4


def test_a_row_is_repeated_and_compared(
    asked: list[tuple[int, Budget]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ttrl.main([*WORDS, "--out", str(tmp_path), "--arms", "ttrl"])
    ttrl.main([*WORDS, "--out", str(tmp_path), "--rerun", "ttrl,0"])
    assert "ttrl,0: 0 of 4 problems differ from the stored row" in capsys.readouterr().out
    assert len(asked) == 12
    with pytest.raises(SystemExit, match="has 4 problems"):
        ttrl.main(["--problems", "5", "--out", str(tmp_path)])
