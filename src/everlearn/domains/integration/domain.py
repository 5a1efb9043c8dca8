"""Integration: the problem is an integrand in x, the answer an antiderivative.

All text is parsed by the grammar and never evaluated as code; what it cannot read is read as usual notation
(`notation/`). `verify` differentiates the answer and compares it with
the integrand, `recheck` does so at 50 digits. Moves and the generator treat a problem as a sum of terms (`term_sums.py`,
`moves.py`), or as one product of several functions (`compositions.py`). The size of a problem is its number of terms, or
of these functions.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from everlearn.domains.integration import (
    canonical,
    compositions,
    equivalence,
    known_answers,
    moves,
    numeric_verifier,
    recheck,
    similar_problems,
    term_sums,
)
from everlearn.domains.integration.grammar import FUNCTIONS, parse
from everlearn.domains.integration.notation.text_forms import read_answer, read_statement, strict_answer
from everlearn.domains.integration.undefined_parts import check_defined
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from everlearn.domains.plugin import ExactProof

_WORD = re.compile(r"[a-z]+")


class Integration:
    """The domain `integration`."""

    name = "integration"
    moves = moves.MOVES
    equivalence_scheme = equivalence.SCHEME
    libraries = ("numpy", "mpmath")

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row: its statement as it is, or in the strict grammar if it is in usual notation.

        Raises:
            GrammarError: the statement cannot be read, exceeds a limit, or is defined nowhere, as 1/0 is.
        """
        strict = read_statement(row["statement"]).text
        check_defined(parse(strict))
        return self._named(strict)

    def question(self, problem: Problem) -> str:
        """Return the task in words."""
        return f"Find an antiderivative of {problem.statement} with respect to x."

    def canonical(self, statement: str) -> str:
        """Return text that is equal for equal problems."""
        return canonical.canonical(read_statement(statement).text)

    def equivalence(self, statement: str) -> str:
        """Return a key that is equal for integrands that are proportional as functions: see `equivalence.py`."""
        return equivalence.equivalence(read_statement(statement).text)

    def verify(self, problem: Problem, answer: str, *, seed: int = 0) -> Verdict:
        """Judge an answer, fast, in double precision where that is safe."""
        return _judge(partial(numeric_verifier.verify, seed=seed), problem.statement, answer)

    def recheck(self, problem: Problem, answer: str, *, digits: int = 50) -> Verdict:
        """Judge an answer again, slowly, by an independent method."""
        return _judge(partial(recheck.recheck, digits=digits), problem.statement, answer)

    def prove(self, problem: Problem, answer: str) -> ExactProof:
        """Prove exactly that the answer is an antiderivative, for display. May take unbounded time."""
        from everlearn.domains.integration.symbolic import prove_antiderivative  # imports SymPy

        question = read_statement(problem.statement)
        with suppress(GrammarError):  # an answer that cannot be read is never proved
            answer = strict_answer(answer, variable=question.variable)
        return prove_antiderivative(question.text, answer)

    def solve(self, problem: Problem) -> str | None:
        """Return an antiderivative of a sum of the default families, or of a composition; None for other problems."""
        return known_answers.antiderivative(read_statement(problem.statement).text)

    def wrong_answers(self, problem: Problem, answer: str, *, rng: random.Random) -> list[str]:  # noqa: ARG002
        """Return functions with another derivative: terms added, left out, a digit changed."""
        return known_answers.wrong_ones(answer, rng=rng)

    def same_answers(self, problem: Problem, answer: str) -> list[str]:  # noqa: ARG002
        """Return the answer with a constant, and in usual notation."""
        return known_answers.same_ones(answer)

    def split(self, statement: str) -> list[str]:
        """Return the signed terms of a sum, or the parts of a product of several functions."""
        return list(map(str, compositions.split_product(read_statement(statement).text)))

    def join(self, terms: Sequence[str]) -> str:
        """Return the sum of signed terms, or of sums; the product if one of them is a factor."""
        return compositions.join_parts([part for text in terms for part in compositions.read_parts(text)])

    def propose(self, statement: str, move: str) -> str:
        """Return the words that ask a model for a variant."""
        return moves.words(read_statement(statement).text, move)

    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        """Return a variant that is derived without a model."""
        return moves.derive(read_statement(statement).text, move, rng=rng)

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> Problem:
        """Return a random problem of the families of `like`, or a sum of `size` terms of the default families."""
        if like:
            return self._named(similar_problems.draw_similar(rng, [problem.statement for problem in like]))
        return self._named(term_sums.draw_sum(rng, size=size))

    def size(self, statement: str) -> int:
        """Return the number of terms, or of functions that are multiplied."""
        return compositions.size_of(compositions.split_product(read_statement(statement).text))

    def skill(self, statement: str) -> str:
        """Return the functions in the statement, `mixed` for more than two, `algebraic` for none."""
        named = sorted({*_WORD.findall(read_statement(statement).text)} & FUNCTIONS)
        return "mixed" if len(named) > 2 else "+".join(named) or "algebraic"

    def _named(self, strict: str) -> Problem:
        named = hashlib.sha256(canonical.canonical(strict).encode()).hexdigest()[:16]
        return Problem(id=named, domain=self.name, statement=strict)


def _judge(verify: Callable[[str, str], Verdict], statement: str, answer: str) -> Verdict:
    """Return the verdict on an answer: in the strict grammar if that reads it, else in usual notation."""
    question = read_statement(statement)
    verdict = verify(question.text, answer)
    if verdict.ruling is not Ruling.UNREADABLE:
        return verdict
    try:
        return verify(question.text, read_answer(answer, variable=question.variable))
    except GrammarError as error:
        return Verdict(ruling=Ruling.UNREADABLE, reason=f"the answer cannot be read: {error}")
