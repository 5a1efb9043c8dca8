"""What a candidate truly is: its gains over the parent on independent suites, measured in blocks until it is clear."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BAD, GOOD, UNCLEAR = "bad", "not bad", "unclear"
EARLY, LAST = 2.5, 1.645
"""Standard errors by which a side of the margin must be exceeded: to stop before the last block, and after it."""


def judge_truth(
    measure: Callable[[int], Mapping[str, str]],
    before: Sequence[Mapping[str, str]],
    *,
    margin: float,
    gain: float,
) -> dict[str, Any]:
    """Return the gains on target and skill, the number of items, and the truth.

    `measure` answers a block, as strings with 1 for a right answer; `before` has the parent's. Bad is a loss of more
    than `margin` on skills, or a gain of less than `gain` on the target.
    """
    old, new = ({"target": "", "skill": ""} for _ in range(2))
    for number, block in enumerate(before):
        answered = measure(number)
        for name in old:
            old[name] += block[name]
            new[name] += answered[name]
        errors = LAST if number == len(before) - 1 else EARLY
        truth = _side({name: _limits(old[name], new[name], errors) for name in old}, margin=margin, gain=gain)
        if truth != UNCLEAR:
            break
    gains = {f"true_{name}_gain": round(_gain(old[name], new[name]), 4) for name in old}
    return {**gains, "true_items": {name: len(marks) for name, marks in old.items()}, "truth": truth}


def _side(limits: Mapping[str, tuple[float, float]], *, margin: float, gain: float) -> str:
    if limits["skill"][1] < -margin or limits["target"][1] < gain:
        return BAD
    return GOOD if limits["skill"][0] > -margin and limits["target"][0] > gain else UNCLEAR


def _gain(old: str, new: str) -> float:
    return (new.count("1") - old.count("1")) / len(old)


def _limits(old: str, new: str, errors: float) -> tuple[float, float]:
    """Return the gain minus and plus so many standard errors. One changed answer is added, so that no error is 0."""
    changed = sum(one != other for one, other in zip(old, new, strict=True)) + 1
    middle, spread = _gain(old, new), errors * sqrt(changed) / len(old)
    return middle - spread, middle + spread
