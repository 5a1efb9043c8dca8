"""One process of a training by several; torchrun starts it with the path of a saved job.

    python -m torch.distributed.run --standalone --nproc-per-node 2 -m everlearn.training.torchrun_worker JOB.json

The first process (rank 0) prints the messages that `engines.torchrun` reads, one JSON object a line.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from everlearn import counters
from everlearn.training.engines import collectives
from everlearn.training.job import load_job
from everlearn.training.models.policy import device_of
from everlearn.training.trainer import train


def main(path: Path) -> None:
    """Join the process group, train, and print progress and result."""
    job = load_job(path)
    device = device_of(job.compute)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(collectives.backend_of(device))
    trained = train(
        job,
        on_step=lambda point, steps: _print_message(point=asdict(point), steps=steps),
        on_checkpoint=lambda checkpoint: _print_message(checkpoint=str(checkpoint)),
    )
    if collectives.rank() == 0:
        trained.ladder.save(path.parent / "after.jsonl")
    result = {
        "adapter": str(trained.adapter),
        "rewarded": str(trained.rewarded),
        "policy": trained.policy,
    }
    own = {"peak": counters.gpu_peak(), "verifiers": counters.cpu_of_verifiers()}
    usage = collectives.gather([counters.snapshot() | own])
    _print_message(trained=result | {"curve": [asdict(point) for point in trained.curve], "usage": usage})
    distributed.destroy_process_group()


def _print_message(**message: Any) -> None:
    if collectives.rank() == 0:
        print(json.dumps(message), flush=True)  # noqa: T201 (read by the process that started torchrun)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
