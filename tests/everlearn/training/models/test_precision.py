"""Merged weights in bfloat16: what training changes is in them, however small it is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everlearn.training.models.precision import round_merged

WEIGHTS = torch.randn(200, 300, generator=torch.Generator().manual_seed(0)).bfloat16().float()


@given(st.floats(-12, -6), st.sampled_from([-1.0, 1.0]))
def test_an_update_far_below_the_last_bit_is_there_on_average(exponent: float, sign: float) -> None:
    update = sign * WEIGHTS.abs() * 2**exponent  # the last bit of a weight is between 2^-8 and 2^-7 of it
    rounded = round_merged(WEIGHTS + update)
    assert rounded.dtype == torch.bfloat16
    change = rounded.float() - WEIGHTS
    assert float((change * update).sum() / (update * update).sum()) == pytest.approx(1.0, abs=0.35)
    assert float(change.abs().max() / WEIGHTS.abs().max()) < 2**-5


def test_bfloat16_values_stay_and_rounding_is_reproducible() -> None:
    assert torch.equal(round_merged(WEIGHTS.clone()), WEIGHTS.bfloat16())
    between = WEIGHTS * 1.001
    assert torch.equal(round_merged(between.clone()), round_merged(between.clone()))
