"""The moves that make a sum easier, in the notation of prompts and completions.

    DROP <3> + 3*x^2 <7> - 4*sin(2*x) =     ->   <7>                 remove one term
    HALF <3> + … <7> - … <9> + … =          ->   <3> <9>             keep about half of the terms
    EASE <3> + 3*x^2 <7> - 4*sin(2*x) =     ->   <7> + 2*cos(x)      replace one term by an easier one

A completion names markers of its prompt; any other completion proposes nothing. `DROP` and `HALF` give easier problems
by construction. The difficulty of all variants is measured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from everlearn.domains.integration.term_sums import Term, draw_markers, draw_term, join_sum, mark, split_sum

if TYPE_CHECKING:
    import random

MOVES = ("DROP", "HALF", "EASE")
_MARKED = re.compile(r"<(\d+)>([^<]*)")


def prompt(statement: str, *, rng: random.Random, move: str = "INT") -> str:
    """Return the prompt: the verb, the marked terms, an equals sign."""
    terms = split_sum(statement)
    return f"{move} {mark(terms, draw_markers(rng, count=len(terms)))} ="


def apply(move: str, asked: str, completion: str) -> str | None:
    """Return the statement of the variant, or None if the completion is not a valid move on the prompt `asked`."""
    before = {int(number): text.removesuffix("=").strip() for number, text in _MARKED.findall(asked)}
    named = {int(number): text.strip() for number, text in _MARKED.findall(completion)}
    if not named or not named.keys() <= before.keys():
        return None
    kept: dict[int, str]
    if move == "EASE":
        if len(named) != 1 or not all(named.values()):
            return None
        kept = before | named
    else:
        if any(named.values()) or (move == "DROP" and len(named) != 1):
            return None
        kept = {number: text for number, text in before.items() if (number in named) == (move == "HALF")}
    return join_sum([term for text in kept.values() for term in split_sum(text)]) if kept else None


def demonstrate(rng: random.Random, *, size: int, move: str) -> tuple[str, str]:
    """Return a prompt of `size` terms and a completion that carries out the move, for pretraining."""
    terms = [draw_term(rng)[0] for _ in range(size)]
    markers = draw_markers(rng, count=size)
    asked = f"{move} {mark(terms, markers)} ="
    if move == "DROP":
        return asked, f"<{rng.choice(markers)}>"
    if move == "EASE":
        return asked, f"<{rng.choice(markers)}> {draw_term(rng, easy=True)[0]}"
    kept = rng.randint(max(1, size // 3), max(1, 2 * size // 3))
    return asked, " ".join(f"<{marker}>" for marker in sorted(rng.sample(markers, kept)))


def demonstrate_solution(rng: random.Random, *, size: int) -> tuple[str, str]:
    """Return a prompt of `size` terms and its antiderivative with the same markers, for pretraining."""
    pairs = [draw_term(rng) for _ in range(size)]
    markers = draw_markers(rng, count=size)
    questions: list[Term] = [question for question, _ in pairs]
    answers: list[Term] = [answer for _, answer in pairs]
    return f"INT {mark(questions, markers)} =", mark(answers, markers)


def extract(completion: str) -> str:
    """Return the answer in a completion: the terms without markers."""
    return re.sub(r"<\d+>", " ", completion).strip()
