"""What a plug-in of a domain provides: four members are enough, all others are optional.

    class Chess:
        name = "chess"
        def problem(self, row): return Problem(id="", domain="chess", statement=checked(row["statement"]))
        def question(self, problem): return f"White to move mates in one: {problem.statement}"
        def verify(self, problem, answer): return Verdict(ruling=…, reason=…)

A class with a static method `tasks` is a family of domains: it is called with the name of a task (`domain_names.py`).
`contract.Domain` adds a default for each optional member that a plug-in does not have. docs/domains.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everlearn.problem import Problem, Verdict

REQUIRED = ("name", "problem", "question", "verify")


class DomainPlugin(Protocol):
    """The members that a plug-in must have. Statements and answers are untrusted text and are never evaluated."""

    @property
    def name(self) -> str:
        """The name of the entry point."""
        ...

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row, which has a `statement` and may have a `reference`, both texts.

        An empty `id` is completed. Raises GrammarError if the row is not in the grammar, or beyond its limits.
        """
        ...

    def question(self, problem: Problem) -> str:
        """Return the task in words, without notation of any model. The problem is given without its reference."""
        ...

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Judge an answer fast, in this process. May take a keyword `seed`, for a verifier that draws points.

        Raises GrammarError if the statement cannot be parsed. A domain that needs a reference answers UNDECIDED
        without one: variants of a problem have none.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactProof:
    """An exact check of an answer by computer algebra, for display.

    `canonical` is the answer as the algebra system writes it, `difference` is derivative minus integrand, simplified.
    All three texts are empty if nothing was decided in time.
    """

    canonical: str = ""
    derivative: str = ""
    difference: str = ""
    proved: bool

    @classmethod
    def not_decided(cls) -> Self:
        """Return the result of a check that came to no end."""
        return cls(proved=False)

    @property
    def status(self) -> str:
        """`proved` or `not decided`. There is no exact disproof."""
        return "proved" if self.proved else "not decided"
