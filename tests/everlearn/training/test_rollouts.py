"""Rollouts: what an answer is does not depend on what else is in its batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.settings import FormatSettings
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Solver, attempt

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")
SHORT, LONG = "2*x", " + ".join(f"{number}*cos({number}*x)" for number in range(2, 10))


def test_an_answer_has_the_limit_of_its_own_prompt_whatever_it_is_decoded_with(tiny: Path) -> None:
    policy = load_policy(tiny)
    form = choose_format(policy, DOMAIN, FormatSettings())
    solver = Solver(policy=policy, model=policy.snapshot(), domain=DOMAIN, form=form)
    short, long = (DOMAIN.problem(text) for text in (SHORT, LONG))
    both = attempt(solver, [short, long], group=16, seed=1)
    for group in both:
        limit = form.max_tokens(group.prompt)
        assert all(len(row.ids) <= limit for row in group.completions)
    limit = form.max_tokens(both[0].prompt)
    assert any(len(row.ids) == limit and not row.finished for row in both[0].completions), "an untrained model goes on"
    assert limit < form.max_tokens(both[1].prompt)
    [alone] = attempt(solver, [short], group=16, seed=1)
    assert [row.ids for row in alone.completions] == [row.ids for row in both[0].completions]
