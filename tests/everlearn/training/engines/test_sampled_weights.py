"""Which weights gave the log-probabilities: told by the direction of the difference, not by its size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everlearn.training.engines.sampled_weights import other_weights

TOKENS = 256
sizes, differences = st.floats(1e-3, 1.0), st.floats(0.01, 1.0)


def draw(seed: int, *, size: float) -> torch.Tensor:
    return size * torch.randn(TOKENS, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10**9), sizes, sizes)
def test_rounding_alone_names_no_other_weights(seed: int, rounding: float, difference: float) -> None:
    ours = draw(seed, size=3.0)
    others = {"before": ours + draw(seed + 1, size=difference), "base": ours + draw(seed + 2, size=3 * difference)}
    assert other_weights(ours + draw(seed + 3, size=rounding), ours, others) is None


@given(st.integers(0, 10**9), differences, st.sampled_from(["before", "base"]))
def test_other_weights_are_named_through_rounding_of_the_same_size(seed: int, difference: float, used: str) -> None:
    ours = draw(seed, size=3.0)
    others = {"before": ours + draw(seed + 1, size=difference), "base": ours + draw(seed + 2, size=difference)}
    assert other_weights(others[used] + draw(seed + 3, size=difference), ours, others) == used


@pytest.mark.parametrize("difference", [0.0, 1e-6])
def test_weights_that_make_no_difference_are_not_named(difference: float) -> None:
    ours = draw(1, size=3.0)
    assert other_weights(ours + draw(2, size=0.05), ours, {"before": ours + draw(3, size=difference)}) is None


@pytest.mark.parametrize("tokens", [1, 3])
def test_the_rounding_of_a_few_tokens_names_no_other_weights(tokens: int) -> None:
    """A policy that is nearly sure of all other tokens gives them the same log-probability whatever the weights are."""
    ours, other, rounding = torch.zeros(TOKENS), torch.zeros(TOKENS), torch.zeros(TOKENS)
    other[:tokens] = torch.tensor([0.1, 0.07, 0.05])[:tokens]
    rounding[:tokens] = torch.tensor([0.07, 0.05, 0.02])[:tokens]
    noise = draw(4, size=1e-4)
    assert other_weights(ours + rounding + noise, ours, {"cooler": ours + other}) is None
