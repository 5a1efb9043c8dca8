"""Everything that training needs to go on, in one directory that appears whole or not at all.

Random numbers need no state: each is derived from the run's seed and the step (`rollout.seed_of`), so adapter,
optimizer, curriculum, ladder, curve and rewarded answers are all there is. Tensors are safetensors, the rest is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save

from everlearn.ladder.tree import load_ladder, point_of
from everlearn.training.guards import Vitals

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.training.loop import TrainingRun

NAME = "checkpoint"


def save_checkpoint(run: TrainingRun, workdir: Path) -> Path:
    """Write the run's state beside the old one, then take its place."""
    fresh, final, old = workdir / f"{NAME}.new", workdir / NAME, workdir / f"{NAME}.old"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tensors = {}
    for index, tensor in enumerate(run.policy.parameters()):
        tensors[f"{index}.weight"] = tensor.detach()
        tensors[f"{index}.good"] = run.good[index]
        for name, value in run.optimizer.state.get(tensor, {}).items():
            tensors[f"{index}.{name}"] = value
    (fresh / "state.safetensors").write_bytes(save(tensors))
    run.ladder.save(fresh / "ladder.jsonl")
    described = {
        "step": run.step,
        "spent": run.spent,
        "curve": [asdict(point) for point in run.curve],
        "seen": run.curriculum.seen,
        "used": run.curriculum.used,
        "rewarded": run.rewarded,
        "first": run.first and asdict(run.first),
        "stopped": run.stopped,
        "recorded": run.recorded,
    }
    (fresh / "run.json").write_text(json.dumps(described))
    for path in fresh.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    fresh.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return final


def restore_checkpoint(run: TrainingRun, workdir: Path) -> bool:
    """Bring a run that was begun anew to the newest checkpoint; False where there is none."""
    found = next((workdir / name for name in (NAME, f"{NAME}.old") if (workdir / name / "run.json").is_file()), None)
    if found is None:
        return False
    tensors = load_file(found / "state.safetensors")
    with torch.no_grad():
        for index, tensor in enumerate(run.policy.parameters()):
            tensor.copy_(tensors[f"{index}.weight"])
            run.good[index] = tensors[f"{index}.good"]
            state = {
                name.split(".", 1)[1]: value.clone()
                for name, value in tensors.items()
                if name.startswith(f"{index}.") and not name.endswith((".weight", ".good"))
            }
            if state:
                run.optimizer.state[tensor] = state
    described = json.loads((found / "run.json").read_text())
    run.step, run.spent, run.rewarded = described["step"], described["spent"], described["rewarded"]
    run.recorded = described["recorded"]
    run.first, run.stopped = described["first"] and Vitals(**described["first"]), described["stopped"]
    run.curve = [point_of(point) for point in described["curve"]]
    run.ladder.rungs = load_ladder(found / "ladder.jsonl").rungs
    run.curriculum.seen = {int(size): (seen[0], seen[1]) for size, seen in described["seen"].items()}
    run.curriculum.used = described["used"]
    run.refill()
    return True
