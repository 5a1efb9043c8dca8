"""Random pipelines in which every step matters, and pipelines that differ from a given one in a step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.domains.programs.call_inputs import wide_inputs
from everlearn.domains.programs.pipelines import MOST_STEPS, Pipeline, Step, behaviour
from everlearn.domains.programs.steps import FORMS, Kind, StepForm

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

_TRIES = 50
_LIVELY = 1 / 3
"""Least share of inputs that have a result of their own."""


def draw_pipeline(rng: random.Random, *, steps: int, takes: Kind | None = None) -> Pipeline:
    """Return a random pipeline of that many steps, the last one included, at most `MOST_STEPS`.

    Pipelines with a step that changes nothing, or with few different results, are drawn again, within limits.
    """
    for _ in range(_TRIES):
        drawn = _draw(rng, steps=min(max(steps, 1), MOST_STEPS), takes=takes or rng.choice((Kind.NUMBERS, Kind.WORDS)))
        if drawn is not None and _is_lively(drawn):
            break
    return drawn if drawn is not None else _shortest(rng, takes or Kind.NUMBERS)


def _draw(rng: random.Random, *, steps: int, takes: Kind) -> Pipeline | None:
    kind, chosen = takes, []
    for left in range(steps, 0, -1):
        forms = [form for form in FORMS if form.takes is kind and (form.gives is Kind.RESULT) == (left == 1)]
        chosen.append(_numbered(rng.choice(forms), rng))
        kind = chosen[-1].form.gives
    return _blank(chosen[0]).with_steps(chosen)


def _shortest(rng: random.Random, takes: Kind) -> Pipeline:
    forms = [form for form in FORMS if form.takes is takes and form.gives is Kind.RESULT]
    return _blank(Step(rng.choice(forms)))


def _blank(step: Step) -> Pipeline:
    return Pipeline(name="f", parameter="xs", steps=(step,))


def _numbered(form: StepForm, rng: random.Random) -> Step:
    return Step(form, rng.randint(form.least, form.most) if form.has_number else 0)


def _is_lively(pipeline: Pipeline) -> bool:
    """Whether no step can be left out, and results differ."""
    inputs = wide_inputs(pipeline)[:60]
    results = {repr(pipeline.result(values)) for values in inputs}
    if len(results) < _LIVELY * len(inputs):
        return False
    own = behaviour(pipeline, inputs)
    return all(behaviour(shorter, inputs) != own for shorter in _without_a_step(pipeline))


def _without_a_step(pipeline: Pipeline) -> Iterator[Pipeline]:
    for place in range(len(pipeline.steps) - 1):
        shorter = pipeline.with_steps(pipeline.steps[:place] + pipeline.steps[place + 1 :])
        if shorter is not None:
            yield shorter


def neighbours(pipeline: Pipeline) -> list[Pipeline]:
    """Return the pipelines that differ in one step and compute something else: on one of the wide inputs at least."""
    inputs = wide_inputs(pipeline)
    own, found = behaviour(pipeline, inputs), {}
    for variant in (*_without_a_step(pipeline), *_with_another_step(pipeline), *_with_steps_exchanged(pipeline)):
        if variant.takes is pipeline.takes and behaviour(variant, inputs) != own:
            found[str(variant)] = variant
    return list(found.values())


def _with_another_step(pipeline: Pipeline) -> Iterator[Pipeline]:
    for place, step in enumerate(pipeline.steps):
        near = [replace(step, number=step.number + off) for off in (-1, 1) if step.form.has_number]
        near += [
            Step(form, min(max(step.number, form.least), form.most))
            for form in FORMS
            if form is not step.form and (form.takes, form.gives) == (step.form.takes, step.form.gives)
        ]
        for other in near:
            changed = pipeline.with_steps((*pipeline.steps[:place], other, *pipeline.steps[place + 1 :]))
            if changed is not None and (other.number or not other.form.least):
                yield changed


def _with_steps_exchanged(pipeline: Pipeline) -> Iterator[Pipeline]:
    steps = pipeline.steps
    for place in range(len(steps) - 2):
        changed = pipeline.with_steps((*steps[:place], steps[place + 1], steps[place], *steps[place + 2 :]))
        if changed is not None:
            yield changed
