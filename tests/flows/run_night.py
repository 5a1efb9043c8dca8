"""Run one tiny night as a process that a test can kill: `run_night.py CONFIG.json` prints the end of the night.

With EVERLEARN_TEST_DIE_AT=NAME the process is killed (SIGKILL) right after the workspace holds that result, or, for
`publish`, `record` and `open`, right after that call. With EVERLEARN_TEST_NO_DECODING an answer that is decoded in this
process ends it.

Every verifier process imports this file again, as that of its owner. So nothing is imported before the night runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def dying_after(act: Callable[..., Any], *, when: Callable[..., bool]) -> Callable[..., Any]:
    """Wrap `act` so that SIGKILL follows it where `when` holds for its arguments."""

    def act_and_die(*args: Any, **kwargs: Any) -> Any:
        result = act(*args, **kwargs)
        if when(*args):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return act_and_die


def die_at(name: str) -> None:
    """Let this process be killed at that point."""
    from everlearn.cycle.workspace import Workspace
    from everlearn.registry.versions import Registry
    from tasks import open_night

    set_and_die: Any = dying_after(Workspace._set, when=lambda _work, result, _files: result == name)
    calls = {"publish": (Registry, "publish"), "record": (Registry, "record"), "open": (open_night, "open_cycle")}
    Workspace._set = set_and_die  # type: ignore[method-assign]
    if name in calls:
        owner, attribute = calls[name]
        setattr(owner, attribute, dying_after(getattr(owner, attribute), when=lambda *_: True))


def refuse_to_decode() -> None:
    """Let an answer that is decoded in this process be an error."""
    from everlearn.training import rollouts

    def decode(*_: object, **__: object) -> Any:
        raise AssertionError("decoded in this process")

    vars(rollouts)["decode"] = decode


def main() -> None:
    """Run the night and print its end."""
    from everlearn.errors import EverlearnError
    from flows.run_cycle import CycleConfig, run_cycle

    die_at(os.environ.get("EVERLEARN_TEST_DIE_AT", ""))
    if os.environ.get("EVERLEARN_TEST_NO_DECODING"):
        refuse_to_decode()
    config = CycleConfig.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        sys.stdout.write(json.dumps(run_cycle(config)) + "\n")
    except EverlearnError as error:
        sys.exit(f"everlearn: {error}")


if __name__ == "__main__":
    main()
