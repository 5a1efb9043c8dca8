"""Causal language models of any other architecture, by transformers' own forward pass: right for all, fast for none.

A base that is no plain Llama, or for which our own forward pass computes something else, is learned from all the same.
Weights are handed to its module for one call (`torch.func.functional_call`), so that the base is never touched; the
prompt is computed once a group, then its keys and values are copied for each answer. What it leaves out: layers that
keep only their inputs, and everything about markers.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.func import functional_call

from everlearn.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def adapted_modules(module: torch.nn.Module) -> list[str]:
    """The names of the linear layers that an adapter goes to: all but the output layer, in their order.

    Raises:
        ModelError: there are none.
    """
    head = module.get_output_embeddings()  # type: ignore[operator]
    found = [name for name, part in module.named_modules() if isinstance(part, torch.nn.Linear) and part is not head]
    if not found:
        message = f"base model {type(module).__name__} has no linear layers for an adapter: use another base"
        raise ModelError(message)
    return found


@dataclass(frozen=True, slots=True)
class TransformersModel:
    """Weights by their names in the module, and the module; the rest as in `llama.Llama`, `checkpointing` without effect."""

    weights: Mapping[str, torch.Tensor]
    module: Any
    adapter: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    scale: float = 1.0
    checkpointing: bool = False

    @property
    def pad(self) -> int:
        """What stands where a row has no token."""
        return int(self.module.config.pad_token_id or 0)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return len(self.module.get_output_embeddings().weight)

    def bytes_per_token(self, *, prompt_share: float) -> int:
        """What a token of an answer keeps until its backward pass is over, its share of the prompt included.

        As many floats as a Llama layer of that width keeps, with half as many again, and three of the vocabulary.
        """
        config = self.module.config.get_text_config()
        inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        layer = 1.5 * (20 * config.hidden_size + 4 * inner)
        return int(4 * (1 + prompt_share) * (config.num_hidden_layers * layer + 3 * self.vocabulary))

    def run(self, ids: torch.Tensor, mask: torch.Tensor, *, keep: int, cache: Any = None) -> tuple[torch.Tensor, Any]:
        """(rows, tokens), (rows, all tokens so far) -> logits of the last `keep` (rows, keep, vocabulary), and the cache."""
        weights = dict(self.weights)
        if torch.is_grad_enabled():
            for name, (a, b) in self.adapter.items():  # worth nothing, but with a gradient: the copy is merged already
                delta = self.scale * (b @ a)
                merged = weights[f"{name}.weight"]
                weights[f"{name}.weight"] = merged + (delta - delta.detach()).to(merged.dtype)
        given = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :],
            "past_key_values": cache,
            "use_cache": not torch.is_grad_enabled(),
        }
        if "position_ids" not in inspect.signature(self.module.forward).parameters:
            del given["position_ids"]  # it finds them in the mask
        told = functional_call(self.module, weights, kwargs=given)
        return told.logits[:, -keep:].float(), told.get("past_key_values")

    def token_logprobs(
        self, prompts: list[list[int]], answers: list[list[int]], *, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `llama.token_logprobs`."""
        times, longest = len(answers) // len(prompts), max(map(len, answers))
        fronts = [prompt for prompt in prompts for _ in range(times)]
        ids, real = pad_left(fronts, pad=self.pad)
        targets = torch.tensor([row + [self.pad] * (longest - len(row)) for row in answers])
        mask = torch.arange(longest) < torch.tensor([len(row) for row in answers])[:, None]
        ids, real = torch.cat((ids, targets), 1)[:, :-1], torch.cat((real, mask.long()), 1)[:, :-1]
        logits, _ = self.run(ids, real, keep=longest)
        chosen = torch.log_softmax(logits / temperature, dim=-1).gather(2, targets[..., None])[..., 0]
        return chosen.masked_fill(~mask, 0.0), mask


def pad_left(rows: Sequence[list[int]], *, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token lists -> (rows, longest), and which of them are real, as ones."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    return ids, (torch.arange(width) >= width - torch.tensor([len(row) for row in rows])[:, None]).long()


class TransformersDecoder:
    """One batch that is being decoded, as `decode._LlamaDecoder`, with transformers' own cache of keys and values."""

    def __init__(self, model: TransformersModel, prompts: Sequence[list[int]], *, group: int) -> None:
        self.model = model
        self.cache: Any = None
        ids, mask = pad_left(prompts, pad=model.pad)
        self.mask = mask.repeat_interleave(group, dim=0)
        if ids.shape[1] > 1:
            _, cache = model.run(ids[:, :-1], mask[:, :-1], keep=1)
            cache.batch_repeat_interleave(group)
            self.cache = cache

    def keep(self, groups: torch.Tensor) -> None:
        """Let the other groups go."""
        rows = groups.repeat_interleave(len(self.mask) // len(groups))
        self.mask = self.mask[rows]
        self.cache.batch_select_indices(rows.nonzero()[:, 0])

    def advance(self, token: torch.Tensor, step: int) -> torch.Tensor:
        """One token a row -> logits (rows, vocabulary)."""
        if step:
            self.mask = torch.cat((self.mask, torch.ones(len(token), 1, dtype=torch.long)), dim=1)
        logits, self.cache = self.model.run(token[:, None], self.mask, keep=1, cache=self.cache)
        return logits[:, 0]
