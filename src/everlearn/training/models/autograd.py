"""Autograd functions with backward passes of their own, which leave out gradients that the update does not need.

`adapted_linear` multiplies by the merged weight `W + scale * B @ A` once, as the decoder does, and has gradients for x,
A and B only: that of the merged weight, a third of an ordinary backward pass, is never computed. `chosen_logprobs`
returns the log-probability of one token a row without storing (rows, vocabulary) scores: it computes them in chunks and
keeps one vector of the model's width a row for the backward pass. `rotate` applies rotary embeddings without
temporaries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

CHUNK_SCORES, CHUNK_SCORES_GPU = 1 << 22, 1 << 26
"""Scores computed at a time: 16 MB, which fit into a CPU's cache; on other devices enough to occupy them."""


def adapted_linear(
    x: torch.Tensor, merged: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, scale: float
) -> torch.Tensor:
    """(…, in) -> (…, out): x times `merged`, which is W + scale * b @ a already, in its dtype."""
    return cast("torch.Tensor", _AdaptedLinear.apply(x, merged, a, b, scale))  # type: ignore[no-untyped-call]


def add_lora(x: torch.Tensor, output: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, scale: float) -> torch.Tensor:
    """(…, in), (…, out) -> (…, out): output + scale * x @ A^T @ B^T in float32, then in the dtype of `output`."""
    added = cast("torch.Tensor", _AddedLora.apply(x, output.flatten(0, -2), a, b, scale))  # type: ignore[no-untyped-call]
    return added.view(
        output.shape
    )  # a view that the function itself returned could not be changed in place, as Falcon does


def chosen_logprobs(
    hidden: torch.Tensor,
    head: torch.Tensor,
    chosen: torch.Tensor,
    *,
    temperature: float,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """(rows, width), (vocabulary, width), (rows,) -> (rows,): log-probability of each row's chosen token, in float32."""
    if head.requires_grad:  # pretraining trains the head, too, and the vocabulary is small
        return -functional.cross_entropy(functional.linear(hidden, head) / temperature, chosen, reduction="none")
    return cast("torch.Tensor", _ChosenLogprobs.apply(hidden, head, chosen, temperature, bias))  # type: ignore[no-untyped-call]


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


class _AddedLora(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd's signature
        ctx: Any, x: torch.Tensor, output: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        inner = x.flatten(0, -2).float() @ a.T
        ctx.save_for_backward(x, inner, a, b)
        ctx.scale = scale
        return torch.addmm(output.float(), inner, b.T, alpha=scale).to(output.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inner, a, b = ctx.saved_tensors
        flat = gradients[0].float()
        reduced = ctx.scale * (flat @ b)
        for_x = (reduced @ a).to(x.dtype).view(x.shape) if ctx.needs_input_grad[0] else None
        return for_x, gradients[0], reduced.T @ x.flatten(0, -2).float(), ctx.scale * (flat.T @ inner), None


class _ChosenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd's signature
        ctx: Any,
        hidden: torch.Tensor,
        head: torch.Tensor,
        chosen: torch.Tensor,
        temperature: float,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        device = hidden.device
        chosen_scores = torch.empty(len(hidden), device=device)
        needs_gradient = ctx.needs_input_grad[0]
        # The gradient of log p(chosen) is (onehot - p) @ head: computed here, where p exists anyway.
        slope = torch.empty(hidden.shape if needs_gradient else 0, dtype=hidden.dtype, device=device)
        step = max(1, (CHUNK_SCORES if device.type == "cpu" else CHUNK_SCORES_GPU) // len(head))
        for start in range(0, len(hidden), step):
            part = slice(start, start + step)
            scores = functional.linear(hidden[part].to(head.dtype), head, bias).float() / temperature
            logs = torch.log_softmax(scores, dim=-1)
            chosen_scores[part] = logs.gather(1, chosen[part, None])[:, 0]
            if needs_gradient:
                pull = logs.exp_().neg_().scatter_add_(1, chosen[part, None], torch.ones(len(logs), 1, device=device))
                slope[part] = (pull.to(head.dtype) @ head).float() / temperature
        ctx.save_for_backward(slope)
        return chosen_scores

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slope * gradients[0][:, None].to(slope.dtype), None, None, None, None
