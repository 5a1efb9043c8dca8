"""Start a training by several processes, and be one of them.

`train_together` writes what they need into `workdir/job`, starts them by torchrun, and passes on what the first of them
tells, a JSON object a line: {"point": …, "steps": …}, {"checkpoint": path}, {"trained": …}.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import cuda, distributed

from everlearn.errors import EverlearnError
from everlearn.ladder.tree import CurvePoint, Ladder, load_ladder, point_of
from everlearn.settings import LadderSettings, LearnSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everlearn.problem import Problem
    from everlearn.training.job import Trained


def train_together(
    base: Path,
    adapter: Path | None,
    ladder: Ladder,
    *,
    domain_name: str,
    replay: Sequence[Problem],
    forbidden: frozenset[str],
    settings: LearnSettings,
    ladder_settings: LadderSettings,
    seed: int,
    threads: int,
    verifiers: int,
    workdir: Path,
    progress: Callable[[CurvePoint, int], None] | None,
    checkpointed: Callable[[Path], None] | None,
) -> Trained:
    """`night.train` by `settings.processes` processes of this machine.

    Raises:
        EverlearnError: one of them failed; what it said is on standard error.
    """
    from everlearn.training.job import Trained

    job = workdir / "job"
    job.mkdir(parents=True, exist_ok=True)
    ladder.save(job / "ladder.jsonl")
    described = {
        "base": str(base), "adapter": adapter and str(adapter), "domain_name": domain_name, "seed": seed,
        "replay": [problem.statement for problem in replay], "forbidden": sorted(forbidden), "threads": threads, "verifiers": verifiers,
        "settings": settings.model_dump(), "ladder_settings": ladder_settings.model_dump(), "workdir": str(workdir),
    }  # fmt: skip
    (job / "job.json").write_text(json.dumps(described), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               str(settings.processes), "-m", "everlearn.training.engines.torchrun", str(job / "job.json")]  # fmt: skip
    trained: dict[str, Any] | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None  # noqa: S101 - it is a pipe
        for line in started.stdout:
            told = json.loads(line)
            if "point" in told and progress is not None:
                progress(point_of(told["point"]), told["steps"])
            if "checkpoint" in told and checkpointed is not None:
                checkpointed(Path(told["checkpoint"]))
            trained = told.get("trained", trained)
    if started.returncode or trained is None:
        raise EverlearnError(
            f"training by {settings.processes} processes failed (exit {started.returncode}); what they said is on "
            "standard error, and the same call goes on from the newest checkpoint"
        )
    return Trained(
        adapter=Path(trained["adapter"]), ladder=load_ladder(job / "after.jsonl"),
        curve=tuple(map(point_of, trained["curve"])), rewarded=Path(trained["rewarded"]),
        cpu_seconds=trained["cpu_seconds"],
    )  # fmt: skip


def main(path: Path) -> None:
    """One of the processes. The first one tells how it goes."""
    from everlearn.domains.contract import load_domain
    from everlearn.training.job import train

    job = json.loads(path.read_text(encoding="utf-8"))
    distributed.init_process_group("nccl" if cuda.is_available() else "gloo")
    domain = load_domain(job["domain_name"])
    trained = train(
        Path(job["base"]), job["adapter"] and Path(job["adapter"]), load_ladder(path.parent / "ladder.jsonl"),
        domain_name=job["domain_name"], replay=[domain.problem(statement) for statement in job["replay"]],
        forbidden=frozenset(job["forbidden"]), settings=LearnSettings(**job["settings"]),
        ladder_settings=LadderSettings(**job["ladder_settings"]), seed=job["seed"], threads=job["threads"], verifiers=job["verifiers"],
        workdir=Path(job["workdir"]), progress=lambda point, steps: _tell(point=asdict(point), steps=steps),
        checkpointed=lambda checkpoint: _tell(checkpoint=str(checkpoint)),
    )  # fmt: skip
    if distributed.get_rank() == 0:
        trained.ladder.save(path.parent / "after.jsonl")
        _tell(trained={"adapter": str(trained.adapter), "curve": [asdict(point) for point in trained.curve],
                       "rewarded": str(trained.rewarded), "cpu_seconds": trained.cpu_seconds})  # fmt: skip
    distributed.destroy_process_group()


def _tell(**said: Any) -> None:
    if distributed.get_rank() == 0:
        print(json.dumps(said), flush=True)  # noqa: T201 - whoever started us reads it


if __name__ == "__main__":
    main(Path(sys.argv[1]))
