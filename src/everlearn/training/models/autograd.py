"""Autograd functions with backward passes of their own, which leave out gradients that the update does not need.

`adapted_linear` multiplies by the merged weight `W + scale * B @ A` once, as the decoder does, and has gradients for x, A
and B only: that of the merged weight, a third of an ordinary backward pass, is never computed. `chosen_logprobs` returns
the log-probability of one token a row without storing (rows, vocabulary) scores: it computes them in chunks and keeps one
vector of the model's width a row for the backward pass. `rotate` applies rotary embeddings without temporaries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

CHUNK_SCORES = 1 << 22
"""Scores computed at a time: 16 MB, which fit into a CPU's cache."""


def adapted_linear(
    x: torch.Tensor, merged: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, scale: float
) -> torch.Tensor:
    """(…, in) -> (…, out): x times `merged`, which is W + scale * b @ a already, in its dtype."""
    return cast("torch.Tensor", _AdaptedLinear.apply(x, merged, a, b, scale))  # type: ignore[no-untyped-call]


def chosen_logprobs(
    hidden: torch.Tensor, head: torch.Tensor, chosen: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """(rows, width), (vocabulary, width), (rows,) -> (rows,): log-probability of each row's chosen token, in float32."""
    if head.requires_grad:  # pretraining trains the head, too, and the vocabulary is small
        return -functional.cross_entropy(functional.linear(hidden, head) / temperature, chosen, reduction="none")
    return cast("torch.Tensor", _ChosenLogprobs.apply(hidden, head, chosen, temperature))  # type: ignore[no-untyped-call]


def rotate(x: torch.Tensor, cos_sin: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """(rows, heads, tokens, head_dim) -> same, rotated by cosines and sines (rows, 1, tokens, head_dim / 2)."""
    if x.requires_grad:
        return cast("torch.Tensor", _Rotate.apply(x, *cos_sin))  # type: ignore[no-untyped-call]
    return _rotated(x, *cos_sin)


def _rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, *, direction: int = 1) -> torch.Tensor:
    turned = torch.empty_like(x)
    (left, right), (new_left, new_right) = x.chunk(2, dim=-1), turned.chunk(2, dim=-1)
    torch.mul(left, cosine, out=new_left)
    torch.mul(right, cosine, out=new_right)
    new_left.addcmul_(right, sine, value=-direction)
    new_right.addcmul_(left, sine, value=direction)
    return turned


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotated(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _rotated(gradients[0], *ctx.saved_tensors, direction=-1), None, None


class _AdaptedLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd's signature
        ctx: Any, x: torch.Tensor, merged: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        x = x.to(merged.dtype)
        ctx.save_for_backward(x, merged, a, b)
        ctx.scale = scale
        return functional.linear(x, merged)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, merged, a, b = ctx.saved_tensors
        gradient = gradients[0].to(merged.dtype)
        flat, rows = gradient.flatten(0, -2), x.flatten(0, -2)
        # By way of the rank: (out, rank) and (rank, in) products, never the (out, in) gradient of the merged weight.
        for_b = flat.T @ (rows @ a.to(merged.dtype).T)
        for_a = (flat @ b.to(merged.dtype)).T @ rows
        return gradient @ merged, None, ctx.scale * for_a.to(a.dtype), ctx.scale * for_b.to(b.dtype), None


class _ChosenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, chosen: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        chosen_scores = torch.empty(len(hidden))
        needs_gradient = ctx.needs_input_grad[0]
        # The gradient of log p(chosen) is (onehot - p) @ head: computed here, where p exists anyway.
        slope = torch.empty(hidden.shape) if needs_gradient else torch.empty(0)
        step = max(1, CHUNK_SCORES // len(head))
        for start in range(0, len(hidden), step):
            part = slice(start, start + step)
            scores = functional.linear(hidden[part].to(head.dtype), head).float() / temperature
            logs = torch.log_softmax(scores, dim=-1)
            chosen_scores[part] = logs.gather(1, chosen[part, None])[:, 0]
            if needs_gradient:
                pull = logs.exp_().neg_().scatter_add_(1, chosen[part, None], torch.ones(len(logs), 1))
                slope[part] = (pull.to(head.dtype) @ head).float() / temperature
        ctx.save_for_backward(slope)
        return chosen_scores

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slope * gradients[0][:, None], None, None, None
