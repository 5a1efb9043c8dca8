"""One tiny night in a process of its own, so that a test can kill it: `run_night.py CONFIG.json` prints how it ended.

With EVERLEARN_TEST_DIE_AT=NAME the process is killed (SIGKILL) just after the work has got that result, or, for
`publish` and `close`, just after that was done.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn.cycle.workspace import Workspace
from everlearn.errors import EverlearnError
from everlearn.registry.versions import Registry
from flows.run_cycle import CycleConfig, run_cycle
from tasks import open_night as opening

if TYPE_CHECKING:
    from collections.abc import Callable


def dying_after(act: Callable[..., Any], *, when: Callable[..., bool]) -> Callable[..., Any]:
    """`act`, and then SIGKILL if `when` says so of its arguments."""

    def act_and_die(*given: Any, **named: Any) -> Any:
        result = act(*given, **named)
        if when(*given):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return act_and_die


def die_at(name: str) -> None:
    """Arm this process."""
    keep: Any = dying_after(Workspace._set, when=lambda _work, kept, _files: kept == name)
    always = {"publish": (Registry, "publish"), "record": (Registry, "record"), "open": (opening, "open_cycle")}
    Workspace._set = keep  # type: ignore[method-assign]
    if name in always:
        place, attribute = always[name]
        setattr(place, attribute, dying_after(getattr(place, attribute), when=lambda *_: True))


if __name__ == "__main__":
    die_at(os.environ.get("EVERLEARN_TEST_DIE_AT", ""))
    config = CycleConfig.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        sys.stdout.write(json.dumps(run_cycle(config)) + "\n")
    except EverlearnError as error:
        sys.exit(f"everlearn: {error}")
