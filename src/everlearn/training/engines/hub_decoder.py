"""State of a batch that is decoded by a transformers module, with its cache of keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from everlearn.training.models.hub import pad_left

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.training.models.hub import HubModel


class HubDecoder:
    """State of one batch in `decode`: a prompt is computed once, its keys and values are copied for each answer."""

    def __init__(self, model: HubModel, prompts: Sequence[list[int]], *, group: int) -> None:
        self.model = model
        self.cache: Any = None
        ids, mask = pad_left(prompts, pad=model.pad)
        if ids.shape[1] > 1:
            self.cache = model.prefix(ids[:, :-1], mask[:, :-1], times=group)
        self.mask = mask.to(model.device).repeat_interleave(group, dim=0)

    def keep(self, groups: torch.Tensor) -> None:
        """Drop the groups whose entry in `groups` (a mask) is False."""
        rows = groups.repeat_interleave(len(self.mask) // len(groups))
        self.mask = self.mask[rows]
        self.cache.batch_select_indices(rows.nonzero()[:, 0])
        if hasattr(self.cache, "marked_last"):
            self.cache.marked_last = self.cache.marked_last[rows]

    def advance(self, token: torch.Tensor, step: int) -> torch.Tensor:
        """(rows,) tokens -> logits of the next ones (rows, vocabulary)."""
        if step:
            self.mask = torch.cat((self.mask, torch.ones_like(self.mask[:, :1])), dim=1)
        output = self.model.run(token[:, None], self.mask, cache=self.cache, hidden=[])
        self.cache = output.past_key_values
        return output.logits[:, -1].float()  # type: ignore[no-any-return]
