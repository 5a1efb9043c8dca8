"""The levels of each night's tests, so that a line makes few errors over its life, however many nights it tries.

Improvements, so that few of all "improved" labels are false: LORD++ (A. Ramdas, F. Yang, M. Wainwright, M. Jordan,
"Online control of the false discovery rate with decaying memory", NeurIPS 2017, arXiv 1710.00499). At any time the
expected number of false labels of a line is at most `alpha` times that of all its labels (at least 1). A test without a
label spends from a budget, a label earns some of it back.

A test counts as passed where its night was published: a night that a guard stopped gives no label, which is as if its
p-value were 1. The guarantee needs p-values that are valid given the past, so a night's target has no problem that an
earlier night measured with the same parent, nor one that the undecided candidate was measured on that it goes on from
(`EarlierUse.not_fresh`).

Only nights that the budget judged are tests of it: others spend nothing, and their versions earn nothing. A label earns
only for tests at the `alpha` at which it was given. For all others its night is a test without a label. So no change of
the settings, back and forth, gives back what was spent: the levels of all tests, of whatever `alpha`, sum to at most a
max(1, n) for n labels and the largest `alpha` a that the line had. Their initial parts sum to a / 2, each label earns
at most a, and the first one only a / 2.

Losses, so that with probability 1 - `alpha` no version is ever published that lost more than a margin: every attempt
spends a fixed part of `alpha`, and the parts of all attempts sum to at most `alpha` (`loss_level`). The attempts of all
nights are counted, whatever judged them, so that a change of the settings begins nothing anew.

Headlines, "beats the base model", so that with probability 1 - `alpha` a line never makes a false one: they spend an
`alpha` of their own in the same way, where improvements have an error budget. The held-out problems of each night are
fresh.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING, Any

from everlearn.registry.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everlearn.registry.events import Event
    from everlearn.registry.versions import Registry
    from everlearn.settings import GateSettings

TESTS = frozenset({EventKind.PUBLISHED, EventKind.REJECTED, EventKind.INSUFFICIENT})
"""Events that end a night which is a test, also where it ended before it could be decided."""

RULE = 3
"""Number of the rule by which levels follow from events, and outcomes from answers, stored with each decision. To be raised with every change."""
SAME_LOOKS = 2
"""The oldest of these rules by which looks give the outcome that they give today; the levels have been the same since the first one."""
SAME_TARGETS = 3
"""The oldest of these rules by which a target without room to improve counts as one of the night's claims."""
IMPROVEMENT_ERROR = "improvement_error"
"""Field of the event of a night that was not decided: the setting of that name. Events of older revisions do not have it."""
_DECAY, _SUM = 1.6, 2.2858
"""Exponent of the decay, and at least the sum of j^-1.6 over all j >= 1."""
_OFFSET = 100
"""Makes the levels of losses almost equal in the first hundred nights, and fall slowly after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBudget:
    """What the tests of a line so far have spent of an error budget, and what is left for all later ones.

    `overdrawn` is what was spent beyond the budget, as where a label was voided later or `alpha` was another. Then
    nothing is left.
    """

    spent: float
    left: float
    overdrawn: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What earlier nights mean for the levels of the next one.

    attempts   nights that were tests, whatever judged them
    labels     for each test of the line's budget for improvements, oldest first, whether it gave a label that earns at the present
               `alpha`; none where improvements have no such budget
    spent      sum of the levels at which these tests were made, as their decisions store them
    """

    attempts: int = 0
    labels: tuple[bool, ...] = ()
    spent: float = 0.0


def past_of(history: Sequence[Event], *, settings: GateSettings, registry: Registry) -> Past:
    """Return what these events of the line mean for a night with these settings."""
    alpha, labels, spent = settings.alpha, list[bool](), 0.0
    if settings.improvement_error == "line":
        for label, level in _labels(history, alpha=alpha, registry=registry):
            spent += improvement_level(labels, alpha=alpha) if level is None else level
            labels.append(label)
    return Past(attempts=sum(event.kind in TESTS for event in history), labels=tuple(labels), spent=spent)


def loss_spent_of(history: Sequence[Event], *, settings: GateSettings, registry: Registry) -> float:
    """Return the sum of the levels at which all attempts were compared with the record, as their decisions store them."""
    spent = 0.0
    for attempt, event in enumerate((event for event in history if event.kind in TESTS), start=1):
        stored = (decision_of(event, registry) or {}).get("loss_level")
        spent += loss_level(attempt, alpha=settings.alpha) if stored is None else stored
    return spent


def level_of_line(past: Past, *, settings: GateSettings) -> float | None:
    """Return the level of the line's next improvement test; None where it is `alpha` each night."""
    if settings.improvement_error == "night":
        return None
    return improvement_level(past.labels, alpha=settings.alpha)


def older_levels(history: Sequence[Event], *, settings: GateSettings, registry: Registry) -> tuple[float | None, ...]:
    """Return the levels that a decision without the number of a rule may have been made at, after these events.

    Every test counted once, and every published version had given a label; later, labels were as now, but none was
    void.
    """
    published = [event.kind is EventKind.PUBLISHED for event in history if event.kind in TESTS]
    unaware = past_of(
        [event for event in history if not event.detail.get("leaked")], settings=settings, registry=registry
    )
    return tuple(
        level_of_line(replace(unaware, labels=labels), settings=settings)
        for labels in (tuple(published), unaware.labels)
    )


def improvement_level(labels: Sequence[bool], *, alpha: float) -> float:
    """Return the level of the next test; `labels` says for each test so far, oldest first, whether it gave a label.

    Half of `alpha` is the initial budget. The result is between 0 and `alpha`.
    """
    test, initial = len(labels) + 1, alpha / 2
    given = [number for number, label in enumerate(labels, start=1) if label]
    level = _spending(test) * initial
    for place, number in enumerate(given):
        level += _spending(test - number) * (alpha - initial if place == 0 else alpha)
    return level


def budget_of(earned: float, *, spent: float) -> ErrorBudget:
    """Return what is left of what was earned."""
    return ErrorBudget(spent=spent, left=max(0.0, earned - spent), overdrawn=max(0.0, spent - earned))


def budgets_of_line(past: Past, *, settings: GateSettings, loss_spent: float = 0.0) -> dict[str, ErrorBudget]:
    """Return the budget of each error that is limited over the life of the line: `improvements`, `headlines`, `losses`.

    What was earned is said by the present `alpha` and the labels that count now: it is the wealth of LORD++. What was
    spent is as it was decided. No decision stores the level of a headline: these are said as if all had been made at
    the present `alpha`, as is the part of a night that ended without a decision.
    """
    alpha, budgets = settings.alpha, {}
    if settings.improvement_error == "line":
        budgets["improvements"] = budget_of(alpha * max(0.5, sum(past.labels)), spent=past.spent)
        attempts = range(1, past.attempts + 1)
        budgets["headlines"] = budget_of(alpha, spent=sum(loss_level(attempt, alpha=alpha) for attempt in attempts))
    if settings.loss_error == "line":
        budgets["losses"] = budget_of(alpha, spent=loss_spent)
    return budgets


def loss_level_of_line(past: Past, *, settings: GateSettings) -> float | None:
    """Return the level at which the next attempt of the line has to exclude a loss; None where it is `alpha` each night."""
    return None if settings.loss_error == "night" else loss_level(past.attempts + 1, alpha=settings.alpha)


def headline_level_of_line(past: Past, *, settings: GateSettings) -> float | None:
    """Return the level of the line's next headline, "beats the base model"; None where the line makes no such claims."""
    return None if settings.improvement_error == "night" else loss_level(past.attempts + 1, alpha=settings.alpha)


def loss_level(attempt: int, *, alpha: float) -> float:
    """Return the level of the attempt with this number, from 1: c / (u ln^2 u) for u = attempt + 100.

    The sum over all attempts is below `alpha`, because the integral of 1 / (u ln^2 u) from 100 is 1 / ln 100.
    """
    u = attempt + _OFFSET
    return alpha * log(_OFFSET) / (u * log(u) ** 2)


def _spending(after: int) -> float:
    """Return the share of a budget that is spent so many tests after it was earned; the shares sum to at most 1.

    Proportional to j^-1.6, after Ramdas, Zrnic, Wainwright and Jordan (SAFFRON, ICML 2018, arXiv 1802.09098): more of
    it early than by the slower decay of LORD's authors, which found a tenth of the improvements in `bench.lifetime`.
    """
    return float(after**-_DECAY) / _SUM


def _labels(history: Sequence[Event], *, alpha: float, registry: Registry) -> Iterator[tuple[bool, float | None]]:
    """Yield for each test of the line's budget whether it gave a label that earns at `alpha`, and the level of the test.

    A decision has a level where the budget made it. Of a night without a decision, given up or with nothing to train
    on, the event says what would have made it; one of an older revision does not, and counts as a test. Its level is
    None. The label of a version that leaked is none, from the event on that says so.
    """
    leaked = {event.detail["version"] for event in history if event.detail.get("leaked")}
    for event in history:
        if event.kind not in TESTS:
            continue
        decision = decision_of(event, registry)
        if decision is None:
            if event.detail.get(IMPROVEMENT_ERROR, "line") == "line":
                yield False, None
        elif (level := decision.get("level")) is not None:
            yield _earns(event, leaked, alpha=alpha, registry=registry), level


def _earns(event: Event, leaked: set[str], *, alpha: float, registry: Registry) -> bool:
    """Return whether the night of this event gave a label that earns at `alpha`."""
    if event.kind is not EventKind.PUBLISHED or event.detail["version"] in leaked:
        return False
    return bool(registry.manifest(event.detail["version"]).config.get("gate", {}).get("alpha") == alpha)


def decision_of(event: Event, registry: Registry) -> dict[str, Any] | None:
    """Return the decision about the night of this event; None where it ended without one."""
    if event.kind is EventKind.PUBLISHED:
        return registry.manifest(event.detail["version"]).decision
    return event.detail.get("decision")
