"""Pretraining the default base from scratch."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.integration.moves import MOVES
from everlearn.training.base_model import pretrain as pretraining
from everlearn.training.base_model.pretrain import draw_batch, pretrain
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.llama import Llama
from everlearn.training.models.policy import load_policy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two steps of pretraining, without the measurements of the card."""
    monkeypatch.setattr(pretraining, "write_card", lambda *_, **__: None)
    for name in ("first", "second"):
        pretrain(out=tmp_path / name, seed=0, steps=2, rows=8, rate=3e-3, moves=0.25)
    return tmp_path


def test_pretraining_is_reproducible_and_our_forward_pass_runs_it(base: Path) -> None:
    assert fingerprint(base / "first") == fingerprint(base / "second")
    assert isinstance(load_policy(base / "first").base_model, Llama)


@pytest.mark.parametrize(("moves", "expected"), [(0.0, False), (1.0, True)])
def test_a_batch_holds_the_share_of_moves(moves: float, *, expected: bool) -> None:
    prompts = [prompt for prompt, _ in draw_batch(random.Random(1), rows=20, moves=moves)]
    assert all((prompt.split()[0] in MOVES) is expected for prompt in prompts)
