"""Programs: the problem is a function in words, the answer Python source, judged by tests in a sandbox.

A problem has hidden tests in its reference, or is a pipeline of steps whose tests follow from the statement; one that is
neither is UNDECIDED. Answers run in the version of Python that runs Everlearn, with the standard library alone.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

from everlearn.domains.answer_extraction import extract_answer
from everlearn.domains.programs import moves
from everlearn.domains.programs.call_inputs import RECHECKED, RECHECKED_LENGTH, wide_lists
from everlearn.domains.programs.drawn_pipelines import draw_pipeline
from everlearn.domains.programs.grammar import read_source, read_task
from everlearn.domains.programs.hidden_tests import HiddenTests, read_tests
from everlearn.domains.programs.judgement import judge, judge_apart
from everlearn.domains.programs.neighbours import telling_cases
from everlearn.domains.programs.pipelines import behaviour, code_of, pipeline_of
from everlearn.domains.programs.rewrites import same_programs, wrapped_programs, wrong_programs
from everlearn.domains.programs.sandbox import require_sandbox
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everlearn.domains.programs.hidden_tests import Case

_APART = 8
"""Processes of a second judgement."""
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
_UNKNOWN = Verdict(
    ruling=Ruling.UNDECIDED, reason="the problem has no tests, and is no pipeline of steps whose results differ enough"
)


class Programs:
    """The domain `programs`. Raises SandboxError where answers cannot be run in a sandbox."""

    name = "programs"
    moves = moves.MOVES
    equivalence_scheme = "programs/1"
    libraries: tuple[str, ...] = ()

    def __init__(self) -> None:
        require_sandbox()

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row, its statement in one line. Its reference holds tests (`hidden_tests`).

        Words without a signature get that of the tests.
        """
        text, reference = row["statement"], row.get("reference") or None
        tests = None if reference is None else read_tests(reference)
        if tests is not None and tests.name and not re.search(r"\bdef ", text):
            count = len(tests.cases[0].arguments)
            text = f"def {tests.name}({', '.join(f'x{number}' for number in range(1, count + 1))}): {text}"
        task = read_task(text)
        if tests is not None and tests.name not in (None, task.name):
            raise GrammarError(f"the tests call another function than {task.name!r}")
        pipeline = pipeline_of(str(task))
        return Problem(id="", domain=self.name, statement=str(pipeline or task), reference=reference)

    def question(self, problem: Problem) -> str:
        """Return the task in words."""
        task, pipeline = read_task(problem.statement), pipeline_of(problem.statement)
        what = "" if pipeline is None else f" {pipeline.parameter} is a list of {_ELEMENTS[pipeline.takes]}."
        order = "" if pipeline is None else " step by step"
        words = task.words[0].upper() + task.words[1:].rstrip(".")
        return f"Write the Python function {task.signature}.{what} It has to do this{order}: {words}.\nAnswer with the code alone."

    def verify(self, problem: Problem, answer: str, *, seed: int = 0) -> Verdict:
        """Judge an answer by all tests, in one process of the sandbox."""
        task = read_task(problem.statement)
        try:
            source = read_source(answer, name=task.name)
        except GrammarError as error:
            return Verdict(ruling=Ruling.UNREADABLE, reason=str(error))
        cases = _cases(problem, seed=f"verify {seed}")
        return judge(source, task.name, cases) if cases else _UNKNOWN

    def recheck(self, problem: Problem, answer: str) -> Verdict:
        """Judge an answer again: other and longer inputs of a pipeline, in another order, in several processes."""
        task = read_task(problem.statement)
        try:
            source = read_source(answer, name=task.name)
        except GrammarError as error:
            return Verdict(ruling=Ruling.UNREADABLE, reason=str(error))
        cases = _cases(problem, seed="recheck", count=RECHECKED, longest=RECHECKED_LENGTH)
        if not cases:
            return _UNKNOWN
        random.Random(0).shuffle(cases)
        groups = [cases[start::_APART] for start in range(min(_APART, len(cases)))]
        return judge_apart(source, task.name, groups, hash_seed=1)

    def extract(self, completion: str) -> str:
        """Return the answer in a completion: what is in the last `<answer>…</answer>`, or all of it."""
        tagged = _TAGGED.findall(completion)
        return str(tagged[-1] if tagged else completion).strip()

    def canonical(self, statement: str) -> str:
        """Return a pipeline with usual names, any other task as it is."""
        pipeline = pipeline_of(statement)
        return statement if pipeline is None else f"def f(xs): {', '.join(map(str, pipeline.steps))}"

    def equivalence(self, statement: str) -> str:
        """Return a digest of what a pipeline computes; any other task without what differs in spelling only."""
        pipeline = pipeline_of(statement)
        if pipeline is None:
            return " ".join(re.findall(r"\w+", read_task(statement).words.lower()))
        return behaviour(pipeline, wide_lists(pipeline.takes))

    def size(self, statement: str) -> int:
        """Return the number of steps of a pipeline; for any other task, 1 and 1 more every 20 words."""
        pipeline = pipeline_of(statement)
        return 1 + len(statement.split()) // 20 if pipeline is None else len(pipeline.steps)

    def difficulty(self, statement: str) -> str:
        """Return a label such as `4 steps`."""
        return "task with tests" if pipeline_of(statement) is None else f"{self.size(statement)} steps"

    def skill(self, statement: str) -> str:
        """Return what a function is of: `numbers`, `words` or, for a task with tests, `task`."""
        pipeline = pipeline_of(statement)
        return "task" if pipeline is None else str(pipeline.takes)

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> Problem:
        """Return a pipeline of as many steps as one of `like`, or of `size`. A task with tests is returned itself."""
        takes = None
        if like:
            model = rng.choice(like)
            pipeline = pipeline_of(model.statement)
            if pipeline is None:
                return model
            takes, size = pipeline.takes, len(pipeline.steps)
        drawn = draw_pipeline(rng, steps=size, takes=takes)
        return Problem(id="", domain=self.name, statement=str(drawn))

    def propose(self, statement: str, move: str) -> str:
        """Return the words that ask a model for a pipeline of fewer steps."""
        return moves.words(statement, move)

    def read_variant(self, statement: str, move: str, text: str) -> str | None:  # noqa: ARG002
        """Return the pipeline that a model wrote, if it has fewer steps than the problem."""
        return moves.read(statement, extract_answer(text))

    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        """Return a pipeline of fewer steps; None for a task with tests."""
        pipeline = pipeline_of(statement)
        variant = None if pipeline is None else moves.derive(pipeline, move, rng=rng)
        return None if variant is None else str(variant)

    def solve(self, problem: Problem) -> str | None:
        """Return a right program for a pipeline; None for a task with tests."""
        pipeline = pipeline_of(problem.statement)
        return None if pipeline is None or problem.reference else code_of(pipeline)

    def wrong_answers(self, problem: Problem, answer: str, *, rng: random.Random) -> list[str]:
        """Return programs that compute something else, or spoil the result of the right one."""
        task, pipeline = read_task(problem.statement), pipeline_of(problem.statement)
        if pipeline is not None:
            return wrong_programs(pipeline, rng=rng)
        cases = _cases(problem, seed="")
        count = len(cases[0].arguments) if cases else 1
        return wrapped_programs(read_source(answer, name=task.name), task.name, count=count)

    def same_answers(self, problem: Problem, answer: str) -> list[str]:
        """Return the program in other spellings."""
        name = read_task(problem.statement).name
        return same_programs(read_source(answer, name=name), name)


_ELEMENTS = {"numbers": "whole numbers", "words": "words of small letters from a to z"}


def _cases(problem: Problem, *, seed: str, **options: int) -> list[Case]:
    """Return the tests of the reference and those that follow from the statement."""
    tests = read_tests(problem.reference) if problem.reference else HiddenTests(cases=[], name=None)
    pipeline = pipeline_of(problem.statement)
    return [*tests.cases, *(telling_cases(pipeline, seed=seed, **options) if pipeline else ())]
