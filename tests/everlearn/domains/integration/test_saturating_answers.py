from __future__ import annotations

from collections import Counter

import pytest

from everlearn.domains.integration.numeric_verifier import verify
from everlearn.domains.integration.recheck import recheck
from everlearn.problem import Ruling, Verdict
from tests.support.saturating_answers import SLOPES, SaturatingAnswer, is_right, saturating_answers

CASES = list(saturating_answers())


def rulings(cases: list[SaturatingAnswer], verdicts: list[Verdict]) -> Counter[tuple[bool, Ruling]]:
    return Counter((case.right, verdict.ruling) for case, verdict in zip(cases, verdicts, strict=True))


@pytest.mark.parametrize("number", range(len(SLOPES)))
def test_saturating_answers_get_their_verdict(number: int) -> None:
    cases = CASES[number * len(CASES) // len(SLOPES) : (number + 1) * len(CASES) // len(SLOPES)]

    assert len(cases) >= 100
    assert all(is_right(case) == case.right for case in cases)
    found = rulings(cases, [verify(case.integrand, case.answer) for case in cases])
    assert found[True, Ruling.WRONG] == found[False, Ruling.CORRECT] == 0
    assert found[True, Ruling.UNDECIDED] <= 1  # (1 - exp(-u^2))/2 is flat at most points if u is steep
    assert found[False, Ruling.UNDECIDED] <= len(cases) // 10


def test_the_recheck_gives_saturating_answers_their_verdict() -> None:
    cases = CASES[::9]

    found = rulings(cases, [recheck(case.integrand, case.answer) for case in cases])

    assert found[True, Ruling.CORRECT] == sum(case.right for case in cases)
    assert found[False, Ruling.CORRECT] == 0
