"""The evidence of a decision: the decision can be made again from it, and it holds no problem and no answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.data.suites import SuiteKind
from everlearn.errors import IntegrityError
from everlearn.gate.decision import judge
from everlearn.gate.decision_record import Check
from everlearn.gate.stored_evidence import StoredEvidence
from everlearn.settings import GateSettings
from tests.everlearn.gate.test_guard import LEVEL, SETTINGS, guard, looked
from tests.support.paired_suites import IMPROVED, pair

CHECKS = (Check(name="finite", passed=True, sentence="all logits are finite"),)
answers = st.lists(st.tuples(st.sampled_from("+-!?"), st.sampled_from("+-!?")), min_size=1, max_size=60)


@settings(max_examples=50, deadline=None)
@given(answers, st.integers(1, 60), st.none() | st.floats(1e-6, 0.1))
def test_a_decision_on_any_pairs_is_made_again(
    given_answers: list[tuple[str, str]], roots: int, level: float | None
) -> None:
    before, after = ("".join(side) for side in zip(*given_answers, strict=True))
    pairs = (IMPROVED, pair(before, after, suite="short", kind=SuiteKind.SKILL, roots=roots))
    stored = StoredEvidence(pairs=pairs, guards=(), checks=CHECKS, settings=GateSettings())
    again = StoredEvidence.from_json(stored.to_json()).judge(level=level, loss_level=None)
    assert again == judge(pairs, settings=GateSettings(), checks=CHECKS, level=level)


def test_guards_are_judged_again_at_the_level_of_their_attempt() -> None:
    good = looked(guard(share=14 / 16), share=0.9)
    stored = StoredEvidence(pairs=(IMPROVED,), guards=(good,), checks=(), settings=SETTINGS)
    read = StoredEvidence.from_json(stored.to_json())
    assert read.judge(level=None, loss_level=LEVEL) == judge([IMPROVED], settings=SETTINGS, guards=[good])
    assert (
        read.judge(level=None, loss_level=1e-80).outcome
        is not judge([IMPROVED], settings=SETTINGS, guards=[good]).outcome
    )
    assert read.to_json() == stored.to_json()


@pytest.mark.parametrize(
    "damaged", [b"", b"[]", b'{"pairs": []}', b'{"pairs": [], "guards": [{}], "checks": [], "settings": {}}']
)
def test_damaged_evidence_is_named(damaged: bytes) -> None:
    with pytest.raises(IntegrityError, match="not the evidence of a decision"):
        StoredEvidence.from_json(damaged)
