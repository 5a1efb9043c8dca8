"""Tokens of a policy's own tokenizer, for tests that write prompts and answers themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everlearn.training.models.policy import Policy


def tokens_of(policy: Policy, text: str) -> list[int]:
    """Return the tokens of a text, with those that the tokenizer puts around it."""
    return list(policy.tokenizer(text).input_ids)


def end_of(policy: Policy) -> int:
    """Return the token that ends an answer."""
    return int(policy.tokenizer.eos_token_id)
