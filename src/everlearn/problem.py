"""The frozen vocabulary: problems, answers, and the verdicts of a verifier."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

STATEMENT_FIELDS = ("problem", "integrand", "statement", "question", "prompt")
"""Accepted names of the field that holds a problem's statement in a JSON Lines file, the usual one first."""
ANSWER_FIELDS = ("answer", "antiderivative", "response", "completion", "solution")
"""Accepted names of the field that holds an answer, the usual one first."""
REFERENCE_FIELD = "reference"
"""Name of the field that holds a problem's hidden reference."""


class Ruling(StrEnum):
    """Result of a verification.

    `UNREADABLE`: the text is no answer in the domain's grammar. It is not right, in every count, and is told apart from
    `WRONG` only where people read verdicts. `UNDECIDED` (time limit, undefined expression, no method) is neither.
    """

    CORRECT = "CORRECT"
    WRONG = "WRONG"
    UNREADABLE = "UNREADABLE"
    UNDECIDED = "UNDECIDED"

    @property
    def is_not_right(self) -> bool:
        """Whether the answer was judged and is not right: `WRONG` or `UNREADABLE`, but not `UNDECIDED`."""
        return self in (Ruling.WRONG, Ruling.UNREADABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A ruling with its reason in one readable sentence."""

    ruling: Ruling
    reason: str

    @property
    def is_correct(self) -> bool:
        """Whether the answer earns a reward: `UNDECIDED` does not, and is counted separately."""
        return self.ruling is Ruling.CORRECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A task in a domain that can verify answers to it.

    `statement` is written in the domain's grammar (for `integration`, the integrand in infix notation). `root` names
    the group of a suite's item that is not independent of others, such as variants of one problem; None: independent.
    `reference` is what the domain judges answers by, if it needs anything, such as a number or tests. It is stored in
    snapshots and suites only, and never in a prompt, a log, a ladder or a report.
    """

    id: str
    domain: str
    statement: str
    root: str | None = None
    reference: str | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """Text that differs for problems that are judged differently, and does not reveal the reference."""
        if self.reference is None:
            return self.statement
        salted = f"{self.statement}\x1f{self.reference}".encode()
        return f"{self.statement}\x1f{hashlib.sha256(salted).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A proposed solution of a problem, as untrusted text."""

    problem: Problem
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One problem of a suite, answered greedily by one policy and verified once.

    `root` names the group of the item in a permutation test; an item that is its own root has `root == item`.
    """

    item: str
    root: str
    verdict: Verdict
    answer: str
