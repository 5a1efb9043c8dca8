"""A ladder from proposals in words: a model that cannot propose is measured, and the domain's own moves take over."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.arithmetic.domain import Arithmetic
from everlearn.domains.contract import Domain, load_domain
from everlearn.ladder.tree import DECODED, OWN_MOVES, PROPOSALS, VALID_PROPOSALS, Ladder
from everlearn.reporting.night_record import ladder_notes, refused_proposals
from everlearn.settings import FormatSettings, LadderSettings
from everlearn.training.job import GrowthJob
from everlearn.training.journal import Journal
from everlearn.training.ladder_growth import extend, grow, has_failed_to_propose, plant
from everlearn.training.models.formats.chat import ChatFormat
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Solver
from tests.support.chat_models import END, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.training.engines.decode import Completion

DOMAIN = load_domain("arithmetic")
ROOTS = [f"{10**7 + number} + {2 * 10**7 + number}" for number in range(3)]
SETTINGS = LadderSettings(rungs=24, depth=2, breadth=4, rollouts=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("chat"))


class Fluent(ChatFormat):
    """Stands for a model that proposes a variant in every `each`th answer."""

    each, count = 1, 0

    def written(self, completion: Completion) -> str:
        self.count += 1
        return f"{self.count} + 7" if self.count % self.each == 0 else "I cannot."


def extended(base: Path, *, each: int, domain: Domain = DOMAIN) -> Ladder:
    policy = load_policy(base)
    form = Fluent(policy.tokenizer, domain=domain, settings=FormatSettings(max_tokens=2), stops=frozenset({END}))
    form.each = each
    solver = Solver(policy=policy, model=policy.snapshot(), domain=domain, form=form)
    ladder = plant(ROOTS, domain=domain, forbidden=frozenset())
    extend(ladder, solver, forbidden=frozenset(), settings=SETTINGS, seed=1)
    return ladder


def test_a_model_that_cannot_propose_gets_the_domains_own_moves(
    base: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.WARNING, logger="everlearn.learn")
    roots = tuple(map(DOMAIN.problem, ROOTS))
    journal: list[bytes] = []
    job = GrowthJob(
        base=base, adapter=None, roots=roots, settings=SETTINGS, seed=1, threads=1, form=FormatSettings(max_tokens=8)
    )
    ladder = grow(job, journal=Journal(keep=journal.append, clock=iter(range(0, 10**6, 60)).__next__))
    rungs = [rung for rung in ladder.rungs.values() if rung.parent]
    assert ladder.counts[PROPOSALS] == ladder.proposals == 9
    assert ladder.counts[VALID_PROPOSALS] == 0
    assert ladder.counts[OWN_MOVES] == len(rungs) > 8
    assert {rung.depth for rung in rungs} == {1, 2}
    assert {rung.move for rung in rungs} == set(DOMAIN.moves)
    assert all(rung.rollouts == 2 for rung in rungs)
    assert "0 of 9 proposals are variants, fewer than 10 %: domain arithmetic: its own moves make" in caplog.text
    derived = f"{len(rungs)} rungs were derived by the domain's own moves."
    assert ladder_notes(ladder) == (f"Asked for easier variants in words, the model wrote 0 in 9 answers. {derived}",)
    assert not {DECODED, PROPOSALS, VALID_PROPOSALS, OWN_MOVES} & refused_proposals(ladder).keys()
    ladder.save(tmp_path / "first.jsonl")
    grow(job, journal=Journal(kept=journal)).save(tmp_path / "again.jsonl")
    assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()


def test_a_model_that_could_not_propose_is_not_asked_when_the_ladder_grows_again(base: Path) -> None:
    ladder = extended(base, each=20)
    asked, before = ladder.counts[PROPOSALS], ladder.counts[OWN_MOVES]
    policy = load_policy(base)
    form = Fluent(policy.tokenizer, domain=DOMAIN, settings=FormatSettings(max_tokens=2), stops=frozenset({END}))
    solver = Solver(policy=policy, model=policy.snapshot(), domain=DOMAIN, form=form)
    assert extend(ladder, solver, forbidden=frozenset(), settings=SETTINGS, seed=2)
    assert ladder.counts[PROPOSALS] == asked == 9
    assert ladder.counts[OWN_MOVES] > before


def test_a_model_that_proposes_makes_its_ladder_itself(base: Path) -> None:
    ladder = extended(base, each=2)
    assert 0 < ladder.counts[VALID_PROPOSALS] < ladder.counts[PROPOSALS]
    assert ladder.counts[OWN_MOVES] == 0
    assert all(rung.statement.endswith("+ 7") for rung in ladder.rungs.values() if rung.parent)
    assert "derived" not in ladder_notes(ladder)[0]


class Unmoved(Arithmetic):
    """A domain without moves of its own."""

    ease = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> object:
        if name == "ease":
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_a_domain_without_moves_only_says_so(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    ladder = extended(base, each=20, domain=Domain(Unmoved()))
    assert ladder.counts[OWN_MOVES] == 0
    assert "it has no moves of its own to make the ladder" in caplog.text


class Lenient(Arithmetic):
    """A domain that reads whatever a model writes, here its own problem again, or no problem."""

    def read_variant(self, statement: str, move: str, text: str) -> str | None:
        return statement if move == self.moves[0] else "Here it is:"


def test_a_model_that_repeats_its_problem_has_proposed_nothing(base: Path) -> None:
    ladder = extended(base, each=1, domain=Domain(Lenient()))
    assert (ladder.counts[VALID_PROPOSALS], ladder.counts[PROPOSALS]) == (0, 9)
    assert ladder.counts[OWN_MOVES] == len([rung for rung in ladder.rungs.values() if rung.parent]) > 8


class Generated(Arithmetic):
    """A domain whose problems no model can write."""

    model_proposes = False


def test_a_model_is_not_asked_for_problems_that_it_cannot_write(base: Path) -> None:
    ladder = extended(base, each=1, domain=Domain(Generated()))
    rungs = [rung for rung in ladder.rungs.values() if rung.parent]
    assert ladder.counts[PROPOSALS] == ladder.proposals == 0
    assert ladder.counts[OWN_MOVES] == len(rungs) > 8
    assert ladder_notes(ladder) == (f"{len(rungs)} rungs were derived by the domain's own moves.",)


@pytest.mark.parametrize(("valid", "asked", "can"), [(0, 1, False), (1, 10, True), (9, 100, False), (0, 0, True)])
def test_a_tenth_of_valid_proposals_is_enough(valid: int, asked: int, *, can: bool) -> None:
    ladder = Ladder(counts=Counter({PROPOSALS: asked, VALID_PROPOSALS: valid}))
    assert has_failed_to_propose(ladder) is not can


def test_a_ladder_without_proposals_in_words_has_no_note() -> None:
    assert ladder_notes(Ladder()) == ()
