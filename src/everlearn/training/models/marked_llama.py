"""A Llama whose rotary positions follow index markers: a term and its antiderivative stand at the same positions.

A marker token `m` moves the position to `stride * (m + 1)`; every other token is one further than the token before
it; padding on the left does not count. So a position encodes *which term and where in it*, whatever the length of the
question, and attention from an answer to its question stays short. Everything else is `LlamaForCausalLM`.

The positions are derived from `input_ids` inside `forward`. With a KV cache the last position of each row is stored on
the cache object, and `generate` refreshes it from the whole prompt before each step, so beams may be reordered.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM


class MarkedLlamaConfig(LlamaConfig):
    """A Llama config with the ids of the markers: `first_marker` to `first_marker + markers - 1`."""

    model_type = "marked_llama"

    def __init__(self, *, first_marker: int = 0, markers: int = 0, stride: int = 24, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first_marker = first_marker
        self.markers = markers
        self.stride = stride


def marked_positions(ids: torch.Tensor, *, config: MarkedLlamaConfig, last: torch.Tensor | None = None) -> torch.Tensor:
    """(rows, tokens) -> same: the rotary position of each token; `last` (rows,) are the positions before these."""
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    marker = ids - config.first_marker
    # `start`: place of the newest marker at or before each token, -1 before the first one.
    is_marker = (marker >= 0) & (marker < config.markers)
    start = torch.where(is_marker, places, -1).cummax(dim=1).values
    block = config.stride * (marker.gather(1, start.clamp(min=0)) + 1)
    if last is None:
        padding = ids.eq(config.pad_token_id or 0).long().cumprod(dim=1).sum(dim=1, keepdim=True)
        before = (places - padding).clamp(min=0)
    else:
        before = last[:, None] + 1 + places
    return torch.where(start >= 0, block + places - start, before)


class MarkedLlamaForCausalLM(LlamaForCausalLM):
    """`LlamaForCausalLM` at marked positions; `position_ids` that a caller passes are replaced."""

    config_class = MarkedLlamaConfig
    config: MarkedLlamaConfig

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Run `LlamaForCausalLM.forward` at marked positions; `input_ids` are required, since they show the markers."""
        if input_ids is None:
            message = "marked_llama derives positions from input_ids; inputs_embeds alone cannot be used"
            raise ValueError(message)
        cache = past_key_values
        seen = cache.get_seq_length() if cache is not None else 0
        last = getattr(cache, "marked_last", None) if seen else None
        positions = marked_positions(input_ids, config=self.config, last=last)
        kwargs["position_ids"] = positions
        if attention_mask is None:
            width = seen + input_ids.shape[1]
            attention_mask = torch.ones(input_ids.shape[0], width, dtype=torch.long, device=input_ids.device)
        output = super().forward(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, **kwargs)
        if getattr(output, "past_key_values", None) is not None:
            output.past_key_values.marked_last = positions[:, -1]
        return output

    def prepare_inputs_for_generation(self, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """Prepare the inputs of a step, after refreshing the cached positions from the whole sequence."""
        inputs = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)  # type: ignore[misc]
        cache = inputs.get("past_key_values")
        seen = cache.get_seq_length() if cache is not None else 0
        if seen:
            cache.marked_last = marked_positions(input_ids[:, :seen], config=self.config)[:, -1]
        return inputs


AutoConfig.register("marked_llama", MarkedLlamaConfig, exist_ok=True)
AutoModelForCausalLM.register(MarkedLlamaConfig, MarkedLlamaForCausalLM, exist_ok=True)
