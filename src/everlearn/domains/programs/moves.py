"""Moves towards shorter pipelines: derived here without a model, asked of a model in words, and read from what it wrote.

    drop a step       one step before the last is left out, where the others still fit together
    keep a few steps  some of the steps, in their order, and the last one
    return all        the list itself is returned, after a step less

A task in free words has no variants of its own: a model is asked for a pipeline that trains the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.programs.grammar import read_task
from everlearn.domains.programs.pipelines import Pipeline, Step, pipeline_of, read_pipeline
from everlearn.domains.programs.steps import FORMS, Kind
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

DROP, KEEP, RETURN_ALL = "drop a step", "keep a few steps", "return all"
MOVES = (DROP, KEEP, RETURN_ALL)
_ASKED = {
    DROP: "Leave out one of its steps.",
    KEEP: "Keep a few of its steps only.",
    RETURN_ALL: "Let it return the whole list, and leave out a step.",
}
_ALL = {form.takes: Step(form) for form in FORMS if form.words.startswith("return the list")}
_TRIES = 20


def derive(pipeline: Pipeline, move: str, *, rng: random.Random) -> Pipeline | None:
    """Return a pipeline of fewer steps; None if the move does not apply."""
    for _ in range(_TRIES if len(pipeline.steps) > 1 else 0):
        variant = pipeline.with_steps(_fewer(pipeline.steps, move, rng=rng))
        if variant is not None:
            return variant
    return None


def _fewer(steps: Sequence[Step], move: str, *, rng: random.Random) -> list[Step]:
    """Return fewer steps, which may not fit together."""
    *middle, last = steps
    count = len(middle) - 1 if move != KEEP else rng.randrange(len(middle))
    kept = [middle[place] for place in sorted(rng.sample(range(len(middle)), count))]
    gives = kept[-1].form.gives if kept else steps[0].form.takes
    return [*kept, _ALL[gives] if move == RETURN_ALL else last]


def words(statement: str, move: str) -> str:
    """Return the words that ask a model for a variant."""
    pipeline = pipeline_of(statement)
    rule = "Use steps of these forms only, with commas between, the last one beginning with `return`:"
    known = "; ".join(form.words for form in FORMS if pipeline is None or form.takes in (pipeline.takes, Kind.NUMBERS))
    what = _ASKED[move] if pipeline else "It may have some of its difficulties only."
    return (
        f"Here is a task:\n\n{statement}\n\nDo not solve it. Write an easier task for a function of one list, in the form "
        f"`def f(xs): step, step, return …`. {what} {rule} {known}. K is a number.\nAnswer with the task alone, on one line."
    )


def read(statement: str, written: str) -> str | None:
    """Return the statement of the pipeline that was written, if it has fewer steps than the problem, else None."""
    asked = pipeline_of(statement)
    try:
        variant = read_pipeline(read_task(written.replace("`", " ")))
    except GrammarError:
        return None
    if variant is None or (asked is not None and len(variant.steps) >= len(asked.steps)):
        return None
    return str(variant)
