"""Checkpoints of a training: one directory that replaces the one before by renaming.

Random numbers need no state: each is derived from the run's seed and the step (`rollouts.seed_of`). Adapter, optimizer,
curriculum, ladder, curve and rewarded answers are everything. Tensors are safetensors, the rest is JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from everlearn.ladder.tree import load_ladder, point_of
from everlearn.training.engines import collectives
from everlearn.training.guards import RolloutStatistics
from everlearn.training.journal import Journal
from everlearn.training.models.adapter import write_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.training.training_run import TrainingRun

NAME, JOURNAL = "checkpoint", "journal"
GROWN = "grown-*.json"
"""Files with the curve points and rewarded answers between two checkpoints."""


def save_checkpoint(run: TrainingRun, workdir: Path) -> Path:
    """Write the run's state into `workdir/checkpoint` and return that directory.

    A process killed at any point leaves a complete checkpoint, the old one or the new one. Curve points and rewarded
    answers since the checkpoint before are written as a new file; the earlier files are linked into the new directory.
    """
    fresh, final, old = workdir / f"{NAME}.new", workdir / NAME, workdir / f"{NAME}.old"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    write_tensors(fresh / "state.safetensors", _tensors(run))
    run.ladder.save(fresh / "ladder.jsonl")
    _append_grown(run, _newest(workdir), fresh)
    described = {
        "step": run.step,
        "spent": run.spent,
        "kept": {"curve": len(run.curve), "rewarded": len(run.rewarded)},
        "seen": run.curriculum.seen,
        "used": run.curriculum.used,
        "results": run.curriculum.results,
        "updates": run.curriculum.updates,
        "first": run.first and asdict(run.first),
        "stopped": run.stopped,
        "recorded": run.recorded,
    }
    (fresh / "run.json").write_text(json.dumps(described))
    for path in fresh.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    # A directory cannot replace a non-empty one in one call. Between the two renames only `old` exists, which
    # `restore_checkpoint` reads then.
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    fresh.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return final


def _newest(workdir: Path) -> Path | None:
    """Return the directory of the newest complete checkpoint; None if there is none."""
    places = (workdir / NAME, workdir / f"{NAME}.old")
    return next((place for place in places if (place / "run.json").is_file()), None)


def _append_grown(run: TrainingRun, before: Path | None, fresh: Path) -> None:
    """Link the files with what has grown from the checkpoint `before` into `fresh`, and add one with what is new."""
    described = json.loads((before / "run.json").read_text()) if before else {}
    kept = described.get("kept", {"curve": 0, "rewarded": 0})  # before there were such files, run.json held everything
    segments = sorted(before.glob(GROWN)) if before and any(kept.values()) else []
    for path in segments:
        os.link(path, fresh / path.name)
    grown = {
        "curve": [asdict(point) for point in run.curve[kept["curve"] :]],
        "rewarded": run.rewarded[kept["rewarded"] :],
    }
    (fresh / GROWN.replace("*", f"{len(segments):06d}")).write_text(json.dumps(grown))


def _read_grown(folder: Path, described: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return the curve points and the rewarded answers of a checkpoint."""
    grown = [json.loads(path.read_text()) for path in sorted(folder.glob(GROWN))] or [described]
    return [point for part in grown for point in part["curve"]], [row for part in grown for row in part["rewarded"]]


def open_journal(workdir: Path, on_checkpoint: Callable[[Path], None] | None) -> Journal:
    """Return the journal of the work since the newest checkpoint, whose segments are files in its directory.

    All processes of a training read it, the first one writes it: `on_checkpoint` is called after each segment. The next
    checkpoint replaces the directory, and the journal with it.
    """
    folder = workdir / NAME / JOURNAL
    segments = sorted(folder.glob("*.jsonl"))
    numbers = itertools.count(len(segments))

    def keep(segment: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        partial = workdir / "segment.partial"
        with partial.open("wb") as file:
            file.write(segment)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(folder / f"{next(numbers):06d}.jsonl")
        if on_checkpoint is not None:
            on_checkpoint(folder.parent)

    return Journal(kept=[path.read_bytes() for path in segments], keep=keep if collectives.rank() == 0 else None)


def _tensors(run: TrainingRun) -> dict[str, torch.Tensor]:
    """Return each parameter, its newest good value, and its optimizer state, named by the parameter's index."""
    tensors = {}
    for index, tensor in enumerate(run.policy.parameters()):
        tensors[f"{index}.weight"] = tensor.detach()
        tensors[f"{index}.good"] = run.good[index]
        for name, value in run.optimizer.state.get(tensor, {}).items():
            tensors[f"{index}.{name}"] = value
    return tensors


def restore_checkpoint(run: TrainingRun, workdir: Path) -> bool:
    """Bring a run at step 0 to the newest checkpoint; return False where there is none."""
    folder = _newest(workdir)
    if folder is None:
        return False
    _restore_tensors(run, load_file(folder / "state.safetensors"))
    described = json.loads((folder / "run.json").read_text())
    run.step, run.spent = described["step"], described["spent"]
    curve, run.rewarded = _read_grown(folder, described)
    run.recorded, run.stopped = described["recorded"], described["stopped"]
    run.first = described["first"] and RolloutStatistics(**described["first"])
    run.curve = [point_of(point) for point in curve]
    ladder = load_ladder(folder / "ladder.jsonl")
    run.ladder.rungs, run.ladder.counts = ladder.rungs, ladder.counts
    run.curriculum.seen = {int(size): (seen[0], seen[1]) for size, seen in described["seen"].items()}
    run.curriculum.used = described["used"]
    run.curriculum.results = {rung: tuple(result) for rung, result in described.get("results", {}).items()}
    run.curriculum.updates = described.get("updates", 0)
    run.update_classes()
    return True


def _restore_tensors(run: TrainingRun, tensors: dict[str, torch.Tensor]) -> None:
    # A fused optimizer reads its step counts, the only scalars, where the parameters are, any other one in main memory.
    is_fused = bool(run.optimizer.param_groups[0]["fused"])
    with torch.no_grad():
        for index, tensor in enumerate(run.policy.parameters()):
            tensor.copy_(tensors[f"{index}.weight"])
            run.good[index] = tensors[f"{index}.good"]
            state = {
                name.split(".", 1)[1]: value.to(tensor.device if value.ndim or is_fused else "cpu", copy=True)
                for name, value in tensors.items()
                if name.startswith(f"{index}.") and not name.endswith((".weight", ".good"))
            }
            if state:
                run.optimizer.state[tensor] = state
