"""Pipelines that differ from a given one in a step, and tests that tell each of them from it."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everlearn.domains.programs.call_inputs import cases_of, wide_lists
from everlearn.domains.programs.hidden_tests import Case
from everlearn.domains.programs.pipelines import Step
from everlearn.domains.programs.steps import FORMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everlearn.domains.programs.pipelines import Pipeline


@functools.lru_cache(maxsize=512)
def telling_cases(pipeline: Pipeline, *, seed: str, **options: int) -> tuple[Case, ...]:
    """Return the tests of `cases_of`, and one for each neighbour that passes these and yet computes something else."""
    cases = cases_of(pipeline, seed=seed, **options)
    for variant in _variants(pipeline) if cases else ():
        if all(variant.result(case.arguments[0]) == case.result for case in cases):
            values = witness(pipeline, variant)
            if values is not None:
                cases.append(Case(arguments=[list(values)], result=pipeline.result(values)))
    return tuple(cases)


def neighbours(pipeline: Pipeline) -> list[Pipeline]:
    """Return the pipelines that differ in one step and compute something else: on one of the wide lists at least."""
    return [variant for variant in _variants(pipeline) if witness(pipeline, variant) is not None]


def witness(pipeline: Pipeline, variant: Pipeline) -> Sequence[Any] | None:
    """Return a wide list for which two pipelines have other results, None if there is none."""
    lists = wide_lists(pipeline.takes)
    return next((each for each in lists if pipeline.result(each) != variant.result(each)), None)


def _variants(pipeline: Pipeline) -> dict[Pipeline, None]:
    changed = (*without_a_step(pipeline), *_with_another_step(pipeline), *_with_steps_exchanged(pipeline))
    return dict.fromkeys(changed)


def without_a_step(pipeline: Pipeline) -> Iterator[Pipeline]:
    """Yield the pipelines that lack a step and still take and return the same."""
    for place in range(len(pipeline.steps) - 1):
        shorter = pipeline.with_steps(pipeline.steps[:place] + pipeline.steps[place + 1 :])
        if shorter is not None and shorter.takes is pipeline.takes:
            yield shorter


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
