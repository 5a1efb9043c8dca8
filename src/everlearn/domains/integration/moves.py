"""The moves that make an integrand easier.

Of a sum of terms, DROP removes one, HALF keeps about half of them, EASE replaces one. Of a composition
(`compositions.py`), DROP takes away the outermost function, HALF about half of the functions, EASE replaces the
outermost one by a number. A model is asked for them in words here; a format may have a notation of its own. `derive`
carries them out without a model. `DROP` and `HALF` give easier problems by construction. The difficulty of all variants
is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.integration.compositions import is_product, join_parts, outermost, split_product
from everlearn.domains.integration.term_sums import Term, draw_term, join_sum

if TYPE_CHECKING:
    import random

MOVES = ("DROP", "HALF", "EASE")
_WORDS = {
    "DROP": "Remove one term from the sum",
    "HALF": "Keep about half of the terms of the sum",
    "EASE": "Replace one term of the sum by an easier one",
}
_WORDS_OF_PRODUCTS = {
    "DROP": "Leave out the factor that belongs to the outermost function of the product",
    "HALF": "Keep only the factors that belong to the inner half of the functions of the product",
    "EASE": "Replace the factor that belongs to the outermost function by a number in the product",
}


def words(statement: str, move: str) -> str:
    """Return the words that ask a model for a variant."""
    product = is_product(split_product(statement))
    return (
        f"{(_WORDS_OF_PRODUCTS if product else _WORDS)[move]} {statement}, so that it becomes easier to integrate. Do not "
        f"integrate it. Answer with the new {'product' if product else 'sum'} alone, in the same notation."
    )


def derive(statement: str, move: str, *, rng: random.Random) -> str | None:
    """Return an easier problem; None where removing a part would leave none."""
    parts = split_product(statement)
    if is_product(parts):
        return join_parts(_of_product(parts, move, rng=rng))
    if move == "EASE":
        parts[rng.randrange(len(parts))] = draw_term(rng, easy=True)[0]
        return join_sum(parts)
    if len(parts) == 1:
        return None
    kept = len(parts) - 1 if move == "DROP" else rng.randint(max(1, len(parts) // 3), max(1, 2 * len(parts) // 3))
    return join_sum([parts[index] for index in sorted(rng.sample(range(len(parts)), kept))])


def _of_product(parts: list[Term], move: str, *, rng: random.Random) -> list[Term]:
    """Return the product after the move; it has at least two parts before."""
    if move == "EASE":
        replaced = outermost(parts)
        return [
            Term(sign=part.sign, body=str(rng.randint(2, 9))) if at == replaced else part
            for at, part in enumerate(parts)
        ]
    for _ in range(1 if move == "DROP" else len(parts) // 2):
        del parts[outermost(parts)]
    return parts
