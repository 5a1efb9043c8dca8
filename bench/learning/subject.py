"""What a comparison is about: problems of a domain by size, a base model, and how it is asked and trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from everlearn.domains.arithmetic.grammar import Operation, read_calculation
from everlearn.domains.integration.compositions import draw_product, split_product
from everlearn.domains.integration.term_sums import join_sum, split_sum
from everlearn.settings import FormatSettings, LadderSettings, LearnSettings

if TYPE_CHECKING:
    import random

Ask = Callable[[Sequence[str]], list[str]]
"""Maps statements to the greedy answers of the unmodified base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The problems of a comparison. Roots have the size `hard`; `longer` is larger than any root.

    `question` is the title of the page. `courses` are the sizes of generated problems by arm, `solve_in_pieces` asks
    the base for parts of each problem and joins its answers; without it, there is no arm `pieces`. `draw` draws a
    problem of a size, where the domain's own generator has others.
    """

    domain: str
    unit: str
    base: str
    hard: int
    longer: int
    table: tuple[int, ...]
    skills: tuple[int, ...]
    courses: Mapping[str, Sequence[int]]
    solve_in_pieces: Callable[[Ask, Sequence[str]], list[str]] | None = None
    draw: Callable[[random.Random, int], str] | None = None
    question: str = "What the ladder adds"
    roots: int = 120
    course_problems: int = 600
    threads: int = 1
    form: FormatSettings = field(default_factory=FormatSettings)
    learn: LearnSettings = field(default_factory=LearnSettings)
    growth: LadderSettings = field(default_factory=LadderSettings)


def solve_by_pairs_of_terms(ask: Ask, statements: Sequence[str]) -> list[str]:
    """Ask two terms of each sum at a time and join the answers."""
    terms = [split_sum(statement) for statement in statements]
    asked = [[join_sum(own[start : start + 2]) for start in range(0, len(own), 2)] for own in terms]
    return [" + ".join(f"({answer})" for answer in ask(parts)) for parts in asked]


def solve_by_factors(ask: Ask, statements: Sequence[str]) -> list[str]:
    """Ask each factor of each product alone and multiply the answers."""
    asked = [[part.body for part in split_product(statement)] for statement in statements]
    return ["*".join(f"({answer})" for answer in ask(parts)) for parts in asked]


def solve_by_columns(ask: Ask, statements: Sequence[str]) -> list[str]:
    """Ask each column of each addition, then the sum with the carry where there is one, and join the last digits."""
    asked = [read_calculation(statement) for statement in statements]
    digits: list[list[str]] = [[] for _ in asked]
    carries = [0 for _ in asked]
    for place in range(max(each.digits for each in asked)):
        columns = [(each.left // 10**place % 10, each.right // 10**place % 10) for each in asked]
        sums = ask([f"{left} {Operation.ADDITION.symbol} {right}" for left, right in columns])
        carried = ask([f"{total if total.isdigit() else 0} {Operation.ADDITION.symbol} 1" for total in sums])
        for row, (total, more) in enumerate(zip(sums, carried, strict=True)):
            written = more if carries[row] else total
            digits[row].insert(0, written[-1:])
            carries[row] = len(written) > 1
    return [("1" * carry + "".join(places)).lstrip("0") or "0" for carry, places in zip(carries, digits, strict=True)]


SUMS = Subject(
    domain="integration",
    unit="terms",
    base="data/base",
    hard=14,
    longer=18,
    table=(6, 10, 14, 18),
    skills=(1, 2, 3),
    courses={"course": range(4, 14), "short course": range(4, 7)},
    solve_in_pieces=solve_by_pairs_of_terms,
)
"""Integrals of sums, and the default base, pretrained on sums of one to three terms."""

PLAIN_POSITIONS = replace(
    SUMS,
    question="What is learned where the notation does not help",
    base=".everlearn/models/plain-positions",
    form=FormatSettings(name="marked"),
)
"""The same sums in the same notation, and a base that was pretrained in the same way, but whose positions count tokens."""

COMPOSITIONS = Subject(
    domain="integration",
    unit="functions",
    base="data/base",
    hard=6,
    longer=7,
    table=(4, 5, 6, 7),
    skills=(1, 2, 3),
    courses={"course": range(3, 6), "short course": range(3, 5)},
    solve_in_pieces=solve_by_factors,
    draw=lambda rng, depth: draw_product(rng, depth=depth),
)
"""Integrals of compositions, and the default base, pretrained on compositions of one to three functions."""
