"""Llama as pure functions of its weights: the one forward pass that pretraining, GRPO and decoding share.

What it is: rotary attention, RMS norms, SwiGLU, grouped KV heads, tied or untied head; a LoRA adapter enters as the
merged weight `W + scale * B @ A`, a new tensor, so that the base is never touched; where A and B are trained, `adapter`
names them and their gradients are written out (operations.py). What it leaves out: biases, sliding windows, scaled
rotary embeddings; `geometry` refuses them by name, and such models run in generic.py.

A batch is a set of *groups*: `prompts` (groups, prompt tokens) and, below each, answers that share its keys and
values, computed once (`Prefix`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from everlearn.errors import ModelError
from everlearn.training.models.any_causal_lm import TransformersModel
from everlearn.training.models.autograd import adapted_linear, chosen_logprobs, rotate
from everlearn.training.models.marked_llama import MarkedLlamaConfig, marked_positions

if TYPE_CHECKING:
    from collections.abc import Mapping

LINEARS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The numbers of a Llama that its tensors do not show."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    theta: float
    pad: int
    markers: MarkedLlamaConfig | None


def geometry(config: Any) -> Geometry:
    """The geometry of a `transformers` config.

    Raises:
        ModelError: the config asks for something that this forward pass does not compute.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    wrong = [
        name
        for name, bad in {
            "attention_bias": getattr(config, "attention_bias", False),
            "mlp_bias": getattr(config, "mlp_bias", False),
            "hidden_act other than silu": getattr(config, "hidden_act", None) != "silu",
            "sliding windows": getattr(config, "sliding_window", None),
            "scaled rotary embeddings": rope.get("rope_type", "default") != "default",
        }.items()
        if bad
    ]
    if wrong or not hasattr(config, "num_key_value_heads"):
        message = f"{config.model_type} is not plain Llama: {', '.join(wrong) or 'other parts'}"
        raise ModelError(message)
    return Geometry(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        epsilon=config.rms_norm_eps,
        theta=rope.get("rope_theta", 10000.0),
        pad=config.pad_token_id or 0,
        markers=config if isinstance(config, MarkedLlamaConfig) else None,
    )


def positions_of(ids: torch.Tensor, *, shape: Geometry, last: torch.Tensor | None = None) -> torch.Tensor:
    """(rows, tokens) -> same: rotary positions of right-padded rows, going on from `last` (rows,)."""
    if shape.markers is not None:
        return marked_positions(ids, config=shape.markers, last=last)
    places = torch.arange(ids.shape[1]).expand_as(ids)
    return places if last is None else places + 1 + last[:, None]


def rotation(positions: torch.Tensor, *, shape: Geometry) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, tokens) -> cosines and sines (rows, 1, tokens, head_dim / 2)."""
    frequency = shape.theta ** (-torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim)
    angle = positions[:, None, :, None].float() * frequency
    return angle.cos(), angle.sin()


@dataclass(frozen=True, slots=True)
class Llama:
    """Weights by their names in a checkpoint (`model.layers.0.mlp.up_proj.weight`, …) and the geometry.

    `adapter` are the pairs A, B that are merged into the weights and shall get gradients, times `scale`. A `checkpointing` one
    keeps only the input of each layer for its backward pass, and computes the rest again.
    """

    weights: Mapping[str, torch.Tensor]
    shape: Geometry
    adapter: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    scale: float = 1.0
    checkpointing: bool = False

    def linear(self, x: torch.Tensor, layer: int, name: str) -> torch.Tensor:
        """(…, in) -> (…, out) through one linear of one layer."""
        module = f"model.layers.{layer}.{name}"
        weight = self.weights[f"{module}.weight"]
        if module in self.adapter and torch.is_grad_enabled():
            return adapted_linear(x, weight, *self.adapter[module], scale=self.scale)
        return functional.linear(x.to(weight.dtype), weight)

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """RMS norm over the last dimension, in float32."""
        return functional.rms_norm(x.float(), (x.shape[-1],), self.weights[name].float(), self.shape.epsilon)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """(rows, tokens) -> (rows, tokens, width)."""
        return functional.embedding(ids, self.weights["model.embed_tokens.weight"]).float()

    @property
    def pad(self) -> int:
        """What stands where a row has no token."""
        return self.shape.pad

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return len(self.weights["model.embed_tokens.weight"])

    @property
    def head(self) -> torch.Tensor:
        """(vocabulary, width): the output layer, which may be the embedding."""
        return self.weights.get("lm_head.weight", self.weights["model.embed_tokens.weight"])

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(…, width) -> (…, vocabulary), in float32."""
        return functional.linear(self.norm(x, "model.norm.weight").to(self.head.dtype), self.head).float()

    def heads(self, x: torch.Tensor, layer: int, turn: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """(rows, tokens, width) -> queries, keys and values (rows, heads, tokens, head_dim), rotated."""
        x = self.norm(x, f"model.layers.{layer}.input_layernorm.weight")
        q, k, v = (
            self.linear(x, layer, f"self_attn.{name}_proj")
            .float()
            .unflatten(-1, (-1, self.shape.head_dim))
            .transpose(1, 2)
            for name in "qkv"
        )
        repeat = self.shape.heads // self.shape.kv_heads
        k = rotate(k, turn)
        if repeat > 1:
            k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
        return rotate(q, turn), k, v

    def finish(self, x: torch.Tensor, mixed: torch.Tensor, layer: int) -> torch.Tensor:
        """The rest of a layer: `mixed` (rows, heads, tokens, head_dim) through o_proj, then the MLP."""
        x = x + self.linear(mixed.transpose(1, 2).flatten(2), layer, "self_attn.o_proj")
        y = self.norm(x, f"model.layers.{layer}.post_attention_layernorm.weight")
        gate = functional.silu(self.linear(y, layer, "mlp.gate_proj"))
        return x + self.linear(gate * self.linear(y, layer, "mlp.up_proj"), layer, "mlp.down_proj")

    def prefix(self, rows: list[list[int]]) -> Prefix:
        """Keys and values of the prompts, one list of tokens a group."""
        prompts = pad_right(rows, pad=self.shape.pad)
        positions = positions_of(prompts, shape=self.shape)
        turn = rotation(positions, shape=self.shape)
        real = torch.arange(prompts.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        x, cache = self.embed(prompts), []
        for layer in range(self.shape.layers):
            q, k, v = self.heads(x, layer, turn)
            cache.append((k, v))
            if layer + 1 < self.shape.layers:
                x = self.finish(x, _attend(q, k, v, causal=True), layer)
        last = positions.gather(1, real.sum(1, keepdim=True) - 1)[:, 0]
        return Prefix(cache=cache, real=real, last=last)

    def answers(self, prefix: Prefix, inputs: torch.Tensor) -> torch.Tensor:
        """(groups * answers, tokens) -> (groups * answers, tokens, width): answers below their prompts, before the head.

        `inputs` are right-padded and ordered by group; each starts with the last token of its prompt, which `prefix`
        must not contain.
        """
        times = inputs.shape[0] // prefix.real.shape[0]
        last = prefix.last.repeat_interleave(times)
        turn = rotation(positions_of(inputs, shape=self.shape, last=last), shape=self.shape)
        own = torch.ones(inputs.shape[1], inputs.shape[1], dtype=torch.bool).tril()
        shared = prefix.real.repeat_interleave(times, dim=0)[:, None, None, :].expand(-1, 1, inputs.shape[1], -1)
        seen = torch.cat((shared, own.expand(inputs.shape[0], 1, -1, -1)), dim=-1)
        mask = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)  # faster than a boolean one

        def below(x: torch.Tensor, k0: torch.Tensor, v0: torch.Tensor, layer: int) -> torch.Tensor:
            q, k, v = self.heads(x, layer, turn)
            k = torch.cat((k0.repeat_interleave(times, dim=0), k), dim=2)
            v = torch.cat((v0.repeat_interleave(times, dim=0), v), dim=2)
            return self.finish(x, _attend(q, k, v, mask=mask), layer)

        x = self.embed(inputs)
        for layer, (k0, v0) in enumerate(prefix.cache):
            x = (
                checkpoint(below, x, k0, v0, layer, use_reentrant=False)
                if self.checkpointing
                else below(x, k0, v0, layer)
            )
        return self.norm(x, "model.norm.weight")


Model = Llama | TransformersModel
"""A policy's forward pass: ours where it can be, else transformers'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Keys and values of prompts, (groups, heads, tokens, head_dim) a layer; which tokens are real; last positions."""

    cache: list[tuple[torch.Tensor, torch.Tensor]]
    real: torch.Tensor
    last: torch.Tensor


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool = False, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention in float32, whatever autocast says: bf16's backward pass is slow on CPUs."""
    with torch.autocast("cpu", enabled=False):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


def pad_right(rows: list[list[int]], *, pad: int) -> torch.Tensor:
    """Token lists -> (rows, longest)."""
    width = max(map(len, rows))
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])


def token_logprobs(
    model: Model, prompts: list[list[int]], answers: list[list[int]], *, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each answer token (0 where there is none), and the mask: both (groups * answers, tokens).

    `answers` holds the same number of answers for each prompt, ordered by prompt.
    """
    if isinstance(model, TransformersModel):
        return model.token_logprobs(prompts, answers, temperature=temperature)
    times = len(answers) // len(prompts)
    starts = [prompt[-1] for prompt in prompts for _ in range(times)]
    prefix = model.prefix([prompt[:-1] for prompt in prompts])
    inputs = pad_right([[start, *row[:-1]] for start, row in zip(starts, answers, strict=True)], pad=model.shape.pad)
    targets = pad_right(answers, pad=model.shape.pad)
    lengths = torch.tensor([len(answer) for answer in answers])
    mask = torch.arange(targets.shape[1]) < lengths[:, None]
    hidden = model.answers(prefix, inputs)[mask]
    found = chosen_logprobs(hidden, model.head, targets[mask], temperature=temperature)
    return torch.zeros(targets.shape).masked_scatter(mask, found), mask
