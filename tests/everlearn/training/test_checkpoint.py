"""Checkpoints: what is written again, what is added, when, and what older ones look like."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import PROPOSALS
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training.checkpoint import restore_checkpoint, save_checkpoint
from everlearn.training.job import TrainingJob
from everlearn.training.ladder_growth import has_failed_to_propose, plant
from everlearn.training.models.adapter import write_tensors
from everlearn.training.models.policy import load_policy
from everlearn.training.train_step import train_step
from everlearn.training.trainer import train
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everlearn.ladder.tree import Ladder
    from everlearn.training.training_run import TrainingRun

DOMAIN = load_domain("integration")
STATEMENTS = ["3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "2*x", "cos(x)"]
SETTINGS = LearnSettings(steps=4, prompts=4, group=4, warmup=1)
TENSORS = st.dictionaries(
    st.text("abc.", min_size=1, max_size=6),
    st.tuples(
        st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.int64]),
        st.lists(st.integers(0, 3), max_size=3),
    ),
    max_size=5,
)


@pytest.fixture
def ladder() -> Ladder:
    return plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())


def fresh_run(base: Path, ladder: Ladder) -> TrainingRun:
    return start_run(load_policy(base, rank=4), ladder.copy(), domain=DOMAIN, settings=SETTINGS, seed=1)


@given(specified=TENSORS)
def test_tensors_are_written_as_safetensors_does(
    specified: dict[str, tuple[torch.dtype, list[int]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("tensors") / "some.safetensors"
    tensors = {
        name: torch.arange(64)[: torch.Size(shape).numel()].reshape(shape).to(kind)
        for name, (kind, shape) in specified.items()
    }
    write_tensors(path, tensors)
    assert path.read_bytes() == save(tensors)


def test_a_transposed_tensor_is_written_in_its_order(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3).t()
    write_tensors(tmp_path / "t.safetensors", {"t": tensor})
    assert torch.equal(load_file(tmp_path / "t.safetensors")["t"], tensor)


def test_a_resumed_ladder_knows_that_the_model_could_not_propose(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    """What it has counted decides who derives the variants when it grows again."""
    run, again = fresh_run(shipped, ladder), fresh_run(shipped, ladder)
    run.ladder.counts[PROPOSALS] = 9
    save_checkpoint(run, tmp_path)
    assert restore_checkpoint(again, tmp_path)
    assert again.ladder == run.ladder
    assert has_failed_to_propose(again.ladder)


@pytest.mark.parametrize(("fused", "place"), [(True, "meta"), (None, "cpu")])
def test_step_counts_are_restored_where_the_optimizer_reads_them(
    shipped: Path, ladder: Ladder, tmp_path: Path, *, fused: bool | None, place: str
) -> None:
    """The device `meta` stands for a GPU, where the optimizer is fused."""
    run, again = fresh_run(shipped, ladder), fresh_run(shipped, ladder)
    for parameter in run.policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    save_checkpoint(run, tmp_path)
    pairs = {name: (a.detach().to("meta"), b.detach().to("meta")) for name, (a, b) in again.policy.lora.items()}
    again.policy = replace(again.policy, lora=pairs)
    again.optimizer = torch.optim.AdamW(again.policy.parameters(), fused=fused)
    assert restore_checkpoint(again, tmp_path)
    states = list(again.optimizer.state.values())
    assert {state["step"].device.type for state in states} == {place}
    assert {state["exp_avg"].device.type for state in states} == {"meta"}


def test_what_grows_is_added_and_not_written_again(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    run, inodes, sizes = fresh_run(shipped, ladder), [], []
    for _ in range(3):
        train_step(run, budget_used=0.0)
        folder = save_checkpoint(run, tmp_path)
        grown = sorted(folder.glob("grown-*.json"))
        inodes.append([path.stat().st_ino for path in grown])
        sizes.append([len(json.loads(path.read_text())["curve"]) for path in grown])
    assert sizes == [[1], [1, 1], [1, 1, 1]]
    assert inodes[0] == inodes[1][:1] == inodes[2][:1]
    again = fresh_run(shipped, ladder)
    assert restore_checkpoint(again, tmp_path)
    assert (again.curve, again.rewarded) == (run.curve, run.rewarded)
    assert run.rewarded


def test_a_checkpoint_of_an_older_revision_is_continued(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    """Before, `run.json` held the whole curve and all rewarded answers."""
    run = fresh_run(shipped, ladder)
    for _ in range(2):
        train_step(run, budget_used=0.0)
    folder = save_checkpoint(run, tmp_path)
    described = json.loads((folder / "run.json").read_text())
    del described["kept"]
    described |= json.loads((folder / "grown-000000.json").read_text())
    (folder / "run.json").write_text(json.dumps(described))
    (folder / "grown-000000.json").unlink()
    again = fresh_run(shipped, ladder)
    assert restore_checkpoint(again, tmp_path)
    assert (again.step, again.curve, again.rewarded) == (2, run.curve, run.rewarded)
    train_step(again, budget_used=0.0)
    assert len(sorted(save_checkpoint(again, tmp_path).glob("grown-*.json"))) == 1
    third = fresh_run(shipped, ladder)
    assert restore_checkpoint(third, tmp_path)
    assert (third.curve, third.rewarded) == (again.curve, again.rewarded)


def test_without_a_checkpoint_nothing_is_restored(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    assert not restore_checkpoint(fresh_run(shipped, ladder), tmp_path)


@pytest.mark.parametrize(
    ("when", "steps"), [((0.0, 1), [1, 2, 3, 4]), ((0.0, 3), [3, 4]), ((2.0, 1), [2, 4]), ((60.0, 1), [4])]
)
def test_checkpoints_are_written_by_step_and_by_time(
    when: tuple[float, int], steps: list[int], shipped: Path, ladder: Ladder, tmp_path: Path
) -> None:
    """The clock advances by a minute each time it is read, twice a step with a checkpoint and once without."""
    written: list[int] = []

    def ticks() -> Iterator[float]:
        yield from range(0, 6000, 60)

    clock = ticks()
    settings = SETTINGS.model_copy(update={"checkpoint_minutes": when[0], "checkpoint_every": when[1]})
    job = TrainingJob(
        base=shipped,
        adapter=None,
        ladder=ladder,
        workdir=tmp_path,
        settings=settings,
        ladder_settings=LadderSettings(rollouts=1),
        seed=5,
        threads=1,
    )

    def keep(folder: Path) -> None:
        described = json.loads((folder / "run.json").read_text())
        if described["step"] not in written:
            written.append(described["step"])

    train(job, on_checkpoint=keep, clock=lambda: next(clock))
    assert written == steps


def test_a_full_disk_is_an_error_of_the_system() -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("no /dev/full here")
    from pathlib import Path

    with pytest.raises(OSError, match="No space left"):
        write_tensors(Path("/dev/full"), {"t": torch.zeros(100_000)})
