"""Growing a ladder: legitimate variants with measured pass rates, decoded in the dtype of the setting."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import DECODED, Ladder, load_ladder
from everlearn.settings import LadderSettings
from everlearn.training import ladder_growth
from everlearn.training.job import GrowthJob
from everlearn.training.journal import Journal
from everlearn.training.ladder_growth import grow, plant
from everlearn.training.models import precision
from everlearn.training.rollouts import complete

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.training.engines.decode import Completion
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


def test_decoded_proposals_count_although_their_layer_was_full(
    job: GrowthJob, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(job, base=tiny, settings=LadderSettings(rungs=1, depth=2, breadth=2, tries=3, rollouts=1))
    decoded: list[int] = []

    def counted(solver: Solver, prompts: list[list[int]], **options: Any) -> list[list[Completion]]:
        decoded.append(len(prompts))
        return complete(solver, prompts, **options)

    monkeypatch.setattr(ladder_growth, "complete", counted)
    kept: list[bytes] = []
    ladder = grow(small, journal=Journal(keep=kept.append, clock=iter(range(0, 10**6, 60)).__next__))
    assert ladder.proposals == sum(decoded) > 0
    used = ladder.counts.total() - ladder.counts["root"] - ladder.counts[DECODED]
    assert used < ladder.proposals, "a layer was full"
    again = grow(small, journal=Journal(kept=kept))
    assert (again, sum(decoded)) == (ladder, ladder.proposals), "decoded once"
    ladder.save(tmp_path / "ladder.jsonl")
    assert load_ladder(tmp_path / "ladder.jsonl").proposals == ladder.proposals


def test_an_older_ladder_grows_on_from_what_it_knows(job: GrowthJob) -> None:
    ladder = Ladder(counts=Counter({"root": 2, "accepted": 3, "duplicate": 4}))
    assert ladder.proposals == 7
    ladder.count_decoded(30)
    ladder.counts["duplicate"] += 5
    assert ladder.proposals == 37
    repeated = plant([root.statement for root in (*job.roots, *job.roots)], domain=DOMAIN, forbidden=frozenset())
    assert repeated.counts["duplicate"] == 1
    assert repeated.proposals == 0, "a root that is there twice is no proposal"


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
