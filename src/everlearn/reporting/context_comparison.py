"""In-context learning beside the adapter: table of results and costs, and the sentence on when the adapter is cheaper."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from everlearn.reporting.costs import money_of
from everlearn.reporting.night_record import ContextRow
from everlearn.training.context_results import requests_until_cheaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from everlearn.reporting.costs import Cost
    from everlearn.settings import PriceSettings
    from everlearn.training.context_results import ContextResult


def context_rows(results: Iterable[ContextResult]) -> tuple[ContextRow, ...]:
    """Return the rows of a report's table of context and weights."""
    return tuple(
        ContextRow(
            policy=each.policy,
            examples=each.examples,
            choice=str(each.choice),
            n=len(each.right),
            right=sum(each.right),
            prompt_tokens=each.prompt_tokens,
            seconds=each.seconds,
        )
        for each in results
    )


def context_notes(
    contexts: Sequence[ContextResult],
    adapter: ContextResult,
    *,
    paid: Cost,
    prices: PriceSettings,
    suite: str = "the target",
) -> tuple[str, ...]:
    """Return a sentence on when the adapter is cheaper than a context of the same accuracy; none where no context was measured.

    `paid` is the cost of the adapter's training; 0: not known. `suite` is what both were measured on.
    """
    if not contexts:
        return ()
    return (f"Context or weights, on {suite}: {_conclusion(contexts, adapter, paid=paid, prices=prices)}",)


def _conclusion(contexts: Sequence[ContextResult], adapter: ContextResult, *, paid: Cost, prices: PriceSettings) -> str:
    if not any(adapter.right):
        return f"the adapter answers none of {len(adapter.right)} right, so that no request earns it back."
    if not any(each.accuracy >= adapter.accuracy for each in contexts):
        most = max(each.examples for each in contexts)
        return f"no context of up to {most} example{'s' if most > 1 else ''} does what the adapter does."

    def price(each: ContextResult) -> float:
        return money_of(prices, cpu_seconds=each.cpu_seconds, gpu_seconds=each.gpu_seconds)

    units: dict[str, tuple[float, Callable[[ContextResult], float]]] = {
        "CPU seconds": (paid.cpu_seconds, attrgetter("cpu_seconds")),
        "GPU seconds": (paid.gpu_seconds, attrgetter("gpu_seconds")),
        prices.currency: (paid.money, price),
    }
    needed = {
        unit: requests_until_cheaper(contexts, adapter, paid=spent, cost=cost) for unit, (spent, cost) in units.items()
    }
    if all(each is None for each in needed.values()):
        return "the context does as well, and costs no more a request."
    known = [f"{each:,.0f} requests by {unit}" for unit, each in needed.items() if each]
    if not known:
        return "the context does as well, and costs more a request; what the adapter has cost is not known."
    return f"the context does as well and costs more: the adapter has paid for itself after {', '.join(known)}."
