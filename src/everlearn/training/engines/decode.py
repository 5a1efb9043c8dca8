"""Local decoding with a static KV cache: prompts are computed once a group, all answers are sampled in one batch.

The rotated keys and values of a prompt are read by its whole group in one matrix product; those of the answers are in
float32 tensors, allocated once (a model of transformers uses its own cache, `hub_decoder`). Finished groups leave the
batch, an eighth of it at a time. Each row draws one random number a token from its own seed, on the CPU, so that a
rollout depends neither on the rest of the batch nor on the number of processes or the kind of device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import pad

from everlearn.training.engines.hub_decoder import HubDecoder
from everlearn.training.models.hub import HubModel
from everlearn.training.models.llama import Llama, Model, positions_of, rotation

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

BLOCK = 16
"""Steps for which random numbers are drawn at once."""
CHUNK = 256
"""Tokens whose probabilities are added before the cumulative distribution is searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sampled answer: its tokens (with the end token, if reached) and their log-probabilities at the sampler."""

    ids: list[int]
    logprobs: list[float]
    finished: bool

    def cut(self, limit: int) -> Completion:
        """Return the completion as it would be with at most `limit` tokens: others of its batch may have had more."""
        if len(self.ids) <= limit:
            return self
        return Completion(ids=self.ids[:limit], logprobs=self.logprobs[:limit], finished=False)


@torch.inference_mode()
def decode(
    model: Model,
    prompts: Sequence[list[int]],
    *,
    group: int,
    seeds: Sequence[int] | None,
    stops: Collection[int],
    limit: int,
    temperature: float = 1.0,
    copying: bool = False,
) -> list[list[Completion]]:
    """Return `group` completions for each prompt, at most `limit` tokens long; greedy when `seeds` is None.

    Any token of `stops` ends an answer. `seeds` holds `len(prompts) * group` numbers, ordered by prompt. With
    `copying`, an answer may use only the markers of its prompt.
    """
    decoder = (
        HubDecoder(model, prompts, group=group)
        if isinstance(model, HubModel)
        else _LlamaDecoder(model, prompts, group=group, limit=limit, copying=copying)
    )
    generators = None if seeds is None else [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    device = model.device
    ends = torch.tensor(sorted(stops), dtype=torch.long, device=device)
    rows = torch.arange(len(prompts) * group, device=device)
    tokens = torch.full((len(rows), limit), model.pad, device=device)
    scores = torch.zeros(len(rows), limit, device=device)
    token = torch.tensor([prompt[-1] for prompt in prompts], device=device).repeat_interleave(group)
    alive = torch.ones(len(rows), dtype=torch.bool, device=device)
    drawn = torch.zeros(0)
    for step in range(limit):
        keep = alive.view(-1, group).any(dim=1)
        left = int(keep.sum())
        if not left:
            break
        if left <= len(keep) * 7 // 8:
            decoder.keep(keep)
            kept_rows = keep.repeat_interleave(group)
            rows, token, alive = rows[kept_rows], token[kept_rows], alive[kept_rows]
            drawn = drawn[kept_rows] if len(drawn) else drawn
        if generators is not None and step % BLOCK == 0:
            drawn = torch.from_numpy(np.stack([generators[row].random(BLOCK) for row in rows.tolist()])).to(device)
        logits = decoder.advance(token, step)
        logp = torch.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)
        choice = logp.argmax(dim=-1) if generators is None else _pick(logp, drawn[:, step % BLOCK])
        token = torch.where(alive, choice, model.pad)
        tokens[rows, step] = token
        scores[rows, step] = logp.gather(1, token[:, None])[:, 0]
        alive &= ~torch.isin(token, ends)
    return _collect(tokens, scores, group=group, ends=ends)


def _pick(logp: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """(rows, vocabulary), (rows,) numbers in [0, 1) -> (rows,): sample tokens by inverting the cumulative distribution.

    A token of probability 0 is never sampled. Only the chunk that the number falls into is cumulated token by token.
    """
    probabilities = pad(logp.exp(), (0, -logp.shape[-1] % CHUNK)).unflatten(-1, (-1, CHUNK))
    chunks = torch.cumsum(probabilities.sum(-1), dim=-1, dtype=torch.float64)
    # Sums are exact only up to rounding: scaled, and kept below the last one, the threshold always falls on a token.
    threshold = (drawn * chunks[:, -1] * (1 - 1e-12))[:, None]
    chunk = torch.searchsorted(chunks, threshold, right=True)
    before = pad(chunks, (1, 0)).gather(1, chunk)
    index = chunk[:, :, None].expand(-1, -1, CHUNK)
    cumulated = torch.cumsum(probabilities.gather(1, index)[:, 0], dim=-1, dtype=torch.float64)
    inside = torch.minimum(threshold - before, cumulated[:, -1:] * (1 - 1e-12))
    return (chunk * CHUNK + torch.searchsorted(cumulated, inside, right=True))[:, 0]


def _collect(tokens: torch.Tensor, scores: torch.Tensor, *, group: int, ends: torch.Tensor) -> list[list[Completion]]:
    """Cut each row after its end token, and return the rows by group."""
    ended = torch.isin(tokens, ends)
    finished = ended.any(1)
    lengths = torch.where(finished, ended.int().argmax(1) + 1, tokens.shape[1]).tolist()
    rows = [
        Completion(ids=row[:length], logprobs=score[:length], finished=done)
        for row, score, length, done in zip(tokens.tolist(), scores.tolist(), lengths, finished.tolist(), strict=True)
    ]
    return [rows[start : start + group] for start in range(0, len(rows), group)]


class _LlamaDecoder:
    """State of one batch: keys and values of the prompts, once a group, and buffers for those of the answers."""

    def __init__(self, model: Llama, prompts: Sequence[list[int]], *, group: int, limit: int, copying: bool) -> None:
        self.model, self.group = model, group
        prefix = model.prefix([prompt[:-1] for prompt in prompts])
        self.last = prefix.last.repeat_interleave(group)
        padding = torch.zeros(prefix.real.shape).masked_fill(~prefix.real, -1e30)
        self.padding = padding[:, None, None, :]
        shape = (len(prompts) * group, model.shape.heads, limit, model.shape.head_dim)
        self.layers = [
            (k.transpose(2, 3).contiguous(), v.contiguous(), torch.empty(shape), torch.empty(shape))
            for k, v in prefix.cache
        ]
        self.banned = self._absent_markers(prompts) if copying and model.shape.markers is not None else None

    def _absent_markers(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """(rows, vocabulary): minus infinity at the markers that are not in the row's prompt, else 0."""
        config = self.model.shape.markers
        assert config is not None  # noqa: S101
        markers = set(range(config.first_marker, config.first_marker + config.markers))
        banned = torch.zeros(len(prompts), self.model.vocabulary)
        for row, prompt in enumerate(prompts):
            banned[row, sorted(markers - set(prompt))] = -torch.inf
        return banned.repeat_interleave(self.group, dim=0)

    def keep(self, groups: torch.Tensor) -> None:
        """Drop the groups whose entry in `groups` (a mask) is False."""
        rows = groups.repeat_interleave(self.group)
        self.last, self.padding = self.last[rows], self.padding[groups]
        self.layers = [(k0[groups], v0[groups], keys[rows], values[rows]) for k0, v0, keys, values in self.layers]
        self.banned = None if self.banned is None else self.banned[rows]

    def advance(self, token: torch.Tensor, step: int) -> torch.Tensor:
        """(rows,) tokens -> logits of the next ones (rows, vocabulary)."""
        positions = positions_of(token[:, None], shape=self.model.shape, last=self.last)
        self.last = positions[:, 0]
        cos_sin = rotation(positions, shape=self.model.shape)
        x = self.model.embed(token[:, None])
        for layer, (k0, v0, keys, values) in enumerate(self.layers):
            q, k, v = self.model.project_heads(x, layer, cos_sin)
            keys[:, :, step], values[:, :, step] = k[:, :, 0], v[:, :, 0]
            attended = self._attend(q, k0, v0, keys[:, :, : step + 1], values[:, :, : step + 1])
            x = self.model.finish_layer(x, attended, layer)
        logits = self.model.logits(x)[:, 0]
        return logits if self.banned is None else logits + self.banned

    def _attend(
        self, q: torch.Tensor, k0: torch.Tensor, v0: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """(rows, heads, 1, head_dim) -> same: attention to the group's prompt and to the row's own tokens."""
        q = q * self.model.shape.head_dim**-0.5
        # The prompt's keys and values exist once a group, so its rows are the columns of one product: (groups, heads,
        # group).
        grouped = q[:, :, 0].unflatten(0, (-1, self.group)).transpose(1, 2)
        shared = (grouped @ k0 + self.padding).transpose(1, 2).flatten(0, 1)[:, :, None]
        own = q @ keys.transpose(2, 3)
        weight = torch.softmax(torch.cat((shared, own), dim=-1), dim=-1)
        width = shared.shape[-1]
        front: torch.Tensor = weight[:, :, 0, :width].unflatten(0, (-1, self.group)).transpose(1, 2) @ v0
        return front.transpose(1, 2).flatten(0, 1)[:, :, None] + weight[..., width:] @ values
