"""Pretraining the default base from scratch."""

from __future__ import annotations

import random
from functools import partial
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
        pretrain(out=tmp_path / name, seed=0, steps=2, rows=8, rate=3e-3, moves=0.25, compositions=0.5)
    return tmp_path


def test_pretraining_is_reproducible_and_our_forward_pass_runs_it(base: Path) -> None:
    assert fingerprint(base / "first") == fingerprint(base / "second")
    assert isinstance(load_policy(base / "first").base_model, Llama)


def test_the_control_at_plain_positions_is_an_ordinary_llama_without_a_card(tmp_path: Path) -> None:
    pretrain(out=tmp_path, seed=0, steps=2, rows=8, rate=3e-3, moves=0.25, compositions=0.5, positions="plain")
    policy = load_policy(tmp_path)
    assert (policy.is_marked, (tmp_path / "README.md").exists()) == (False, False)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_batch_holds_the_shares_of_moves_and_compositions(share: float) -> None:
    draw = partial(draw_batch, random.Random(1), rows=20)
    moves = [prompt for prompt, _ in draw(moves=share, compositions=0.5)]
    assert all((prompt.split()[0] in MOVES) is bool(share) for prompt in moves)
    products = [prompt for prompt, _ in draw(moves=1.0, compositions=share)]
    assert all(("> * " in prompt) is bool(share) for prompt in products)
