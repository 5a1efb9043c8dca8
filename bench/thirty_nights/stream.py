"""The problems of thirty nights: which skills a night has, and how they are drawn."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from everlearn.domains.integration.compositions import draw_product
from everlearn.domains.integration.term_sums import draw_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NIGHTS = 30
PROBLEMS = 240
"""New problems of each skill that a night has."""
MEASURED = 40
"""Fresh problems by which a skill is measured after each night."""


SKILLS: dict[str, Callable[[random.Random], str]] = {
    "sums of 10": partial(draw_sum, size=10),
    "4 functions": partial(draw_product, depth=4),
    "sums of 13": partial(draw_sum, size=13),
    "5 functions": partial(draw_product, depth=5),
    "sums of 16": partial(draw_sum, size=16),
    "6 functions": partial(draw_product, depth=6),
    "sums of 19": partial(draw_sum, size=19),
    "7 functions": partial(draw_product, depth=7),
    "sums of 22": partial(draw_sum, size=22),
}
SCHEDULE: dict[str, tuple[range, ...]] = {
    "sums of 10": (range(1, 4), range(24, 26)),
    "4 functions": (range(4, 7),),
    "sums of 13": (range(7, 10),),
    "5 functions": (range(10, 13),),
    "sums of 16": (range(13, 16),),
    "6 functions": (range(16, 19),),
    "sums of 19": (range(19, 22),),
    "7 functions": (range(22, 25), range(28, 31)),
    "sums of 22": (range(25, 28),),
}
"""The nights, from 1, in which a skill has new problems. The first one returns after twenty nights without it."""


def skills_of(night: int) -> list[str]:
    """Return the skills that a night has problems of."""
    return [name for name, phases in SCHEDULE.items() if any(night in phase for phase in phases)]


def arrival_of(skill: str) -> int:
    """Return the first night with problems of a skill."""
    return SCHEDULE[skill][0].start


def draw(skill: str, *, count: int, stream: str, forbidden: Iterable[str] = ()) -> list[str]:
    """Return different problems of a skill, the same for the same stream, and none of `forbidden`."""
    rng, seen = random.Random(f"thirty nights, {skill}, {stream}"), set(forbidden)
    found: list[str] = []
    while len(found) < count:
        statement = SKILLS[skill](rng)
        if statement not in seen:
            seen.add(statement)
            found.append(statement)
    return found


def measured_problems() -> dict[str, list[str]]:
    """Return the problems by which each skill is measured, in every arm and seed."""
    return {skill: draw(skill, count=MEASURED, stream="measured") for skill in SKILLS}


def problems_of(night: int, *, seed: int) -> list[str]:
    """Return the new problems of a night."""
    hidden = {text for texts in measured_problems().values() for text in texts}
    return [
        text
        for skill in skills_of(night)
        for text in draw(skill, count=PROBLEMS, stream=f"night {night}, seed {seed}", forbidden=hidden)
    ]
