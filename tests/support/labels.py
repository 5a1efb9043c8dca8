"""Work for a process pool that needs no model. A spawned process imports this module alone."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from everlearn.problem import Problem


def label(problem: Problem) -> Any:
    """Return what stands for the solution of a problem: its statement."""
    return cast("Any", problem.statement)


def die(problem: Problem) -> Any:
    """Kill the process, as the kernel does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
