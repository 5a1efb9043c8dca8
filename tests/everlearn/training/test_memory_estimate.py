"""The memory that a night needs, from headers alone, and the memory that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, Qwen2Config

from everlearn.errors import ModelError
from everlearn.settings import ComputeSettings, FormatSettings, LearnSettings, RolloutSettings, Settings
from everlearn.training import memory_estimate
from everlearn.training.memory_estimate import (
    GIB,
    MemoryEstimate,
    available_memory,
    estimate,
    estimate_folder,
    require_memory,
    reserved_for_vllm,
)
from everlearn.training.models.adapted_base import FastPolicy
from everlearn.training.models.base_checks import check_base, read_config
from everlearn.training.models.policy import load_policy
from everlearn.training.models.weight_files import TensorHeader, WeightFiles
from tests.support.tiny_base import write_base

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {"num_hidden_layers": 28, "hidden_size": 1536, "num_attention_heads": 12, "num_key_value_heads": 2}
GPT2 = {"n_layer": 12, "n_embd": 768, "n_head": 12}


def weights_of(**shapes: tuple[int, ...]) -> WeightFiles:
    tensors = {name: TensorHeader(dtype="BF16", shape=shape, size=0) for name, shape in shapes.items()}
    return WeightFiles(files=(), tensors=tensors)


def test_base_copies_and_adapter_are_those_of_the_loaded_policy(shipped: Path) -> None:
    settings = Settings(learn=LearnSettings(rank=8))
    counted = estimate(check_base(shipped), read_config(shipped), settings, in_fast_policy=True)
    policy = load_policy(shipped, rank=8)
    linear = sum(policy.base_weights[f"{name}.weight"].numel() for name in policy.lora)
    assert counted.copies == 2 * 4 * linear
    assert counted.adapter == 5 * 4 * sum(tensor.numel() for tensor in policy.parameters())
    distinct = {tensor.data_ptr(): tensor.numel() for tensor in policy.base_weights.values()}
    assert counted.base == 4 * sum(distinct.values())


def test_each_process_has_its_own_base(shipped: Path) -> None:
    one, two = (
        estimate_folder(shipped, check_base(shipped), Settings(learn=LearnSettings(processes=count)))[0]
        for count in (1, 2)
    )
    assert (two.base, two.copies, two.adapter) == (2 * one.base, 2 * one.copies, 2 * one.adapter)
    assert two.cache == one.cache


def test_keys_and_values_follow_the_config() -> None:
    settings = Settings(learn=LearnSettings(prompts=16, group=8), format=FormatSettings(max_tokens=100))
    for config, each in ((CONFIG, 28 * 2 * 128), (GPT2, 12 * 12 * 64), (CONFIG | {"head_dim": 64}, 28 * 2 * 64)):
        assert estimate(weights_of(), config, settings, in_fast_policy=False).cache == 2 * 2 * each * 16 * 8 * 128
    assert estimate(weights_of(), {}, settings, in_fast_policy=False).total == 0


def test_the_cache_is_that_of_the_longest_answers_decoded_at_once() -> None:
    learn = LearnSettings(prompts=1, group=2)
    few, many, most = (Settings(learn=learn, format=FormatSettings(max_tokens=count)) for count in (100, 300, 10**6))
    per_token = 2 * 28 * 2 * 128
    assert estimate(weights_of(), CONFIG, many, in_fast_policy=False).cache == 2 * per_token * 2 * 300
    assert estimate(weights_of(), CONFIG, few, in_fast_policy=True).cache == 4 * 6 * per_token * 2 * 128, "of each head"
    assert estimate(weights_of(), CONFIG, most, in_fast_policy=False).cache == 4 * GIB


def test_embeddings_and_norms_get_no_adapter() -> None:
    weights = weights_of(**{"wte.weight": (10, 4), "model.embed_tokens.weight": (10, 4), "norm.weight": (4,)})
    counted = estimate(weights, {}, Settings(), in_fast_policy=True)
    assert (counted.base, counted.copies, counted.adapter) == (4 * 84, 0, 0)


@pytest.mark.parametrize(("dtype", "base", "cache"), [("auto", 168, 2), ("float32", 336, 4), ("bfloat16", 168, 2)])
def test_the_hub_policy_keeps_one_base_in_its_type(dtype: Any, base: int, cache: int) -> None:
    weights = WeightFiles(files=(), tensors={"up.weight": TensorHeader(dtype="BF16", shape=(12, 7), size=168)})
    learn, form = LearnSettings(prompts=1, group=2), FormatSettings(max_tokens=100)
    settings = Settings(compute=ComputeSettings(dtype=dtype), learn=learn, format=form)
    counted = estimate(weights, {"n_layer": 1, "n_embd": 8, "n_head": 2}, settings, in_fast_policy=False)
    assert (counted.base, counted.copies) == (base, 0)
    assert counted.cache == 2 * cache * 8 * 2 * 128


@pytest.mark.parametrize(
    ("compute", "proof"),
    [
        ({"policy": "hub"}, 4 * (12 * 7 + 10 * 4)),
        ({"dtype": "float32", "policy": "hub"}, 4 * (12 * 7 + 10 * 4)),
        ({"quantization": "nf4"}, round(0.52 * 12 * 7) + 4 * 10 * 4),
    ],
)
def test_the_proof_has_the_base_in_float32(compute: Any, proof: int) -> None:
    """The linear layers of a quantized base stay in 4 bits there, and its embeddings are in float32."""
    weights = weights_of(**{"up.weight": (12, 7), "embed_tokens.weight": (10, 4)})
    settings = Settings(compute=compute, learn=LearnSettings(rank=2))
    without_heads = estimate(weights, {}, settings, in_fast_policy=False)
    assert without_heads.proof == pytest.approx(proof + 2 * 4 * 2 * (12 + 7), abs=1)
    with_heads = estimate(weights, {"n_layer": 1, "n_embd": 8, "n_head": 2}, settings, in_fast_policy=False)
    assert with_heads.proof - without_heads.proof == 2 * 4 * 8 * 72 * 128


def test_a_bfloat16_7b_is_counted_as_the_proof_loads_it() -> None:
    parameters = 7_600_000_000
    size = {"up.weight": TensorHeader(dtype="BF16", shape=(1000, parameters // 1000), size=2 * parameters)}
    hub = Settings(compute=ComputeSettings(policy="hub"), learn=LearnSettings(rank=1, prompts=1, group=2))
    needed = estimate(WeightFiles(files=(), tensors=size), CONFIG, hub, in_fast_policy=False)
    assert needed.training < 16 * GIB < 28 * GIB < needed.total < 30 * GIB
    assert "GiB to prove the adapter with the base in float32, and " in str(needed)
    require_memory(needed, available=30 * GIB, base="b")
    with pytest.raises(
        ModelError, match=r"needs about 28\.\d GiB to prove .*, and 24\.0 GiB are free; use a smaller base"
    ):
        require_memory(needed, available=24 * GIB, base="b")


def test_the_fast_policy_trains_in_more_than_the_proof_needs(shipped: Path) -> None:
    counted = estimate(check_base(shipped), read_config(shipped), Settings(), in_fast_policy=True)
    assert counted.proof < counted.training == counted.total


@pytest.mark.parametrize(("kind", "fast"), [(LlamaConfig, True), (Qwen2Config, False)])
def test_the_policy_of_the_architecture_decides(kind: Any, *, fast: bool, tmp_path: Path) -> None:
    base = write_base(tmp_path, kind=kind)
    needed, free = estimate_folder(base, check_base(base), Settings())
    assert (needed.copies > 0) == fast == isinstance(load_policy(base), FastPolicy)
    assert free > 0
    hub = Settings(compute=ComputeSettings(policy="hub"))
    assert estimate_folder(base, check_base(base), hub)[0].copies == 0


@given(needed=st.integers(0, 10**12), free=st.integers(0, 10**12))
def test_only_more_than_there_is_is_refused(needed: int, free: int) -> None:
    wanted = MemoryEstimate(base=needed, copies=0, adapter=0, cache=0)
    if needed <= free:
        require_memory(wanted, available=free, base="b")
        return
    with pytest.raises(
        ModelError, match=r"base model b needs about .* GiB are free; use a smaller base .*, lower format.max"
    ):
        require_memory(wanted, available=free, base="b")


def test_a_refusal_says_what_needs_how_much() -> None:
    wanted = MemoryEstimate(base=6 * GIB, copies=10 * GIB, adapter=GIB // 2, cache=GIB)
    assert str(wanted) == "17.5 GiB (base 6.0, merged copies 10.0, adapter 0.5, keys and values 1.0)"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 1000),
        ({"memory.max": "max\n"}, 1000),
        ({"memory.max": "700\n", "memory.current": "200\n"}, 500),
        ({"memory.max": "700\n"}, 700),
        ({"memory.max": "9000\n", "memory.current": "200\n"}, 1000),
    ],
)
def test_the_limit_of_a_container_counts(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    class Free:
        available = 1000

    monkeypatch.setattr(memory_estimate, "CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", Free)
    assert available_memory() == expected


def test_a_cuda_device_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def free_and_total(device: torch.device) -> tuple[int, int]:
        return {torch.device("cuda:1"): (7, 9)}[device]

    monkeypatch.setattr(torch.cuda, "mem_get_info", free_and_total)
    assert available_memory("cuda:1") == 7


def test_memory_of_a_vllm_server_of_our_own_is_not_free(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, own = check_base(shipped), RolloutSettings(engine="vllm", dtype="float32", gpu_share=0.25)
    elsewhere = RolloutSettings(engine="vllm", servers=("http://gpu-1:8000",), adapters=shipped)
    assert reserved_for_vllm(weights, Settings(), device="cpu") == 0
    assert reserved_for_vllm(weights, Settings(rollouts=elsewhere), device="cpu") == 0
    assert reserved_for_vllm(weights, Settings(rollouts=own), device="cpu") == 4 * weights.parameters + GIB
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (7 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert reserved_for_vllm(weights, Settings(rollouts=own), device="cuda:0") == 4 * GIB
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert reserved_for_vllm(weights, Settings(rollouts=own), device="cuda:0") == 0, "it has the other GPU"
