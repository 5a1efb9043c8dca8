"""Causal language models of any architecture, by transformers' own forward pass: correct, but several times slower.

Used for a base that is not a plain Llama, or for which our own forward pass gives other numbers. Merged weights are
passed to the module for one call (`torch.func.functional_call`), so that the base is never changed. While decoding, a
prompt is computed once for its group; its keys and values are copied for each answer. Does not support activation
checkpointing and restricting answers to the markers of their prompt.
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
    """Return the names of the linear layers that get an adapter: all but the output layer, in their order.

    Raises:
        ModelError: the model has no such layer.
    """
    head = module.get_output_embeddings()  # type: ignore[operator]
    names = [name for name, part in module.named_modules() if isinstance(part, torch.nn.Linear) and part is not head]
    if not names:
        message = f"base model {type(module).__name__} has no linear layers for an adapter: use another base"
        raise ModelError(message)
    return names


@dataclass(frozen=True, slots=True)
class TransformersModel:
    """A transformers module and the weights that replace its own in each call, by their names in the module.

    The other fields are those of `llama.Llama`; `checkpointing` has no effect.
    """

    weights: Mapping[str, torch.Tensor]
    module: Any
    adapter: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    scale: float = 1.0
    checkpointing: bool = False

    @property
    def pad(self) -> int:
        """The padding token."""
        return int(self.module.config.pad_token_id or 0)

    @property
    def vocabulary(self) -> int:
        """The number of tokens in the vocabulary."""
        return len(self.module.get_output_embeddings().weight)

    def bytes_per_token(self, *, prompt_share: float) -> int:
        """Estimate the bytes that one answer token holds until its backward pass, with its share of the prompt.

        As many floats as a Llama layer of that width holds, times 1.5, and three of the vocabulary.
        """
        config = self.module.config.get_text_config()
        inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        layer = 1.5 * (20 * config.hidden_size + 4 * inner)
        return int(4 * (1 + prompt_share) * (config.num_hidden_layers * layer + 3 * self.vocabulary))

    def run(self, ids: torch.Tensor, mask: torch.Tensor, *, keep: int, cache: Any = None) -> tuple[torch.Tensor, Any]:
        """(rows, tokens), (rows, cached and new tokens) -> logits of the last `keep` (rows, keep, vocabulary), cache."""
        arguments = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :],
            "past_key_values": cache,
            "use_cache": not torch.is_grad_enabled(),
        }
        if "position_ids" not in inspect.signature(self.module.forward).parameters:
            del arguments["position_ids"]  # such models derive positions from the mask
        output = functional_call(self.module, self._call_weights(), kwargs=arguments)
        return output.logits[:, -keep:].float(), output.get("past_key_values")

    def _call_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights, connected to A and B where gradients are wanted."""
        weights = dict(self.weights)
        if torch.is_grad_enabled():
            for name, (a, b) in self.adapter.items():
                # The weights are merged already: this adds zero, but lets the gradient reach A and B.
                delta = self.scale * (b @ a)
                merged = weights[f"{name}.weight"]
                weights[f"{name}.weight"] = merged + (delta - delta.detach()).to(merged.dtype)
        return weights

    def token_logprobs(
        self, prompts: list[list[int]], answers: list[list[int]], *, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same as `llama.token_logprobs`."""
        times, longest = len(answers) // len(prompts), max(map(len, answers))
        fronts = [prompt for prompt in prompts for _ in range(times)]
        ids, real = pad_left(fronts, pad=self.pad)
        targets = torch.tensor([row + [self.pad] * (longest - len(row)) for row in answers])
        mask = torch.arange(longest) < torch.tensor([len(row) for row in answers])[:, None]
        # Prompts padded on the left, answers on the right: all answers begin in the same column.
        ids, real = torch.cat((ids, targets), 1)[:, :-1], torch.cat((real, mask.long()), 1)[:, :-1]
        logits, _ = self.run(ids, real, keep=longest)
        chosen = torch.log_softmax(logits / temperature, dim=-1).gather(2, targets[..., None])[..., 0]
        return chosen.masked_fill(~mask, 0.0), mask


def pad_left(rows: Sequence[list[int]], *, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token lists -> (rows, longest), and a mask of the real tokens, as ones."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    return ids, (torch.arange(width) >= width - torch.tensor([len(row) for row in rows])[:, None]).long()


class TransformersDecoder:
    """State of one batch in `decode`, with transformers' cache of keys and values."""

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
        """Drop the groups whose entry in `groups` (a mask) is False."""
        rows = groups.repeat_interleave(len(self.mask) // len(groups))
        self.mask = self.mask[rows]
        self.cache.batch_select_indices(rows.nonzero()[:, 0])

    def advance(self, token: torch.Tensor, step: int) -> torch.Tensor:
        """(rows,) tokens -> logits of the next ones (rows, vocabulary)."""
        if step:
            self.mask = torch.cat((self.mask, torch.ones(len(token), 1, dtype=torch.long)), dim=1)
        logits, self.cache = self.model.run(token[:, None], self.mask, keep=1, cache=self.cache)
        return logits[:, 0]
