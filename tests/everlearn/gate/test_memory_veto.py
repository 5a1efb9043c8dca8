"""The veto of a night's memory: one forgotten night is seen among many that improve, and an unchanged model is not stopped."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Outcome
from everlearn.gate.guard import Guard, chance_of_each
from everlearn.gate.lifetime_error import loss_level
from everlearn.gate.memory_veto import VETO_SHARE, lost_in
from everlearn.gate.record_of_line import RecordedItem
from everlearn.gate.stored_evidence import StoredEvidence
from everlearn.settings import GateSettings

SETTINGS = GateSettings(loss_error="line")
NIGHTS, ITEMS, FORGOTTEN = 12, 20, 4
PARTS = tuple((f"memory-v{number:04d}", ITEMS) for number in range(NIGHTS))
SHARES = np.tile(np.linspace(0.5, 1.0, ITEMS), NIGHTS)
IS_FORGOTTEN = np.repeat(np.arange(NIGHTS) == FORGOTTEN, ITEMS)
TRIES = 60


def letters(rng: np.random.Generator, shares: np.ndarray) -> str:
    return "".join(np.where(rng.random(shares.size) < shares, "1", "0"))


def memory(*, guards: int = 1, samples: int = 16, night: int = 1) -> Guard:
    """Return the memory of the nights; the recorded shares are the true ones."""
    items = [RecordedItem(right=round(1600 * each), undecided=0, samples=1600, policy="v0001") for each in SHARES]
    recorded = tuple(replace(item, right=item.right * samples, samples=item.samples * samples) for item in items)
    return Guard(
        suite="memory-all",
        kind=SuiteKind.MEMORY,
        recorded=recorded,
        settings=SETTINGS,
        level=loss_level(night, alpha=0.05),
        guards=guards,
        parts=PARTS,
    )


def judged(guard: Guard, shares: np.ndarray, *, seed: int) -> Guard:
    rng = np.random.default_rng(seed)
    while guard.needs_look:
        guard = guard.look(letters(rng, shares))
    return guard


def outcomes(guard: Guard, shares: np.ndarray) -> Counter[Outcome]:
    return Counter(judged(guard, shares, seed=seed).outcome for seed in range(TRIES))


def test_a_forgotten_night_is_rejected_while_all_others_improve() -> None:
    improved = np.where(IS_FORGOTTEN, 0.2 * SHARES, np.minimum(1, SHARES + 0.1))
    assert improved.mean() > SHARES.mean(), "together, nothing seems to be lost"
    assert outcomes(memory(guards=3), improved) == {Outcome.FAIL: TRIES}
    assert outcomes(replace(memory(guards=3), parts=()), improved) == {Outcome.PASS: TRIES}, "without the veto"
    row = judged(memory(), improved, seed=1).row()
    assert row.sentence.startswith(
        "got worse than the record on memory-v0004: more than 5.0 points are proved to be lost"
    )
    assert row.after > row.before


@pytest.mark.parametrize(("guards", "night"), [(1, 1), (10, 300)])
def test_an_unchanged_model_passes_with_its_chance_in_spite_of_the_vetoes(guards: int, night: int) -> None:
    seen = [judged(memory(guards=guards, night=night), SHARES, seed=seed) for seed in range(TRIES)]
    assert not any(guard.vetoes for guard in seen)
    passed = sum(guard.outcome is Outcome.PASS for guard in seen) / TRIES
    assert passed >= chance_of_each(guards, power=SETTINGS.power) - 0.09, "two standard errors of so many tries"


def test_the_vetoes_have_their_own_part_of_the_error() -> None:
    guard = memory(guards=3)
    chance = chance_of_each(3, power=SETTINGS.power)
    alone = replace(guard, parts=())
    assert guard.margin.allowed > alone.margin.allowed, "together, the nights are judged with the rest"
    rng, vetoed = np.random.default_rng(2), 0
    at_the_margin = np.clip(SHARES * (1 - 0.05 / SHARES.mean()), 0, 1)
    for _ in range(TRIES):
        looks = tuple(letters(rng, at_the_margin) for _ in range(SETTINGS.most_looks))
        vetoed += any(replace(guard, looks=looks[:count]).vetoes != () for count in range(1, len(looks) + 1))
    assert vetoed / TRIES <= VETO_SHARE * (1 - chance) + 0.03, "even where each night lost all that it may"


def test_a_suspicion_asks_for_another_look_and_decides_nothing_else() -> None:
    guard = replace(memory(), parts=(("memory-v0001", 5), ("memory-v0002", NIGHTS * ITEMS - 5)))
    bad_start = "0" * 5 + "1" * (NIGHTS * ITEMS - 5)
    seen = guard.look(bad_start)
    assert not seen.vetoes
    assert seen.needs_look, "the others pass, and five items are suspicious"
    assert not replace(seen, parts=()).needs_look
    assert seen.look("1" * len(bad_start)).outcome is Outcome.PASS
    settings = SETTINGS.model_copy(update={"most_looks": 1})
    assert replace(guard, settings=settings).look(bad_start).outcome is Outcome.PASS, "no look is left"


@given(st.lists(st.tuples(st.integers(0, 16), st.sampled_from("10u")), min_size=1, max_size=12), st.floats(0.01, 0.9))
def test_what_was_never_right_and_what_is_undecided_proves_no_loss(rows: list[tuple[int, str]], margin: float) -> None:
    recorded = [RecordedItem(right=count, undecided=0, samples=16, policy="v0001") for count, _ in rows]
    looks = ["".join(letter for _, letter in rows)] * 3
    [lost] = lost_in((("memory-v0001", len(rows)),), recorded, looks, margin=margin, variance=0.05).values()
    unsure = ["".join("u" if letter == "0" else letter for letter in look) for look in looks]
    [of_unsure] = lost_in((("memory-v0001", len(rows)),), recorded, unsure, margin=margin, variance=0.05).values()
    assert of_unsure <= log(1)
    if sum(item.share for item in recorded) <= margin * len(recorded):
        assert lost == float("-inf")


def test_nights_and_holder_are_part_of_the_evidence() -> None:
    guard = replace(memory().look("1" * len(SHARES)), holder="v0001")
    evidence = StoredEvidence(pairs=(), guards=(guard,), checks=(), settings=SETTINGS)
    [again] = StoredEvidence.from_json(evidence.to_json()).guards
    assert (again.parts, again.holder, again.outcome) == (PARTS, "v0001", guard.outcome)
    plain = replace(guard, parts=(), holder=None).to_plain()
    assert "parts" not in plain
    assert "holder" not in plain
