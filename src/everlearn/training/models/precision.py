"""Choice between float32 and bfloat16 for decoding."""

from __future__ import annotations

import torch


def has_fast_bf16() -> bool:
    """Return whether this CPU multiplies bfloat16 matrices faster than float32 ones: AMX, or AVX-512's dot products of them."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 (no public names)


def use_bf16(setting: bool | None) -> bool:  # noqa: FBT001 (the setting `learn.bf16` is the only argument)
    """Return the setting `learn.bf16`, or what is faster on this CPU where it is None."""
    return has_fast_bf16() if setting is None else setting
