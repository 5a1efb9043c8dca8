"""How much an update needs, and how it is cut to fit: smaller batches first, which cost nothing, then frugal layers.

The limit is a setting and not what the machine has free at the moment: how a step is cut decides the last bits of its
sums, and a training that goes on elsewhere has to end the same.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.training.models.any_causal_lm import Generic

if TYPE_CHECKING:
    from everlearn.settings import LearnSettings
    from everlearn.training.models.llama import Model

GIB = 1 << 30
_KEPT = {-3: 32 << 20, -1: (2 << 30) - 1, -2: 64 << 20}
"""M_MMAP_THRESHOLD (as high as it goes), M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h, in bytes."""


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free: asking the kernel for the same pages again and again costs a tenth of a step."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for setting, value in _KEPT.items():
            libc.mallopt(setting, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Tokens of a batch, and whether its layers keep only their inputs (arXiv 1604.06174)."""

    tokens: int
    frugal: bool


def plan(model: Model, *, longest: int, prompt: int, settings: LearnSettings) -> MemoryPlan:
    """How to cut a step whose longest group has `longest` tokens, padding included, below prompts of `prompt` tokens."""
    room = int(settings.memory_gib * GIB)
    whole = room // bytes_per_token(model, prompt_share=prompt * settings.group / longest)
    if whole >= longest:
        return MemoryPlan(tokens=min(settings.tokens, whole), frugal=False)
    spare = room // bytes_per_token(model, prompt_share=prompt * settings.group / longest, frugal=True)
    return MemoryPlan(tokens=min(settings.tokens, max(1, spare)), frugal=True)


def bytes_per_token(model: Model, *, prompt_share: float, frugal: bool = False) -> int:
    """What one answer token keeps until its backward pass is over; `prompt_share` is prompt tokens by answer tokens.

    Counted from the tensors that the layers save: three of the model's width around each norm, queries, keys and values
    before and after rotation, keys and values of the prompt once more for each answer, four of the MLP's. Attention
    scores are not among them. A frugal one keeps its input, and one layer at a time in full.
    """
    if isinstance(model, Generic):
        return model.bytes_per_token(prompt_share=prompt_share)
    width, inner = model.head.shape[1], model.weights["model.layers.0.mlp.up_proj.weight"].shape[0]
    narrow = model.head.element_size()
    queries = model.shape.heads * model.shape.head_dim
    layer = 4 * (5 * width + 6 * queries + 2 * queries * (1 + prompt_share)) + narrow * (
        2 * width + queries + 4 * inner
    )
    kept = model.shape.layers * (4 * width if frugal else layer) + (layer if frugal else 0)
    return int(kept + 4 * 4 * width)
