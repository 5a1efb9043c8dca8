"""Costs of a night: in total, for each newly solved problem, and compared with retraining from the base."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from everlearn.gate.decision_record import Decision
    from everlearn.reporting.night_record import StepTime
    from everlearn.settings import PriceSettings

HOUR = 3600.0
KILOWATT_HOUR = 3.6e6  # joules
LEARNING = ("supervised", "ladder", "anchors", "train")
"""Steps of a night that decide its weights. The others measure and publish, which a night does however it has learned."""

COMPARISON = "in context"
"""The step that compares a candidate with contexts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU and GPU seconds, joules where the machine tells them, and money where there are prices; 0 elsewhere."""

    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    joules: float = 0.0
    money: float = 0.0


def cost_of(steps: Iterable[StepTime], prices: PriceSettings) -> Cost:
    """Return what these steps cost together."""
    kept = list(steps)
    cpu, gpu, joules = (sum(getattr(step, name) for step in kept) for name in ("cpu_seconds", "gpu_seconds", "joules"))
    money = money_of(prices, cpu_seconds=cpu, gpu_seconds=gpu, joules=joules)
    return Cost(cpu_seconds=cpu, gpu_seconds=gpu, joules=joules, money=money)


def adapter_cost(steps: Iterable[StepTime], prices: PriceSettings) -> Cost:
    """Return what an adapter has cost: its night without the comparison with contexts, which no adapter needs."""
    return cost_of((step for step in steps if step.name != COMPARISON), prices)


def money_of(prices: PriceSettings, *, cpu_seconds: float, gpu_seconds: float, joules: float = 0.0) -> float:
    """Return what that costs by a price table."""
    seconds = cpu_seconds * prices.cpu_hour + gpu_seconds * prices.gpu_hour
    return seconds / HOUR + joules / KILOWATT_HOUR * prices.kilowatt_hour


def step_money(steps: Iterable[StepTime], prices: PriceSettings) -> dict[str, float]:
    """Return the money of each step by its name; nothing where there are no prices."""
    money = {step.name: cost_of([step], prices).money for step in steps}
    return money if any(money.values()) else {}


def cost_notes(steps: Sequence[StepTime], decision: Decision, *, prices: PriceSettings) -> tuple[str, ...]:
    """Return a sentence about CPU and GPU time, tokens, energy, and money where there are prices; none without a measured step.

    Steps that have not ended, such as publishing, are not counted. The cost of a newly solved problem is that of the
    night divided by the target items that the candidate solves and the parent does not.
    """
    cost = cost_of(steps, prices)
    if not cost.cpu_seconds:
        return ()
    solved = sum(row.won for row in decision.rows if row.kind is SuiteKind.TARGET and row.against is Against.PARENT)
    used = _hours(cost)
    tokens = sum(step.tokens for step in steps)
    used += [f"{tokens:,} sampled tokens"] if tokens else []
    used += [f"{cost.joules / KILOWATT_HOUR:.3g} kWh of processors and GPUs"] if cost.joules else []
    said = f"The night cost {_listed(used)}{_amount(cost.money, prices, before=': ')}"
    if solved:
        each = [f"{cost.cpu_seconds / solved:.0f} CPU s"]
        each += [f"{cost.gpu_seconds / solved:.0f} GPU s"] if cost.gpu_seconds else []
        said += f"; each of the {solved} newly solved held-out problems {_listed(each)}"
        said += _amount(cost.money / solved, prices, before=", ")
    return (f"{said}.",)


def retraining_notes(
    tonight: Sequence[StepTime], ancestors: Sequence[Sequence[StepTime]], *, prices: PriceSettings
) -> tuple[str, ...]:
    """Return a sentence that compares tonight's learning steps with those of training the version from the base model.

    `ancestors` are the steps of the nights of its ancestors. Empty for a night without ancestors, which trains from the
    base itself, and where no step of an ancestor is known.
    """
    steps, known = _learning(tonight), [steps for steps in map(_learning, ancestors) if steps]
    own, full = cost_of(steps, prices), cost_of(chain(steps, *known), prices)
    if not own.cpu_seconds or full.cpu_seconds == own.cpu_seconds:
        return ()
    of = "its ancestor" if len(ancestors) == 1 else f"its {len(ancestors)} ancestors"
    if len(known) < len(ancestors):
        of = f"{len(known)} of {of}, the others have no step times"
    said = f"Learning cost {_spent(own, prices)} tonight; retraining in full would have cost {_spent(full, prices)}."
    assumed = "it assumes the same steps from the base model, on all data so far"
    return (f"{said} That is the sum of the steps {_listed(LEARNING)} of this night and of {of}: {assumed}.",)


def _learning(steps: Iterable[StepTime]) -> list[StepTime]:
    return [step for step in steps if step.name in LEARNING]


def _spent(cost: Cost, prices: PriceSettings) -> str:
    return _listed(_hours(cost)) + _amount(cost.money, prices, before=" or ")


def _hours(cost: Cost) -> list[str]:
    gpu = [f"{cost.gpu_seconds / HOUR:.2f} GPU hours"] if cost.gpu_seconds else []
    return [f"{cost.cpu_seconds / HOUR:.2f} CPU hours", *gpu]


def _amount(money: float, prices: PriceSettings, *, before: str) -> str:
    return f"{before}{money:.3g} {prices.currency}" if money else ""


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
