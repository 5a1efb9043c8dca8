"""Sentences about in-context learning beside the adapter: what each answers, and what a request costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.training.context_results import Choice, requests_until_cheaper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.training.context_results import ContextResult


def context_notes(contexts: Sequence[ContextResult], adapter: ContextResult, *, paid: float) -> tuple[str, ...]:
    """Return what each context and the adapter answer, and when the adapter is cheaper.

    `paid` are the CPU seconds that the adapter has cost; 0: they are not known. Nothing is said where no context was measured.
    """
    if not contexts:
        return ()
    best = max(contexts, key=lambda each: (each.accuracy, -each.prompt_tokens))
    said = "; ".join(map(describe_result, (best, adapter)))
    return (f"Context or weights, on the target: {said}. {_conclusion(contexts, adapter, paid=paid)}",)


def describe_result(result: ContextResult) -> str:
    """Return policy, examples, accuracy, and the prompt tokens and seconds of a request."""
    shown = "without examples"
    if result.choice is not Choice.NONE:
        plural = "s" if result.examples > 1 else ""
        shown = f"with {result.examples} {result.choice} solved example{plural} in the prompt"
    return (
        f"{result.policy} {shown} {result.accuracy:.1%} of {len(result.right)} "
        f"({result.prompt_tokens:.0f} prompt tokens, {result.seconds:.3f} s a request)"
    )


def _conclusion(contexts: Sequence[ContextResult], adapter: ContextResult, *, paid: float) -> str:
    as_good = [each for each in contexts if each.accuracy >= adapter.accuracy]
    if not as_good:
        most = max(each.examples for each in contexts)
        return f"No context of up to {most} examples does what the adapter does."
    requests = requests_until_cheaper(contexts, adapter, paid=paid)
    if requests is None:
        return "The context does as well, and costs no more a request."
    if not paid:
        return "The context does as well, and costs more a request; what the adapter has cost is not known."
    return f"The context does as well and costs more: the adapter has paid for itself after {requests:,.0f} requests."
