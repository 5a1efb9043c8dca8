"""The mathematics of the update, as properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from everlearn.settings import LearnSettings
from everlearn.training.grpo import advantages, divergence, policy_loss, token_weights

SETTINGS = LearnSettings()
SEQUENCE = LearnSettings(loss="grpo", importance="sequence")
rewards = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), min_size=1, max_size=5).map(
    torch.tensor
)
lengths = st.lists(st.integers(1, 9), min_size=2, max_size=12)
variants = st.sampled_from(
    [LearnSettings(), LearnSettings(loss="dr_grpo"), LearnSettings(loss="grpo", scale_rewards=True), SEQUENCE]
)


def drawn(counts: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return new and old log-probabilities, advantages and the mask for answers of those lengths."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(counts), max(counts))
    new = -torch.rand(shape, generator=generator) * 3
    old = new + torch.randn(shape, generator=generator) * 0.3
    mask = torch.arange(shape[1]) < torch.tensor(counts)[:, None]
    return new, old, torch.randn(len(counts), generator=generator), mask


@given(rewards, st.booleans())
def test_advantages_of_a_group_sum_to_zero(given_rewards: torch.Tensor, scaled: bool) -> None:  # noqa: FBT001
    total = advantages(given_rewards, scaled=scaled).sum(1)
    torch.testing.assert_close(total, torch.zeros(len(given_rewards)), atol=1e-5, rtol=0)


@given(rewards, st.booleans())
def test_a_group_without_variance_has_zero_advantages(given_rewards: torch.Tensor, scaled: bool) -> None:  # noqa: FBT001
    constant = given_rewards.amax(dim=1) == given_rewards.amin(dim=1)
    assert torch.equal(advantages(given_rewards, scaled=scaled)[constant], torch.zeros(int(constant.sum()), 4))


@given(rewards)
def test_scaled_advantages_have_unit_variance_or_none(given_rewards: torch.Tensor) -> None:
    varied = given_rewards.amax(dim=1) > given_rewards.amin(dim=1)
    spread = advantages(given_rewards, scaled=True).std(dim=1)
    torch.testing.assert_close(spread, varied.float(), atol=1e-3, rtol=0)


@given(lengths, st.integers(0, 99), variants)
def test_masked_tokens_have_no_effect(counts: list[int], seed: int, settings: LearnSettings) -> None:
    new, old, gain, mask = drawn(counts, seed)
    noise = torch.where(mask, 0.0, torch.nan_to_num(old - 40))
    plain = policy_loss(new, old, old, gain, mask=mask, settings=settings)
    noisy = policy_loss(new + noise, old, old - noise, gain, mask=mask, settings=settings)
    assert torch.equal(plain, noisy)
    assert torch.equal(plain[~mask], torch.zeros(int((~mask).sum())))


@given(lengths, st.integers(0, 99), variants, st.integers(1, 11))
def test_the_loss_does_not_depend_on_the_cut_into_batches(
    counts: list[int], seed: int, settings: LearnSettings, cut: int
) -> None:
    new, old, gain, mask = drawn(counts, seed)

    def part(rows: slice) -> torch.Tensor:
        weights = token_weights(mask[rows].sum(1), settings=settings, answers=len(counts), tokens=sum(counts))
        loss = policy_loss(new[rows], old[rows], old[rows], gain[rows], mask=mask[rows], settings=settings)
        return (loss * weights).sum()

    torch.testing.assert_close(part(slice(None)), part(slice(cut)) + part(slice(cut, None)), atol=1e-5, rtol=1e-5)


@given(lengths)
def test_answers_or_tokens_have_the_weight_of_the_loss(counts: list[int]) -> None:
    sizes = torch.tensor(counts)
    by = {
        loss: token_weights(
            sizes, settings=LearnSettings(loss=loss, loss_length=7), answers=len(counts), tokens=sum(counts)
        )[:, 0]
        for loss in ("grpo", "dr_grpo", "dapo")
    }
    torch.testing.assert_close(by["grpo"] * sizes, torch.full((len(counts),), 1 / len(counts)))
    torch.testing.assert_close(by["dr_grpo"], torch.full((len(counts),), 1 / (7 * len(counts))))
    torch.testing.assert_close((by["dapo"] * sizes).sum(), torch.tensor(1.0))


def test_a_sequence_level_ratio_needs_the_grpo_loss() -> None:
    with pytest.raises(ValidationError, match="needs loss: grpo"):
        LearnSettings(importance="sequence")


def test_the_on_policy_gradient_is_that_of_reinforce() -> None:
    new = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    gain = torch.tensor([0.5, -0.5])
    policy_loss(new, new.detach(), new.detach(), gain, mask=mask, settings=SETTINGS).sum().backward()
    assert new.grad is not None
    assert torch.equal(new.grad, -gain[:, None] * mask)


def test_the_gradient_beyond_the_clip_is_zero() -> None:
    old = torch.tensor([[-1.0], [-1.0]])
    new = torch.tensor([[-0.5], [-1.5]], requires_grad=True)
    policy_loss(new, old, old, torch.tensor([1.0, -1.0]), mask=torch.ones(2, 1), settings=SETTINGS).sum().backward()
    assert new.grad is not None
    assert torch.equal(new.grad, torch.zeros(2, 1))


def test_importance_weights_of_the_sampler_are_truncated() -> None:
    old = torch.tensor([[-1.0]])
    losses = [
        policy_loss(old, old, old - gap, torch.ones(1), mask=torch.ones(1, 1), settings=SETTINGS)
        for gap in (0.0, 0.5, 9.0)
    ]
    assert [round(float(loss), 3) for loss in losses] == [-1.0, -1.649, -2.0]


@given(st.lists(st.floats(-5, 0), min_size=3, max_size=3), st.lists(st.floats(-5, 0), min_size=3, max_size=3))
def test_the_divergence_is_positive_and_zero_for_the_parent(new: list[float], parent: list[float]) -> None:
    mask, ours, theirs = torch.ones(1, 3), torch.tensor([new]), torch.tensor([parent])
    assert float(divergence(ours, ours, theirs, mask=mask).min()) >= -1e-6
    assert float(divergence(ours, ours, ours, mask=mask).sum()) == 0.0


def test_the_divergence_estimate_has_an_unbiased_gradient() -> None:
    logits = torch.tensor([0.3, -0.7, 1.1], requires_grad=True)
    parent = torch.log_softmax(torch.tensor([-0.2, 0.4, 0.1]), 0)
    policy = torch.log_softmax(logits, 0)
    (exact,) = torch.autograd.grad((policy.exp() * (policy - parent)).sum(), logits, retain_graph=True)
    each = divergence(policy[:, None], policy.detach()[:, None], parent[:, None], mask=torch.ones(3, 1))[:, 0]
    (mean,) = torch.autograd.grad((policy.detach().exp() * each).sum(), logits)
    torch.testing.assert_close(mean, exact)
