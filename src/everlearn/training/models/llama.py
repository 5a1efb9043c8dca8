"""Llama as pure functions of its weights: the forward pass of pretraining, GRPO and decoding.

Supports rotary attention, RMS norms, SwiGLU, grouped KV heads, a tied or untied head. A LoRA adapter is merged into new
weights `W + scale * B @ A`, so that the base is never changed; where A and B are trained, `adapter` holds them and
autograd.py their gradients. Does not support biases, sliding windows and scaled rotary embeddings: `geometry` names
what is unsupported, and such models run in hub.py.

A batch is a set of *groups*: `prompts` (groups, prompt tokens) and, for each, answers that share its keys and values,
computed once (`Prefix`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from everlearn.errors import ModelError
from everlearn.training.models.autograd import adapted_linear, chosen_logprobs, rotate
from everlearn.training.models.hub import HubModel
from everlearn.training.models.marked_llama import MarkedLlamaConfig, marked_positions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WEIGHT = re.compile(
    r"(lm_head|model\.embed_tokens|model\.norm|model\.layers\.\d+\."
    r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj|input_layernorm|post_attention_layernorm))\.weight"
)
"""Names of the weights of a plain Llama."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The sizes and constants of a Llama that its tensors do not show."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    theta: float
    pad: int
    markers: MarkedLlamaConfig | None


def geometry(config: Any) -> Geometry:
    """Return the geometry of a `transformers` config.

    Raises:
        ModelError: the config needs something that this forward pass does not compute.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    unsupported = [
        name
        for name, used in {
            "attention_bias": getattr(config, "attention_bias", False),
            "mlp_bias": getattr(config, "mlp_bias", False),
            "hidden_act other than silu": getattr(config, "hidden_act", None) != "silu",
            "sliding windows": getattr(config, "sliding_window", None),
            "scaled rotary embeddings": rope.get("rope_type", "default") != "default",
        }.items()
        if used
    ]
    if unsupported or not all(hasattr(config, name) for name in ("num_key_value_heads", "rms_norm_eps")):
        message = f"{config.model_type} is not plain Llama: {', '.join(unsupported) or 'other parts'}"
        raise ModelError(message)
    return Geometry(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        epsilon=config.rms_norm_eps,
        theta=rope.get("rope_theta", 10000.0),
        pad=max(0, config.pad_token_id or 0),  # -1 in some models: none
        markers=config if isinstance(config, MarkedLlamaConfig) else None,
    )


def require_known_weights(names: Iterable[str]) -> None:
    """Raise ModelError for a weight that this forward pass would leave out, such as a bias, whatever its values are."""
    unknown = sorted(name for name in names if not _WEIGHT.fullmatch(name))
    if unknown:
        raise ModelError(f"not plain Llama: {len(unknown)} other weights, such as {unknown[0]}")


def positions_of(ids: torch.Tensor, *, shape: Geometry, last: torch.Tensor | None = None) -> torch.Tensor:
    """(rows, tokens) -> same: rotary positions of right-padded rows, after the positions `last` (rows,)."""
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

    `adapter` are the pairs A, B, merged into the weights times `scale`, that get gradients. With `checkpointing`, only
    the input of each layer is kept for the backward pass and the rest is computed again (arXiv 1604.06174).
    """

    weights: Mapping[str, torch.Tensor]
    shape: Geometry
    adapter: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    scale: float = 1.0
    checkpointing: bool = False

    def linear(self, x: torch.Tensor, layer: int, name: str) -> torch.Tensor:
        """(…, in) -> (…, out): one linear layer."""
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
        """The padding token."""
        return self.shape.pad

    @property
    def is_transposed(self) -> bool:
        """Whether the weights of adapted layers are (in, out)."""
        return False

    @property
    def reads_text_only(self) -> bool:
        """Whether all linear layers but the head are for text."""
        return True

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.head.device

    @property
    def vocabulary(self) -> int:
        """The number of tokens in the vocabulary."""
        return len(self.weights["model.embed_tokens.weight"])

    @property
    def head(self) -> torch.Tensor:
        """(vocabulary, width): the output layer, which may be the embedding."""
        return self.weights.get("lm_head.weight", self.weights["model.embed_tokens.weight"])

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(…, width) -> (…, vocabulary), in float32."""
        return functional.linear(self.norm(x, "model.norm.weight").to(self.head.dtype), self.head).float()

    def project_heads(
        self, x: torch.Tensor, layer: int, cos_sin: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
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
        k = rotate(k, cos_sin)
        if repeat > 1:
            k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
        return rotate(q, cos_sin), k, v

    def finish_layer(self, x: torch.Tensor, attended: torch.Tensor, layer: int) -> torch.Tensor:
        """Return the layer's output: `attended` (rows, heads, tokens, head_dim) through o_proj, then the MLP."""
        x = x + self.linear(attended.transpose(1, 2).flatten(2), layer, "self_attn.o_proj")
        y = self.norm(x, f"model.layers.{layer}.post_attention_layernorm.weight")
        gate = functional.silu(self.linear(y, layer, "mlp.gate_proj"))
        return x + self.linear(gate * self.linear(y, layer, "mlp.up_proj"), layer, "mlp.down_proj")

    def prefix(self, rows: list[list[int]]) -> Prefix:
        """Return keys and values of the prompts, one list of tokens a group."""
        prompts = pad_right(rows, pad=self.shape.pad)
        positions = positions_of(prompts, shape=self.shape)
        cos_sin = rotation(positions, shape=self.shape)
        real = torch.arange(prompts.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        x, cache = self.embed(prompts), []
        for layer in range(self.shape.layers):
            q, k, v = self.project_heads(x, layer, cos_sin)
            cache.append((k, v))
            if layer + 1 < self.shape.layers:
                x = self.finish_layer(x, _attend(q, k, v, causal=True), layer)
        last = positions.gather(1, real.sum(1, keepdim=True) - 1)[:, 0]
        return Prefix(cache=cache, real=real, last=last)

    def answers(self, prefix: Prefix, inputs: torch.Tensor) -> torch.Tensor:
        """(groups * answers, tokens) -> (groups * answers, tokens, width): answers after their prompts, before the head.

        `inputs` are right-padded and ordered by group; each starts with the last token of its prompt, which `prefix`
        must not contain.
        """
        times = inputs.shape[0] // prefix.real.shape[0]
        last = prefix.last.repeat_interleave(times)
        cos_sin = rotation(positions_of(inputs, shape=self.shape, last=last), shape=self.shape)
        own = torch.ones(inputs.shape[1], inputs.shape[1], dtype=torch.bool).tril()
        shared = prefix.real.repeat_interleave(times, dim=0)[:, None, None, :].expand(-1, 1, inputs.shape[1], -1)
        seen = torch.cat((shared, own.expand(inputs.shape[0], 1, -1, -1)), dim=-1)
        mask = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)  # faster on CPUs than a boolean mask

        def run_layer(x: torch.Tensor, k0: torch.Tensor, v0: torch.Tensor, layer: int) -> torch.Tensor:
            q, k, v = self.project_heads(x, layer, cos_sin)
            k = torch.cat((k0.repeat_interleave(times, dim=0), k), dim=2)
            v = torch.cat((v0.repeat_interleave(times, dim=0), v), dim=2)
            return self.finish_layer(x, _attend(q, k, v, mask=mask), layer)

        x = self.embed(inputs)
        for layer, (k0, v0) in enumerate(prefix.cache):
            x = (
                checkpoint(run_layer, x, k0, v0, layer, use_reentrant=False)
                if self.checkpointing
                else run_layer(x, k0, v0, layer)
            )
        return self.norm(x, "model.norm.weight")


Model = Llama | HubModel
"""A forward pass: our own for plain Llamas on a CPU, else that of transformers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Keys and values of prompts, (groups, heads, tokens, head_dim) a layer; a mask of the real tokens; last positions."""

    cache: list[tuple[torch.Tensor, torch.Tensor]]
    real: torch.Tensor
    last: torch.Tensor


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool = False, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """(rows, heads, tokens, head_dim) -> same: attention in float32 even under autocast, since bf16 is slow on CPUs."""
    with torch.autocast("cpu", enabled=False):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


def pad_right(rows: list[list[int]], *, pad: int) -> torch.Tensor:
    """Token lists -> (rows, longest)."""
    width = max(map(len, rows))
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])


def answer_logprobs(
    model: Model, prompts: list[list[int]], answers: list[list[int]], *, temperature: float
) -> torch.Tensor:
    """Return the log-probabilities of `token_logprobs` without the padding: those of one answer after another, (tokens,)."""
    scores, mask = token_logprobs(model, prompts, answers, temperature=temperature)
    return scores[mask]


def token_logprobs(
    model: Model, prompts: list[list[int]], answers: list[list[int]], *, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability of each answer token (0 at padding) and the mask, both (groups * answers, tokens).

    `answers` holds the same number of answers for each prompt, ordered by prompt.
    """
    if isinstance(model, HubModel):
        return model.token_logprobs(prompts, answers, temperature=temperature)
    times = len(answers) // len(prompts)
    starts = [prompt[-1] for prompt in prompts for _ in range(times)]
    prefix = model.prefix([prompt[:-1] for prompt in prompts])
    inputs = pad_right([[start, *row[:-1]] for start, row in zip(starts, answers, strict=True)], pad=model.shape.pad)
    targets = pad_right(answers, pad=model.shape.pad)
    lengths = torch.tensor([len(answer) for answer in answers])
    mask = torch.arange(targets.shape[1]) < lengths[:, None]
    hidden = model.answers(prefix, inputs)[mask]
    scores = chosen_logprobs(hidden, model.head, targets[mask], temperature=temperature)
    return torch.zeros(targets.shape).masked_scatter(mask, scores), mask
