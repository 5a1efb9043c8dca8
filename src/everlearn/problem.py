"""The frozen vocabulary: what is asked, what is answered, and what a verifier says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

STATEMENT_FIELDS = ("problem", "integrand", "statement")
"""What the statement of a problem may be called in a file of JSON lines, the usual name first."""


class Ruling(StrEnum):
    """What a verifier can say. `UNDECIDED` (time, undefined, no theory) is never `WRONG`."""

    CORRECT = "CORRECT"
    WRONG = "WRONG"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A ruling with the reason for it, in one sentence a user can read."""

    ruling: Ruling
    reason: str

    @property
    def is_correct(self) -> bool:
        """Whether the answer earns a reward: `UNDECIDED` does not, and is counted by itself."""
        return self.ruling is Ruling.CORRECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something to solve, in a domain that can judge answers to it. It carries no answer.

    `statement` is the problem in the domain's own grammar (for `integration`, the integrand in infix).
    """

    id: str
    domain: str
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What somebody offers as the solution of a problem, as untrusted text."""

    problem: Problem
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One problem of a suite, answered greedily by one policy and judged once.

    `root` names what the item counts under in a permutation test; an item that is its own root has `root == item`.
    """

    item: str
    root: str
    verdict: Verdict
    answer: str
