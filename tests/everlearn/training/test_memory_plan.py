"""The memory plan of an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from everlearn.settings import LearnSettings
from everlearn.training.memory_plan import GIB, bytes_per_token, plan
from everlearn.training.models.llama import Model, token_logprobs
from everlearn.training.models.policy import Policy, load_policy

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
