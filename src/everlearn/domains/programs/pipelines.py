"""Pipelines: tasks whose words are steps of the small language, so that tests follow from the statement alone.

def f(xs): keep the even numbers, square each number, return the sum of the numbers
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import digest_of
from everlearn.domains.programs.grammar import Task, read_task
from everlearn.domains.programs.harness import encode
from everlearn.domains.programs.steps import FORMS, Kind, StepForm
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_STEPS = 8
MOST_GROWING = 2
"""How many steps may square, repeat or add up: values stay short."""
_PARAMETER = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,39})(?: ?: ?list(?:\[(?:int|str)\])?)?")
_PATTERNS = tuple((form, form.pattern) for form in FORMS)
_BETWEEN = re.compile(r"[,;.] ?(?:and then |and |then |finally )?| (?:and then |and |then )(?=return )")


@dataclass(frozen=True, slots=True)
class Step:
    """A step with its number, if its form has one."""

    form: StepForm
    number: int = 0

    def __str__(self) -> str:
        return self.form.words.replace("K", str(self.number))

    @property
    def code(self) -> str:
        """The Python expression of a list `v`."""
        return self.form.code.replace("K", str(self.number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A function of one list, in steps, of which the last one returns."""

    name: str
    parameter: str
    steps: tuple[Step, ...]

    @property
    def takes(self) -> Kind:
        """What the list has: numbers or words."""
        return self.steps[0].form.takes

    def __str__(self) -> str:
        return f"def {self.name}({self.parameter}): {', '.join(map(str, self.steps))}"

    def result(self, values: Sequence[Any]) -> Any:
        """Return what the function returns for a list."""
        value: Any = list(values)
        for step in self.steps:
            value = step.form.apply(value, step.number)
        return value

    def with_steps(self, steps: Sequence[Step]) -> Pipeline | None:
        """Return the pipeline of other steps, None if they do not fit together."""
        return replace(self, steps=tuple(steps)) if fits(steps) else None


def fits(steps: Sequence[Step]) -> bool:
    """Whether each step takes what the one before gives, the last one alone returns, and their number is within limits."""
    kinds = [step.form.gives for step in steps]
    return (
        0 < len(steps) <= MOST_STEPS
        and kinds[-1] is Kind.RESULT
        and all(step.form.takes is kind for step, kind in zip(steps[1:], kinds, strict=False))
        and sum(step.form.grows for step in steps) <= MOST_GROWING
    )


def read_pipeline(task: Task) -> Pipeline | None:
    """Return the pipeline that a task is; None if its words are others, which have to be judged by a reference."""
    parameter = _PARAMETER.fullmatch(task.parameters)
    if parameter is None:
        return None
    steps = [_read_step(part) for part in _BETWEEN.split(task.words.rstrip(". ").lower())]
    read = [step for step in steps if step is not None]
    if len(read) < len(steps) or not fits(read):
        return None
    return Pipeline(name=task.name, parameter=parameter[1], steps=tuple(read))


def pipeline_of(statement: str) -> Pipeline | None:
    """Return the pipeline of a statement, None if it is none. Raises GrammarError as `read_task` does."""
    return read_pipeline(read_task(statement))


@functools.lru_cache(maxsize=1024)
def _read_step(text: str) -> Step | None:
    for form, pattern in _PATTERNS:
        found = pattern.fullmatch(text.strip())
        if found and not form.has_number:
            return Step(form)
        if found and form.least <= int(found[1]) <= form.most:
            return Step(form, int(found[1]))
    return None


def require_pipeline(statement: str) -> Pipeline:
    """Return the pipeline of a statement. Raises GrammarError if it is none."""
    found = pipeline_of(statement)
    if found is None:
        raise GrammarError(f"{statement!r} is no pipeline of steps")
    return found


def behaviour(pipeline: Pipeline, inputs: Sequence[Sequence[Any]]) -> str:
    """Return a digest of the results: equal for pipelines that compute the same."""
    results = "".join(encode(pipeline.result(values)) for values in inputs)
    return digest_of(f"{pipeline.takes} {results}".encode())[:32]


def code_of(pipeline: Pipeline, *, name: str | None = None) -> str:
    """Return a Python program that does each step in a line."""
    *steps, last = pipeline.steps
    lines = [f"def {name or pipeline.name}({pipeline.parameter}):", f"    v = list({pipeline.parameter})"]
    lines += [f"    v = {step.code}" for step in steps]
    return "\n".join([*lines, f"    return {last.code}"]) + "\n"
