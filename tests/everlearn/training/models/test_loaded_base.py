"""A base model is read once a process, for all policies on it, unless its files or the settings change."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from everlearn.domains.contract import load_domain
from everlearn.settings import ComputeSettings
from everlearn.training.evaluation import measure
from everlearn.training.models import policy
from everlearn.training.models.policy import load_base, load_policy
from tests.support.tiny_base import write_base

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders from which weights were read."""
    names: list[str] = []
    read = AutoModelForCausalLM.from_pretrained

    def counted(base: Path, **options: Any) -> Any:
        names.append(base.name)
        return read(base, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    monkeypatch.setattr(policy, "_KEPT", {})
    return names


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    return write_base(tmp_path / "qwen", kind=Qwen2Config)


def test_suites_and_contestants_share_one_base(shipped: Path, tmp_path: Path, reads: list[str]) -> None:
    adapter = load_policy(shipped, rank=2).save(tmp_path / "adapter")
    problems = [DOMAIN.problem("2*x"), DOMAIN.problem("cos(x)")]
    for suite in (problems[:1], problems[1:]):
        for contestant in (None, adapter):
            measure(shipped, contestant, suite, seed=0, threads=1)
    assert reads == [shipped.name]


def test_policies_on_one_base_do_not_see_each_other(shipped: Path, reads: list[str]) -> None:
    one, other = load_policy(shipped, rank=2), load_policy(shipped, rank=2, seed=1)
    with torch.no_grad():
        for _, b in one.lora.values():
            b.fill_(0.1)
    assert all(not bool(b.any()) for _, b in other.lora.values())
    name = next(iter(one.lora))
    assert not torch.equal(one.snapshot().weights[f"{name}.weight"], other.snapshot().weights[f"{name}.weight"])
    assert reads == [shipped.name]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer_config.json"])
def test_a_changed_file_is_read_again(name: str, qwen: Path, reads: list[str]) -> None:
    first = load_base(qwen)
    assert load_base(qwen) is first
    shutil.copy(qwen / name, qwen / "copy")
    (qwen / "copy").replace(qwen / name)
    assert load_base(qwen) is not first
    assert reads == [qwen.name] * 2


def test_other_settings_load_the_base_again_and_one_is_kept(qwen: Path, reads: list[str]) -> None:
    loaded = [load_base(qwen, compute=ComputeSettings(dtype=dtype)) for dtype in ("auto", "bfloat16", "bfloat16")]
    assert loaded[1] is loaded[2] is not loaded[0]
    assert loaded[1].model.head.dtype == torch.bfloat16
    assert len(policy._KEPT) == 1
    assert reads == [qwen.name] * 2


def test_the_fast_policy_is_in_float32_whether_demanded_or_not(shipped: Path, reads: list[str]) -> None:
    assert load_base(shipped) is load_base(shipped, compute=ComputeSettings(dtype="float32"))
    assert reads == [shipped.name]
