"""Measuring a policy on a suite."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.training.evaluation import CHUNK, measure

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")


def test_measuring_twice_gives_the_same_answers(shipped: Path) -> None:
    problems = [DOMAIN.problem("x + sin(x)"), DOMAIN.problem("exp(x) - 3*x^2 + cos(x)")]
    first = measure(shipped, None, problems, seed=3, threads=1)
    assert first == measure(shipped, None, problems, seed=3, threads=1)
    assert [each.item for each in first] == [problem.id for problem in problems]


def test_progress_is_reported_by_chunk_and_the_order_is_kept(tiny: Path) -> None:
    problems = [DOMAIN.problem(f"{number + 1}*x") for number in range(CHUNK + 6)][::-1]
    reports: list[tuple[int, int]] = []
    measured = measure(
        tiny, None, problems, seed=3, threads=1, progress=lambda done, total: reports.append((done, total))
    )
    assert reports == [(CHUNK, CHUNK + 6), (CHUNK + 6, CHUNK + 6)]
    assert [each.item for each in measured] == [problem.id for problem in problems]


def test_a_declared_root_reaches_the_measurement(tiny: Path) -> None:
    free, variant = DOMAIN.problem("2*x"), replace(DOMAIN.problem("3*x"), root="lines")
    assert [each.root for each in measure(tiny, None, [free, variant], seed=3, threads=1)] == [free.id, "lines"]
