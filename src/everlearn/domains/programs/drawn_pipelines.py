"""Random pipelines in which every step matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.domains.programs.call_inputs import cases_of, wide_lists
from everlearn.domains.programs.neighbours import without_a_step, witness
from everlearn.domains.programs.pipelines import MOST_GROWING, MOST_STEPS, Pipeline, Step
from everlearn.domains.programs.steps import FORMS, Kind, StepForm

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

_TRIES, _STEP_TRIES = 8, 12
_LIVELY = 1 / 3
"""Least share of lists that have a value of their own after each step."""


def draw_pipeline(rng: random.Random, *, steps: int, takes: Kind | None = None) -> Pipeline:
    """Return a random pipeline of that many steps, the last one included, at most `MOST_STEPS`.

    Steps that change nothing, or leave few different values, are drawn again, and so are pipelines from which a step could
    be left out: within limits, so that a long one may have such a step.
    """
    count = min(max(steps, 1), MOST_STEPS)
    for _ in range(_TRIES):
        drawn = _draw(rng, steps=count, takes=takes or rng.choice((Kind.NUMBERS, Kind.WORDS)))
        if needs_every_step(drawn) and cases_of(drawn, seed=""):
            break
    return drawn


def needs_every_step(pipeline: Pipeline) -> bool:
    """Whether no step can be left out without a change of the results."""
    return all(witness(pipeline, shorter) is not None for shorter in without_a_step(pipeline))


def _draw(rng: random.Random, *, steps: int, takes: Kind) -> Pipeline:
    chosen: list[Step] = []
    values: list[Any] = [list(each) for each in wide_lists(takes)[::4]]
    for left in range(steps, 0, -1):
        kind = chosen[-1].form.gives if chosen else takes
        may_grow = sum(step.form.grows for step in chosen) < MOST_GROWING
        forms = [
            form
            for form in FORMS
            if form.takes is kind and (form.gives is Kind.RESULT) == (left == 1) and (may_grow or not form.grows)
        ]
        step, values = _draw_step(rng, forms, values)
        chosen.append(step)
    return Pipeline(name="f", parameter="xs", steps=tuple(chosen))


def _draw_step(rng: random.Random, forms: Sequence[StepForm], before: list[Any]) -> tuple[Step, list[Any]]:
    """Return a step, and the values after it."""
    for _ in range(_STEP_TRIES):
        form = rng.choice(forms)
        step = Step(form, rng.randint(form.least, form.most) if form.has_number else 0)
        after = [form.apply(value, step.number) for value in before]
        changes = form.gives is Kind.RESULT or after != before
        if changes and len(set(map(repr, after))) >= _LIVELY * len(before):
            break
    return step, after
