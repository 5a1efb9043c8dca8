"""The memory plan of an update."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from everlearn.settings import ComputeSettings, LearnSettings
from everlearn.training.memory_estimate import GIB
from everlearn.training.memory_plan import bytes_per_token, plan, update_memory
from everlearn.training.models.hub import HubModel
from everlearn.training.models.llama import Model, token_logprobs
from everlearn.training.models.policy import Policy, load_policy
from tests.support.tiny_models import write_model

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = [[1, *range(4, 30)], [1, *range(8, 34)]]
ANSWERS = [[5 + (row + at) % 40 for at in range(48)] for row in range(16)]


def kept_bytes(model: Model) -> int:
    """Return the bytes that the forward pass of an update keeps for its backward pass, without the weights."""
    seen: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # so that no address is reused
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.weights.values()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores, _ = token_logprobs(model, PROMPTS, ANSWERS)
    scores.sum().backward()
    return sum(seen.values())


@pytest.fixture(scope="module")
def policy(shipped: Path) -> Policy:
    return load_policy(shipped, rank=4)


@pytest.mark.parametrize("bf16", [False, True])
def test_the_estimate_is_near_the_measured_bytes(policy: Policy, *, bf16: bool) -> None:
    model = policy.trained(policy.snapshot(bf16=bf16))
    tokens = sum(map(len, ANSWERS))
    share = sum(map(len, PROMPTS)) * len(ANSWERS) / len(PROMPTS) / tokens
    estimated = bytes_per_token(model, prompt_share=share) * tokens
    measured = kept_bytes(model)
    assert 0.7 <= estimated / measured <= 1.5, (estimated / GIB, measured / GIB)
    assert kept_bytes(policy.trained(policy.snapshot(bf16=bf16), checkpointing=True)) < measured / 2


def test_activation_checkpointing_gives_the_same_gradient(policy: Policy) -> None:
    gradients = []
    for checkpointing in (False, True):
        scores, _ = token_logprobs(policy.trained(policy.snapshot(), checkpointing=checkpointing), PROMPTS, ANSWERS)
        gradients.append(torch.autograd.grad(scores.sum(), policy.parameters()))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["llama", "qwen2, biases", "gemma, tied", "gpt_neox", "gpt2, transposed weights"])
def test_the_estimate_for_other_architectures_is_not_far_off(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    base = write_model(family, tmp_path / "base", dtype=dtype)
    other = load_policy(base, rank=4, compute=ComputeSettings(policy="hub"))
    tokens = sum(map(len, ANSWERS))
    share = sum(map(len, PROMPTS)) * len(ANSWERS) / len(PROMPTS) / tokens
    model = other.trained(other.snapshot())
    measured = kept_bytes(model)
    assert 0.7 <= bytes_per_token(model, prompt_share=share) * tokens / measured <= 2.0
    assert kept_bytes(other.trained(other.snapshot(), checkpointing=True)) < measured / 2


def test_all_logits_are_counted_where_a_model_needs_them(tmp_path: Path) -> None:
    base = write_model("gemma2, capped logits", tmp_path / "base")
    model = load_policy(base, compute=ComputeSettings(policy="hub")).base_model
    assert isinstance(model, HubModel)
    more = bytes_per_token(model, prompt_share=0.0) - bytes_per_token(replace(model, chunked=True), prompt_share=0.0)
    assert more == 12 * model.vocabulary - 4 * model.head.shape[1]


def test_an_update_has_a_share_of_what_the_base_leaves_of_a_gpu(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1, 24 * GIB))
    base = {"weight": torch.empty(14 * GIB // 2, dtype=torch.bfloat16, device="meta")}
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda"), weights=base)
    assert update_memory(on_gpu, LearnSettings()) == pytest.approx(4.0)
    assert update_memory(on_gpu, LearnSettings(memory_gib=9.5)) == 9.5
    assert update_memory(policy.base_model, LearnSettings()) == 4.0


def test_batches_shrink_before_layers_are_checkpointed(policy: Policy) -> None:
    model = policy.snapshot()
    plans = [
        plan(model, longest=800, prompt=30, settings=LearnSettings(memory_gib=memory))
        for memory in (8.0, 0.1, 0.01, 0.001)
    ]
    assert [each.checkpointing for each in plans] == sorted(each.checkpointing for each in plans)
    assert not plans[1].checkpointing
    assert plans[1].tokens < plans[0].tokens == LearnSettings().tokens
    assert plans[3].checkpointing
