"""The moves that make a sum of terms easier: DROP removes one term, HALF keeps about half of them, EASE replaces one.

A model is asked for them in words here; a format may have a notation of its own. `derive` carries them out without a model.
`DROP` and `HALF` give easier problems by construction. The difficulty of all variants is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.integration.term_sums import draw_term, join_sum, split_sum

if TYPE_CHECKING:
    import random

MOVES = ("DROP", "HALF", "EASE")
_WORDS = {
    "DROP": "Remove one term from the sum",
    "HALF": "Keep about half of the terms of the sum",
    "EASE": "Replace one term of the sum by an easier one",
}


def words(statement: str, move: str) -> str:
    """Return the words that ask a model for a variant."""
    return (
        f"{_WORDS[move]} {statement}, so that it becomes easier to integrate. Do not integrate it. Answer with the new "
        "sum alone, in the same notation."
    )


def derive(statement: str, move: str, *, rng: random.Random) -> str | None:
    """Return an easier sum; None where removing a term would leave none."""
    terms = split_sum(statement)
    if move == "EASE":
        terms[rng.randrange(len(terms))] = draw_term(rng, easy=True)[0]
        return join_sum(terms)
    if len(terms) == 1:
        return None
    kept = len(terms) - 1 if move == "DROP" else rng.randint(max(1, len(terms) // 3), max(1, 2 * len(terms) // 3))
    return join_sum([terms[index] for index in sorted(rng.sample(range(len(terms)), kept))])
