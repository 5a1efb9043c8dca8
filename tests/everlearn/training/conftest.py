"""Fixtures: an untrained model small enough for every test, and the shipped base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from everlearn.training.base_model.pretrain import build_model
from everlearn.training.base_model.tokenizer import build_tokenizer

SHIPPED = Path(__file__).parents[3] / "data" / "base"


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the default architecture, 2 layers of width 32, on disk."""
    path = tmp_path_factory.mktemp("tiny")
    tokenizer = build_tokenizer()
    build_model(tokenizer, seed=0, width=32, layers=2).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def shipped() -> Path:
    return SHIPPED
