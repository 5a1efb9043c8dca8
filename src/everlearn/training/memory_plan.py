"""Memory plan: how many tokens a batch of an update or of a decoding may have, and whether layers recompute their activations.

Smaller batches come first, since they cost nothing; activation checkpointing only where one group does not fit. The
limit is a setting or follows from the kind of device and the base, and not from what is free at the moment: how a step
is cut decides the last bits of its sums, and a training that is resumed on another machine of that kind has to give the
same result.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from everlearn.training.memory_estimate import DECODE_GIB, GIB
from everlearn.training.models.hub import HubModel

if TYPE_CHECKING:
    from everlearn.settings import LearnSettings
    from everlearn.training.models.llama import Model

CPU_GIB, GPU_SHARE = 4.0, 0.4
"""Memory of an update by default: GiB on a CPU, and the share of what the base leaves of a GPU."""
_MALLOC_OPTIONS = {-3: 32 << 20, -1: (2 << 30) - 1, -2: 64 << 20}
"""M_MMAP_THRESHOLD (its maximum), M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h, in bytes."""


def keep_freed_memory() -> None:
    """Make glibc keep the memory of freed tensors: requesting the pages again costs a tenth of a step.

    Does nothing with other C libraries.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in _MALLOC_OPTIONS.items():
            libc.mallopt(option, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Tokens of a batch, and whether layers keep only their inputs (activation checkpointing, arXiv 1604.06174)."""

    tokens: int
    checkpointing: bool


def update_memory(model: Model, settings: LearnSettings) -> float:
    """Return the GiB that an update may take on the model's device."""
    if settings.memory_gib is not None:
        return settings.memory_gib
    return CPU_GIB if model.device.type != "cuda" else _share_of_gpu(model)


def _share_of_gpu(model: Model) -> float:
    base = sum(tensor.numel() * tensor.element_size() for tensor in model.weights.values())
    return GPU_SHARE * (torch.cuda.mem_get_info(model.device)[1] - base) / GIB


def decoded_tokens(model: Model) -> int:
    """Return the tokens, prompts included, whose keys and values may be in memory while answers are decoded."""
    if isinstance(model, HubModel):
        config: Any = model.module.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        each = int(2 * config.num_hidden_layers * heads * width * model.head.element_size())
    else:
        each = 2 * model.shape.layers * model.shape.heads * model.shape.head_dim * 4
    limit = GIB * (DECODE_GIB if model.device.type != "cuda" else _share_of_gpu(model))
    return max(1, int(limit) // each)


def plan(model: Model, *, longest: int, prompt: int, settings: LearnSettings) -> MemoryPlan:
    """Return how to cut a step whose largest group has `longest` padded tokens below prompts of `prompt` tokens."""
    room = int(update_memory(model, settings) * GIB)
    prompt_share = prompt * settings.group / longest
    fitting = room // bytes_per_token(model, prompt_share=prompt_share)
    if fitting >= longest:
        return MemoryPlan(tokens=min(settings.tokens, fitting), checkpointing=False)
    fitting = room // bytes_per_token(model, prompt_share=prompt_share, checkpointing=True)
    return MemoryPlan(tokens=min(settings.tokens, max(1, fitting)), checkpointing=True)


def plan_single_answers(model: Model, *, longest: int, prompt: int, settings: LearnSettings) -> MemoryPlan:
    """Return `plan` for answers that each have a prompt of their own, the longest of them of `longest` tokens.

    `bytes_per_token` leaves out what a prompt holds beside its copies, since a group shares it. Here each prompt counts
    twice.
    """
    return plan(model, longest=longest, prompt=prompt, settings=settings.model_copy(update={"group": 2}))


def bytes_per_token(model: Model, *, prompt_share: float, checkpointing: bool = False) -> int:
    """Estimate the bytes that one answer token holds until its backward pass; `prompt_share` is prompt by answer tokens.

    Counted from the tensors that the layers save: three of the model's width around each norm, queries, keys and values
    before and after rotation, keys and values of the prompt once more for each answer, four of the MLP's. Attention
    scores are not counted. With checkpointing, each layer holds its input, and one layer at a time all of this.
    """
    if isinstance(model, HubModel):
        return replace(model, checkpointing=checkpointing).bytes_per_token(prompt_share=prompt_share)
    width, inner = model.head.shape[1], model.weights["model.layers.0.mlp.up_proj.weight"].shape[0]
    narrow = model.head.element_size()
    queries = model.shape.heads * model.shape.head_dim
    layer = 4 * (5 * width + 6 * queries + 2 * queries * (1 + prompt_share)) + narrow * (
        2 * width + queries + 4 * inner
    )
    held = model.shape.layers * (4 * width if checkpointing else layer) + (layer if checkpointing else 0)
    return int(held + 4 * 4 * width)
