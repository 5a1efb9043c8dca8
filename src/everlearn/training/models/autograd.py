"""Operations of the update whose backward pass is written out, because most of what autograd would do is not needed.

`adapted_linear` goes through the merged weight `W + scale * B @ A` in one product, as the decoder does, and gives
gradients to x, A and B alone: the gradient of the merged weight, a third of an ordinary backward pass, is never formed.
`chosen_logprobs` gives the log-probability of one token a row without holding (rows, vocabulary) scores: it goes through
them in parts and keeps, for the backward pass, one vector of the model's width a row. `rotate` turns back what comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

SCORES = 1 << 22
"""Scores computed at a time, so that they stay in the cache of a CPU: 16 MB."""


def adapted_linear(
    x: torch.Tensor, merged: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, scale: float
) -> torch.Tensor:
    """(…, in) -> (…, out) through `merged`, which already is W + scale * b @ a, in its dtype."""
    return cast("torch.Tensor", _AdaptedLinear.apply(x, merged, a, b, scale))  # type: ignore[no-untyped-call]


def chosen_logprobs(
    hidden: torch.Tensor, head: torch.Tensor, chosen: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """(rows, width), (vocabulary, width), (rows,) -> (rows,): log-probability of each row's chosen token, in float32."""
    if head.requires_grad:  # pretraining: all of it is wanted, and the vocabulary is small
        return -functional.cross_entropy(functional.linear(hidden, head) / temperature, chosen, reduction="none")
    return cast("torch.Tensor", _ChosenLogprobs.apply(hidden, head, chosen, temperature))  # type: ignore[no-untyped-call]


def rotate(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """(rows, heads, tokens, head_dim) -> same, by cosines and sines (rows, 1, tokens, head_dim / 2)."""
    if x.requires_grad:
        return cast("torch.Tensor", _Rotate.apply(x, *turn))  # type: ignore[no-untyped-call]
    return _rotated(x, *turn)


def _rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, *, back: int = 1) -> torch.Tensor:
    turned = torch.empty_like(x)
    (left, right), (new_left, new_right) = x.chunk(2, dim=-1), turned.chunk(2, dim=-1)
    torch.mul(left, cosine, out=new_left)
    torch.mul(right, cosine, out=new_right)
    new_left.addcmul_(right, sine, value=-back)
    new_right.addcmul_(left, sine, value=back)
    return turned


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotated(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _rotated(gradients[0], *ctx.saved_tensors, back=-1), None, None


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
        for_b = flat.T @ (rows @ a.to(merged.dtype).T)
        for_a = (flat @ b.to(merged.dtype)).T @ rows
        return gradient @ merged, None, ctx.scale * for_a.to(a.dtype), ctx.scale * for_b.to(b.dtype), None


class _ChosenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, chosen: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        found = torch.empty(len(hidden))
        wanted = ctx.needs_input_grad[0]
        slope = torch.empty(hidden.shape) if wanted else torch.empty(0)
        step = max(1, SCORES // len(head))
        for start in range(0, len(hidden), step):
            part = slice(start, start + step)
            scores = functional.linear(hidden[part].to(head.dtype), head).float() / temperature
            logs = torch.log_softmax(scores, dim=-1)
            found[part] = logs.gather(1, chosen[part, None])[:, 0]
            if wanted:
                pull = logs.exp_().neg_().scatter_add_(1, chosen[part, None], torch.ones(len(logs), 1))
                slope[part] = (pull.to(head.dtype) @ head).float() / temperature
        ctx.save_for_backward(slope)
        return found

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slope * gradients[0][:, None], None, None, None
