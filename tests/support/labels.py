"""Work for a process pool that needs no model. A spawned process imports this module alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from everlearn.errors import EverlearnError
from everlearn.local.process import wait_until

if TYPE_CHECKING:
    from everlearn.problem import Problem


def label(problem: Problem) -> Any:
    """Return what stands for the solution of a problem: its statement."""
    return cast("Any", problem.statement)


def die(problem: Problem) -> Any:
    """Kill the process, as the kernel does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail_first(problem: Problem) -> Any:
    """Fail for the first problem; return the statement of any other one, after that. Problems name a folder to meet in."""
    failed = Path(problem.statement).parent / "failed"
    if Path(problem.statement).name == "first":
        failed.touch()
        raise EverlearnError("the first problem cannot be solved")
    assert wait_until(failed.exists, timeout_s=60)
    return cast("Any", problem.statement)
