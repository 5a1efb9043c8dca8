"""Problems that are solved one by one, in one process or several: `everlearn solve` and the flow `solve`."""

from __future__ import annotations

import os
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Any, TypeVar

from everlearn.errors import EverlearnError
from everlearn.training.solved_problems import ARMS, comparison_of, row_of, with_comparison
from everlearn.training.test_time import By, Solution, solve, solve_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from everlearn.problem import Problem

    Row = dict[str, Any]

T = TypeVar("T")


def rows_of(
    problems: Sequence[Problem],
    kept: Mapping[str, Row],
    *,
    keys: Mapping[str, str],
    version: str,
    compares: bool,
    processes: int,
    **given: Any,
) -> Iterator[tuple[Problem, Row]]:
    """Yield the row of each problem that has none in `kept`, as soon as it is solved; with one process in the given order.

    With `compares`, a second pass yields the row of each problem again, those in `kept` included, with its comparison
    at equal rollouts, unless it has one. It begins after all problems are solved, so that an interruption loses no
    solution. `kept` and `keys` map `Problem.key` to rows and to the keys of new rows; `given` are arguments of `solve`.
    """
    rows, domain = dict(kept), given["settings"].domain
    unsolved = [problem for problem in problems if problem.key not in rows]
    for problem, solution in in_processes(unsolved, partial(_solve, **given), processes=processes):
        row = row_of(solution, domain=domain, version=version, key=keys[problem.key])
        rows[problem.key] = row
        yield problem, row
    pending = [problem for problem in problems if compares and comparison_of(rows[problem.key]) is None]
    rollouts = {problem.key: rows[problem.key]["rollouts"] for problem in pending}
    for problem in pending:
        row = rows[problem.key]
        if row["by"] == By.GREEDY:  # both arms begin with the greedy answer
            yield problem, with_comparison(row, dict.fromkeys(ARMS, row), key=keys[problem.key])
    others = [problem for problem in pending if rows[problem.key]["by"] != By.GREEDY]
    for problem, arms in in_processes(others, partial(_compare, rollouts=rollouts, **given), processes=processes):
        contents = {arm: each.to_content() for arm, each in arms.items()}
        yield problem, with_comparison(rows[problem.key], contents, key=keys[problem.key])


def in_processes(problems: Sequence[Problem], work: Callable[[Problem], T], *, processes: int) -> Iterator[T]:
    """Yield the result of `work` for each problem, as soon as it is there.

    After an error no other problem is given to a process; those at work are finished and their results yielded, then the
    first error is raised. The processes end with this one, also where it is killed.

    Raises:
        EverlearnError: a process was killed, or what `work` raises.
    """
    if processes == 1:
        yield from map(work, problems)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_end_with_owner) as pool:
        pending = {pool.submit(work, problem) for problem in problems}
        errors: list[BaseException] = []
        try:
            while pending:
                ended, pending = wait(pending, return_when=FIRST_COMPLETED)
                errors += filter(None, [each.exception() for each in ended])
                if errors:
                    pending = {each for each in pending if not each.cancel()}
                yield from (each.result() for each in ended if each.exception() is None)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if errors and isinstance(errors[0], BrokenProcessPool):
        raise EverlearnError(
            "a process was killed while it worked on a problem, as where memory runs out: use fewer processes. What was solved "
            "is kept, and the same command goes on after it"
        )
    if errors:
        raise errors[0]


def _end_with_owner() -> None:
    """End this process as soon as the one that started it is gone: it would work on, and then wait for ever."""
    owner = parent_process()
    assert owner is not None  # noqa: S101

    def wait() -> None:
        owner.join()
        os._exit(1)

    threading.Thread(target=wait, name="owner", daemon=True).start()


def _solve(problem: Problem, **given: Any) -> tuple[Problem, Solution]:
    return problem, solve(problem, **given)


def _compare(problem: Problem, *, rollouts: Mapping[str, int], **given: Any) -> tuple[Problem, dict[str, Solution]]:
    return problem, solve_beside(problem, rollouts=rollouts[problem.key], **given)
