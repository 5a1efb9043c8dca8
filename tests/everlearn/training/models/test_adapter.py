"""Adapter files in peft's format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import IA3Config

from everlearn.errors import ModelError
from everlearn.registry.adapter_settings import CONFIG, WEIGHTS
from everlearn.registry.adapter_validation import check_directory
from everlearn.training.models.adapter import load_adapter, save_adapter

if TYPE_CHECKING:
    from pathlib import Path

LORA = {
    "model.layers.0.mlp.up_proj": (torch.full((4, 3), 0.5), torch.ones(5, 4)),
    "model.layers.0.self_attn.q_proj": (torch.zeros(4, 3), torch.zeros(3, 4)),
}
MINIMAL = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return save_adapter(tmp_path / "adapter", LORA, rank=4, alpha=8)


def change(adapter: Path, **settings: Any) -> Path:
    described = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(described | settings))
    return adapter


def test_a_saved_adapter_is_loaded_unchanged(adapter: Path) -> None:
    config, tensors = load_adapter(adapter)
    assert (config.r, config.lora_alpha, config.task_type) == (4, 8, "CAUSAL_LM")
    for name, pair in LORA.items():
        for side, tensor in zip("AB", pair, strict=True):
            assert torch.equal(tensors.pop(f"base_model.model.{name}.lora_{side}.weight"), tensor)
    assert not tensors


def test_a_saved_adapter_passes_the_check_of_the_registry(adapter: Path) -> None:
    check_directory(adapter)


def test_equal_adapters_have_equal_bytes(adapter: Path, tmp_path: Path) -> None:
    again = save_adapter(tmp_path / "again", LORA, rank=4, alpha=8)
    assert [(again / name).read_bytes() for name in (WEIGHTS, CONFIG)] == [
        (adapter / name).read_bytes() for name in (WEIGHTS, CONFIG)
    ]
    assert json.loads((adapter / CONFIG).read_text())["target_modules"] == ["q_proj", "up_proj"]


def test_an_adapter_with_few_settings_can_be_loaded(adapter: Path) -> None:
    (adapter / CONFIG).write_text(json.dumps(MINIMAL))
    config, _ = load_adapter(adapter)
    assert config.lora_alpha == 8


@pytest.mark.parametrize("setting", ["use_rslora", "use_dora"])
def test_an_adapter_that_is_more_than_plain_lora_is_refused(adapter: Path, setting: str) -> None:
    with pytest.raises(ModelError, match=f"sets {setting}: only plain LoRA"):
        load_adapter(change(adapter, **{setting: True}))


def test_an_adapter_of_another_method_is_refused(adapter: Path) -> None:
    IA3Config(target_modules=["q_proj"], feedforward_modules=[]).save_pretrained(str(adapter))
    with pytest.raises(ModelError, match="is of type IA3"):
        load_adapter(adapter)


def test_an_adapter_without_weights_is_refused(adapter: Path) -> None:
    (adapter / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"has no {WEIGHTS}"):
        load_adapter(adapter)
