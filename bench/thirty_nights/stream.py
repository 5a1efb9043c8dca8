"""The problems of thirty nights: which skills a night has, and how they are drawn."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from everlearn.domains.integration.compositions import draw_product
from everlearn.domains.integration.term_sums import EASIEST, FAMILIES, draw_sum, join_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NIGHTS = 30
PROBLEMS = 70
"""New problems of each skill that a night has."""
MEASURED = 60
"""Fresh problems by which a skill is measured after each night."""
_HARDER = tuple(family for family in FAMILIES if family not in EASIEST)


def _draw_of(rng: random.Random, *, families: tuple[Callable[..., object], ...], size: int) -> str:
    """Draw a sum whose terms all come from some families."""
    return join_sum([rng.choice(families)(rng)[0] for _ in range(size)])  # type: ignore[index]


SKILLS: dict[str, Callable[[random.Random], str]] = {
    "sums of 9": partial(draw_sum, size=9),
    "4 functions": partial(draw_product, depth=4),
    "7 hard terms": partial(_draw_of, families=_HARDER, size=7),
    "sums of 11": partial(draw_sum, size=11),
    "5 functions": partial(draw_product, depth=5),
    "12 easy terms": partial(_draw_of, families=EASIEST, size=12),
    "sums of 13": partial(draw_sum, size=13),
}
SCHEDULE: dict[str, tuple[range, ...]] = {
    "sums of 9": (range(1, 6), range(26, 31)),
    "4 functions": (range(4, 10),),
    "7 hard terms": (range(8, 14),),
    "sums of 11": (range(12, 18),),
    "5 functions": (range(16, 22),),
    "12 easy terms": (range(20, 26),),
    "sums of 13": (range(24, 31),),
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
