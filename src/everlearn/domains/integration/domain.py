"""Integration: the problem is an integrand in x, the answer an antiderivative.

All text is parsed by the grammar and never evaluated as code. `verify` differentiates the answer and compares it with
the integrand, `recheck` does so at 50 digits. Prompts, moves and the generator treat a problem as a sum of terms
(`term_sums.py`, `moves.py`). The size of a problem is its number of terms.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from everlearn.domains.integration import (
    canonical,
    grammar,
    moves,
    numeric_verifier,
    recheck,
    similar_problems,
    term_sums,
)
from everlearn.problem import Problem

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from everlearn.domains.contract import ExactProof
    from everlearn.problem import Verdict


class Integration:
    """The domain `integration`."""

    name = "integration"
    moves = moves.MOVES

    def problem(self, statement: str, *, id: str | None = None) -> Problem:  # noqa: A002 (the field's own name)
        """Return the statement as a problem.

        Raises:
            GrammarError: the statement is not in the grammar, or exceeds its limits.
        """
        grammar.parse(statement)
        named = id or hashlib.sha256(self.canonical(statement).encode()).hexdigest()[:16]
        return Problem(id=named, domain=self.name, statement=statement)

    def canonical(self, statement: str) -> str:
        """Return text that is equal for equal problems."""
        return canonical.canonical(statement)

    def equivalence(self, statement: str) -> str:
        """Return the canonical text up to a constant factor."""
        return canonical.equivalence(statement)

    def verify(self, statement: str, answer: str, *, seed: int = 0) -> Verdict:
        """Judge an answer, fast, in double precision where that is safe."""
        return numeric_verifier.verify(statement, answer, seed=seed)

    def recheck(self, statement: str, answer: str, *, digits: int = 50) -> Verdict:
        """Judge an answer again, slowly, by an independent method."""
        return recheck.recheck(statement, answer, digits=digits)

    def prove(self, statement: str, answer: str) -> ExactProof:
        """Prove exactly that the answer is an antiderivative, for display. May take unbounded time."""
        from everlearn.domains.integration.symbolic import prove_antiderivative  # imports SymPy

        return prove_antiderivative(statement, answer)

    def prompt(self, statement: str, *, rng: random.Random) -> str:
        """Return the prompt, with markers drawn from `rng`."""
        return moves.prompt(statement, rng=rng)

    def extract(self, completion: str) -> str:
        """Return the answer in a completion."""
        return moves.extract(completion)

    def propose(self, statement: str, move: str, *, rng: random.Random) -> str:
        """Return the prompt for an easier variant."""
        return moves.prompt(statement, rng=rng, move=move)

    def apply(self, statement: str, move: str, prompt: str, completion: str) -> str | None:  # noqa: ARG002
        """Return the variant that a completion proposes, or None."""
        return moves.apply(move, prompt, completion)

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> str:
        """Return a random problem of the families of `like`, or a sum of `size` terms of the default families."""
        if like:
            return similar_problems.draw_similar(rng, [problem.statement for problem in like])
        return term_sums.draw_sum(rng, size=size)

    def size(self, statement: str) -> int:
        """Return the number of terms."""
        return len(term_sums.split_sum(statement))
