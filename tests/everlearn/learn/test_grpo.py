"""The update: what the mathematics promises."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from everlearn.learn.grpo import advantages, divergence, policy_loss

rewards = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), min_size=1, max_size=5).map(
    torch.tensor
)
CLIP = {"clip_low": 0.2, "clip_high": 0.28, "truncate": 2.0}


@given(rewards)
def test_advantages_of_a_group_sum_to_zero(given_rewards: torch.Tensor) -> None:
    torch.testing.assert_close(advantages(given_rewards).sum(1), torch.zeros(len(given_rewards)), atol=1e-6, rtol=0)


@given(rewards)
def test_a_group_without_variance_teaches_nothing(given_rewards: torch.Tensor) -> None:
    dull = given_rewards.amax(dim=1) == given_rewards.amin(dim=1)
    assert torch.equal(advantages(given_rewards)[dull], torch.zeros(int(dull.sum()), 4))


def test_on_policy_the_gradient_is_that_of_reinforce() -> None:
    new = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    gain = torch.tensor([0.5, -0.5])
    policy_loss(new, new.detach(), new.detach(), gain, mask=mask, **CLIP).backward()
    assert new.grad is not None
    assert torch.equal(new.grad, -gain[:, None] * mask)


def test_beyond_the_clip_there_is_no_more_gradient() -> None:
    old = torch.tensor([[-1.0], [-1.0]])
    new = torch.tensor([[-0.5], [-1.5]], requires_grad=True)
    policy_loss(new, old, old, torch.tensor([1.0, -1.0]), mask=torch.ones(2, 1), **CLIP).backward()
    assert new.grad is not None
    assert torch.equal(new.grad, torch.zeros(2, 1))


def test_importance_weights_between_sampler_and_trainer_are_truncated() -> None:
    old = torch.tensor([[-1.0]])
    losses = [policy_loss(old, old, old - gap, torch.ones(1), mask=torch.ones(1, 1), **CLIP) for gap in (0.0, 0.5, 9.0)]
    assert [round(float(loss), 3) for loss in losses] == [-1.0, -1.649, -2.0]


@given(st.lists(st.floats(-5, 0), min_size=3, max_size=3), st.lists(st.floats(-5, 0), min_size=3, max_size=3))
def test_divergence_is_never_negative_and_zero_for_the_parent_itself(new: list[float], parent: list[float]) -> None:
    mask = torch.ones(1, 3)
    assert float(divergence(torch.tensor([new]), torch.tensor([parent]), mask=mask)) >= -1e-6
    assert float(divergence(torch.tensor([new]), torch.tensor([new]), mask=mask)) == 0.0
