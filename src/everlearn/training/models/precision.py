"""Choice between float32 and bfloat16, and how merged weights are rounded."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from everlearn.training.models.weight_files import read_weight_files

if TYPE_CHECKING:
    from pathlib import Path

_BELOW_BF16 = 0x10000
"""bfloat16 is the upper half of the bits of float32: this is its last bit."""


def has_fast_bf16() -> bool:
    """Return whether this CPU multiplies bfloat16 matrices faster than float32 ones: AMX, or AVX-512's dot products of them."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 (no public names)


def use_bf16(setting: bool | None) -> bool:  # noqa: FBT001 (the setting `learn.bf16` is the only argument)
    """Return the setting `learn.bf16`, or what is faster on this CPU where it is None."""
    return has_fast_bf16() if setting is None else setting


def own_dtype(stated: torch.dtype | None, base: Path) -> torch.dtype | str:
    """Return the type for a base that is computed as it is stored: `auto`, or bfloat16 for float16.

    `stated` is that of its config. A token's weight in the loss of a step is 1e-4 to 1e-7, and float16 has no number
    below 6e-8: gradients would lose their last digits there, or be 0.
    """
    is_half = read_weight_files(base).dtypes[:1] == ("F16",) if stated is None else stated == torch.float16
    return torch.bfloat16 if is_half else "auto"


def round_merged(weight: torch.Tensor) -> torch.Tensor:
    """Return a merged float32 weight in bfloat16, by stochastic rounding with fixed thresholds; `weight` is overwritten.

    Rounding to the nearest would lose a whole update that is smaller than half of a weight's last bit, which the first
    hundred steps of a small learning rate are, and a base that is stored in bfloat16 would answer instead of the
    policy. Here the update is there on average over the weights. A value that bfloat16 has stays as it is. Which ones
    are rounded up depends on their place alone.
    """
    bits = weight.view(torch.int32)
    bits += _thresholds(weight.numel()).view_as(bits)
    bits &= -_BELOW_BF16
    return weight.bfloat16()


@functools.lru_cache(maxsize=8)
def _thresholds(count: int) -> torch.Tensor:
    """Return that many whole numbers below the last bit of bfloat16, always the same ones."""
    generator = torch.Generator().manual_seed(count)
    return torch.randint(_BELOW_BF16, (count,), generator=generator, dtype=torch.int32)
