"""No variant is proposed where nothing could judge an answer to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from everlearn.domains.contract import Domain, load_domain
from everlearn.ladder.tree import PROPOSALS, references_of
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import FormatSettings, LadderSettings, LearnSettings
from everlearn.training.job import GrowthJob, TrainingJob
from everlearn.training.journal import Journal
from everlearn.training.judged_variants import without_judged_variants
from everlearn.training.ladder_growth import grow, plant
from everlearn.training.rollouts import Solver, judging
from everlearn.training.trainer import train
from tests.support.chat_models import write_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

QUESTION = {"statement": "Anna has 3 apples and buys 9 more. How many has she?", "reference": "12"}


def roots_of(domain: str, *rows: dict[str, str]) -> tuple[Problem, ...]:
    return tuple(load_domain(domain).problem(row) for row in rows)


@pytest.mark.parametrize(
    ("domain", "row", "has_judged_variants"),
    [
        ("numbers", QUESTION, False),
        ("numbers+arithmetic", QUESTION | {"statement": f"numbers: {QUESTION['statement']}"}, False),
        ("numbers", {"statement": QUESTION["statement"]}, True),  # unknown: it is not judged itself
        ("arithmetic", {"statement": "347 + 58", "reference": "405"}, True),
        ("equations", {"statement": "2*x + 3 = 7", "reference": "x = 2"}, True),
    ],
)
def test_variants_can_be_judged_where_a_right_answer_is_accepted_without_the_reference(
    domain: str, row: dict[str, str], *, has_judged_variants: bool
) -> None:
    roots, unused = roots_of(domain, row), cast("Any", None)
    ladder = plant([root.statement for root in roots], domain=load_domain(domain), forbidden=frozenset())
    with judging(domain, verifiers=1) as judges:
        solver = Solver(
            policy=unused,
            model=unused,
            form=unused,
            domain=load_domain(domain),
            judge=judges.judge,
        )
        found = without_judged_variants(
            ladder, solver=solver, references=references_of(roots, domain=solver.domain), journal=Journal()
        )
    assert found == (frozenset() if has_judged_variants else frozenset(ladder.rungs))


class JudgesBoth:
    """Doubles of numbers, with a reference or without one."""

    name = "doubles"
    takes_references = True
    moves = ()

    def problem(self, row: Mapping[str, Any]) -> Problem:
        return Problem(id="", domain="", statement=row["statement"], reference=row.get("reference"))

    def question(self, problem: Problem) -> str:
        return f"Double {problem.statement}."

    def verify(self, problem: Problem, answer: str) -> Verdict:
        right = int(answer) == 2 * int(problem.statement)
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="doubled")


def test_a_domain_that_keeps_references_and_needs_none_has_judged_variants() -> None:
    domain, unused = Domain(JudgesBoth()), cast("Any", None)
    roots = [domain.problem({"statement": "4", "reference": "8"}), domain.problem({"statement": "5", "reference": "9"})]
    ladder = plant(["4", "5"], domain=domain, forbidden=frozenset())
    solver = Solver(policy=unused, model=unused, form=unused, domain=domain)

    def found(known: list[Problem]) -> set[str]:
        references = references_of(known, domain=domain)
        digests = without_judged_variants(ladder, solver=solver, references=references, journal=Journal())
        return {ladder.rungs[digest].statement for digest in digests}

    assert found(roots[:1]) == set()
    assert found(roots) == {"5"}, "its reference is no right answer"


def test_the_ladder_of_a_mixture_grows_only_where_variants_can_be_judged(tmp_path: Path) -> None:
    rows = [QUESTION | {"statement": f"numbers: {QUESTION['statement']}"}, {"statement": "arithmetic: 347 + 58"}]
    job = GrowthJob(
        base=write_model(tmp_path / "model"),
        adapter=None,
        roots=roots_of("numbers+arithmetic", *rows),
        settings=LadderSettings(rungs=8, depth=1, breadth=2, rollouts=1),
        form=FormatSettings(name="chat", max_tokens=4),
        seed=1,
        threads=1,
    )
    ladder = grow(job)
    _, arithmetic = ladder.roots()
    variants = [rung for rung in ladder.rungs.values() if rung.parent is not None]
    assert variants
    assert {rung.parent for rung in variants} == {arithmetic.digest}
    assert grow(replace(job, pseudo_labels=True)).counts[PROPOSALS] > ladder.counts[PROPOSALS] > 0


@pytest.mark.parametrize("share", [None, 0.6])
def test_a_ladder_that_grows_again_while_it_trains_follows_the_same_rule(tmp_path: Path, share: float | None) -> None:
    (tmp_path / "work").mkdir()
    [root] = roots_of("numbers", QUESTION)
    job = TrainingJob(
        base=write_model(tmp_path / "model"),
        adapter=None,
        ladder=plant([root.statement], domain=load_domain("numbers"), forbidden=frozenset()),
        workdir=tmp_path / "work",
        settings=LearnSettings(steps=2, prompts=1, group=2, rank=2, regrow=1, pseudo_labels=share),
        ladder_settings=LadderSettings(rungs=4, depth=1, breadth=1, rollouts=1),
        seed=0,
        threads=1,
        domain="numbers",
        references=references_of([root], domain=load_domain("numbers")),
        form=FormatSettings(name="chat", max_tokens=4),
    )
    grown = train(job).ladder
    assert (grown.proposals > 0) == (share is not None)
    assert (len(grown.rungs) == 1) or share is not None
