"""Problems that are solved one by one, in one process or several: `everlearn solve` and the flow `solve`."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from everlearn.training.test_time import Solution, solve, solve_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from everlearn.problem import Problem

    Solved = tuple[Problem, Solution]


def solve_each(problems: Sequence[Problem], *, compares: bool, processes: int, **given: Any) -> Iterator[Solved]:
    """Yield each problem with its solution as soon as it is found: in the given order with one process, else in any.

    `given` are arguments of `solve`; with `compares` each solution is compared with others at equal rollouts.
    """
    yield from in_processes(problems, partial(_solve, compares=compares, **given), processes=processes)


def in_processes(problems: Sequence[Problem], work: Callable[[Problem], Solved], *, processes: int) -> Iterator[Solved]:
    """Yield what `work` returns for each problem. The first error ends it: problems that were not begun are left."""
    if processes == 1:
        yield from map(work, problems)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        pending = [pool.submit(work, problem) for problem in problems]
        try:
            for done in as_completed(pending):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _solve(problem: Problem, *, compares: bool, **given: Any) -> Solved:
    return problem, (solve_beside if compares else solve)(problem, **given)
