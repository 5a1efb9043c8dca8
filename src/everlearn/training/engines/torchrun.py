"""Run a training job by several processes of this machine (torchrun).

The job is saved in `workdir/job`; each process is `everlearn.training.torchrun_worker`. The first one prints its
progress as one JSON object a line: {"point": …, "steps": …}, {"checkpoint": path}, {"trained": …}.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn import counters
from everlearn.errors import EverlearnError
from everlearn.ladder.tree import CurvePoint, load_ladder, point_of
from everlearn.training.engines.samplers import vllm_servers
from everlearn.training.job import Trained
from everlearn.training.models.adapter import load_adapter
from everlearn.training.models.policy import device_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.training.job import TrainingJob

WORKER = "everlearn.training.torchrun_worker"


def run_processes(
    job: TrainingJob,
    *,
    on_step: Callable[[CurvePoint, int], None] | None,
    on_checkpoint: Callable[[Path], None] | None,
) -> Trained:
    """Run the job by `settings.processes` processes and pass on their progress, as `trainer.train` does.

    vLLM servers of our own are started here, on GPUs that no process trains on.

    Raises:
        ModelError: vLLM is not installed, cannot serve this model, or finds no GPU.
        EverlearnError: a process failed; its message is on standard error.
    """
    folder, count = job.workdir / "job", job.settings.processes
    rank = job.settings.rank if job.adapter is None else load_adapter(job.adapter)[0].r + job.settings.grow_rank
    device = device_of(job.compute)
    with vllm_servers(job.rollouts, base=job.base, device=device, rank=rank, threads=job.threads, learners=count) as (
        rollouts,
        _,
    ):
        path = replace(job, rollouts=rollouts).save(folder / "job.json")
        result = _messages(path, processes=count, on_step=on_step, on_checkpoint=on_checkpoint)
    for usage in result["usage"]:
        counters.note_gpu_memory(usage.pop("peak"))
        counters.add_cpu_of_verifiers(usage.pop("verifiers"))
        for name, number in usage.items():
            counters.increment(name, by=number)
    return Trained(
        adapter=Path(result["adapter"]),
        ladder=load_ladder(folder / "after.jsonl"),
        curve=tuple(map(point_of, result["curve"])),
        rewarded=Path(result["rewarded"]),
        policy=result["policy"],
    )


def _messages(
    path: Path,
    *,
    processes: int,
    on_step: Callable[[CurvePoint, int], None] | None,
    on_checkpoint: Callable[[Path], None] | None,
) -> dict[str, Any]:
    """Run the saved job, pass on the progress of its first process, and return that one's result."""
    result: dict[str, Any] | None = None
    with subprocess.Popen(_command(path, processes=processes), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        try:
            for line in process.stdout:
                message = json.loads(line)
                if "point" in message and on_step is not None:
                    on_step(point_of(message["point"]), message["steps"])
                if "checkpoint" in message and on_checkpoint is not None:
                    on_checkpoint(Path(message["checkpoint"]))
                result = message.get("trained", result)
        except BaseException:
            process.terminate()  # leaving the block waits for its end
            raise
    if process.returncode or result is None:
        raise EverlearnError(
            f"training by {processes} processes failed (exit {process.returncode}): see standard error for the reason; "
            "the same call goes on from the newest checkpoint"
        )
    return result


def _command(path: Path, *, processes: int) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, "-m", WORKER, str(path)]
