"""The domain `instructions`: a request as it is, and an answer that meets all requirements of its reference.

It ships no generator and no certificate: a suite of it measures abilities that a line does not train, such as following a
format, keeping a length, answering what may be answered, and going on with ordinary text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from everlearn.domains.instructions.requirements import read_requirements
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_STATEMENT = 8000  # characters
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Instructions:
    """Requests with requirements."""

    name = "instructions"
    request_tokens = 64
    model_proposes = False

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row. Raises GrammarError for an empty or unprintable request, or requirements of no known kind."""
        statement, reference = row["statement"].strip(), (row.get("reference") or "").strip()
        if not statement or len(statement) > LONGEST_STATEMENT or _UNPRINTABLE.search(statement):
            raise GrammarError(f"a request is a text of 1 to {LONGEST_STATEMENT} printable characters")
        if reference:
            read_requirements(reference)
        return Problem(id="", domain=self.name, statement=statement, reference=reference or None)

    def question(self, problem: Problem) -> str:
        """Return the request."""
        return problem.statement

    def extract(self, completion: str) -> str:
        """Return the whole text."""
        return completion.strip()

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Check all requirements; the reason names the kind of the first that is not met."""
        if problem.reference is None:
            return Verdict(ruling=Ruling.UNDECIDED, reason="the problem has no requirements")
        if not answer.strip():
            return Verdict(ruling=Ruling.UNREADABLE, reason="there is no answer")
        missed = next((each for each in read_requirements(problem.reference) if not each.is_met(answer)), None)
        if missed is not None:
            return Verdict(ruling=Ruling.WRONG, reason=f"the requirement of kind {missed.kind} is not met")
        return Verdict(ruling=Ruling.CORRECT, reason="all requirements are met")
