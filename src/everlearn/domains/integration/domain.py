"""Integration: the problem is an integrand in x, the answer an antiderivative.

The text that arrives is parsed by our grammar; what the model writes is never evaluated. `verify` judges by
differentiating and comparing, `recheck` at 50 digits. The prompt, the moves and the generator treat a problem as a
sum of terms (`term_sums.py`, `moves.py`), and a problem's size is its number of terms.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from everlearn.domains.integration import canonical, grammar, moves, numeric_verifier, recheck, term_sums
from everlearn.problem import Problem

if TYPE_CHECKING:
    import random

    from everlearn.domains.contract import ExactProof
    from everlearn.problem import Verdict


class Integration:
    """The domain `integration`."""

    name = "integration"
    moves = moves.MOVES

    def problem(self, statement: str, *, id: str | None = None) -> Problem:  # noqa: A002 (the field's own name)
        """The statement as a problem.

        Raises:
            GrammarError: it is no expression of the grammar, or beyond its limits.
        """
        grammar.parse(statement)
        named = id or hashlib.sha256(self.canonical(statement).encode()).hexdigest()[:16]
        return Problem(id=named, domain=self.name, statement=statement)

    def canonical(self, statement: str) -> str:
        """Equal problems have equal canonical text."""
        return canonical.canonical(statement)

    def equivalence(self, statement: str) -> str:
        """The canonical text up to a constant factor."""
        return canonical.equivalence(statement)

    def verify(self, statement: str, answer: str, *, seed: int = 0) -> Verdict:
        """Judge an answer, fast."""
        return numeric_verifier.verify(statement, answer, seed=seed)

    def recheck(self, statement: str, answer: str, *, digits: int = 50) -> Verdict:
        """Judge an answer again, slowly and independently."""
        return recheck.recheck(statement, answer, digits=digits)

    def prove(self, statement: str, answer: str) -> ExactProof:
        """Prove exactly that the answer is an antiderivative, for display. May take unbounded time."""
        from everlearn.domains.integration.symbolic import prove_antiderivative  # imports SymPy

        return prove_antiderivative(statement, answer)

    def prompt(self, statement: str, *, rng: random.Random) -> str:
        """The question as the model reads it, at markers drawn from `rng`."""
        return moves.prompt(statement, rng=rng)

    def extract(self, completion: str) -> str:
        """The answer in a completion."""
        return moves.extract(completion)

    def propose(self, statement: str, move: str, *, rng: random.Random) -> str:
        """The prompt for an easier variant."""
        return moves.prompt(statement, rng=rng, move=move)

    def apply(self, statement: str, move: str, prompt: str, completion: str) -> str | None:  # noqa: ARG002
        """The variant that a completion proposes, or None."""
        return moves.apply(move, prompt, completion)

    def generate(self, rng: random.Random, *, like: str | None = None, size: int | None = None) -> str:
        """A fresh problem of the default families, as long as `like` or of `size` terms."""
        return term_sums.draw_sum(rng, size=size or (self.size(like) if like else 1))

    def size(self, statement: str) -> int:
        """How many terms."""
        return len(term_sums.split_sum(statement))
