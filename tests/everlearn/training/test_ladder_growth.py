"""Growing a ladder: legitimate variants with measured pass rates, decoded in the dtype of the setting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.settings import LadderSettings
from everlearn.training import ladder_growth
from everlearn.training.job import GrowthJob
from everlearn.training.ladder_growth import grow
from everlearn.training.models import precision

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.ladder.tree import Ladder
    from everlearn.training.rollouts import Solver

DOMAIN = load_domain("integration")
ROOTS = (DOMAIN.problem("3*x^2 - sin(2*x) + exp(x) + 1/(x+1) - 2*x*cos(x) + log(x) + 4/x^3 - cos(3*x)"),)


@pytest.fixture(scope="module")
def job(shipped: Path) -> GrowthJob:
    settings = LadderSettings(rungs=24, depth=3, breadth=8, rollouts=2)
    return GrowthJob(base=shipped, adapter=None, roots=ROOTS, settings=settings, seed=5, threads=1)


@pytest.fixture(scope="module")
def ladder(job: GrowthJob) -> Ladder:
    return grow(job)


def variants(ladder: Ladder) -> list[str]:
    return [rung.statement for rung in ladder.rungs.values() if rung.parent]


def test_a_ladder_holds_variants_of_its_roots_with_pass_rates(ladder: Ladder) -> None:
    grown = [rung for rung in ladder.rungs.values() if rung.parent]
    assert len(grown) >= 12
    assert all(rung.rollouts == 2 for rung in ladder.rungs.values())
    assert all(rung.parent in ladder.rungs for rung in grown)
    assert any(rung.passed for rung in grown)


def test_no_variant_is_equivalent_to_a_suite_item(job: GrowthJob, ladder: Ladder) -> None:
    leaked = equivalence_keys(variants(ladder), domain=DOMAIN)
    again = grow(replace(job, forbidden=leaked))
    assert not equivalence_keys(variants(again), domain=DOMAIN) & leaked
    assert again.counts["leak"] > 0


def test_progress_counts_the_measured_rungs(job: GrowthJob, tiny: Path) -> None:
    reports: list[tuple[int, int]] = []
    small = LadderSettings(rungs=4, depth=1, breadth=2, rollouts=1)
    ladder = grow(replace(job, base=tiny, settings=small), progress=lambda done, of: reports.append((done, of)))
    assert reports == [(len(ladder.rungs), len(ladder.rungs))]


@pytest.mark.parametrize(
    ("setting", "fast", "dtype"),
    [
        (False, True, torch.float32),
        (True, False, torch.bfloat16),
        (None, True, torch.bfloat16),
        (None, False, torch.float32),
    ],
)
def test_the_setting_decides_the_dtype_while_growing(
    job: GrowthJob,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    setting: bool | None,
    fast: bool,
    dtype: torch.dtype,
) -> None:
    used: list[Solver] = []
    monkeypatch.setattr(precision, "has_fast_bf16", lambda: fast)
    monkeypatch.setattr(ladder_growth, "extend", lambda _ladder, solver, **_: used.append(solver))
    grow(replace(job, base=tiny, settings=LadderSettings(rollouts=1), bf16=setting))
    assert {tensor.dtype for solver in used for tensor in solver.model.weights.values()} == {dtype}
