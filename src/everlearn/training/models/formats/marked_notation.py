"""The notation of the demo model: a verb, and signed terms, each after an *index marker* `<m>`.

    INT <3> + 3*x^2 <7> - 4*sin(2*x) =      ->   <3> + x^3 <7> + 2*cos(2*x)   the answer repeats the markers
    DROP <3> + 3*x^2 <7> - 4*sin(2*x) =     ->   <7>                          remove one term
    HALF <3> + … <7> - … <9> + … =          ->   <3> <9>                      keep about half of the terms
    EASE <3> + 3*x^2 <7> - 4*sin(2*x) =     ->   <7> + 2*cos(x)               replace one term by an easier one

Markers are an increasing subset of a random window, drawn for each prompt. They are notation only: the verifier sees
the terms. A completion names markers of its prompt; any other completion proposes nothing. `DROP` and `HALF` give
easier problems by construction. The difficulty of all variants is measured.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from everlearn.errors import GrammarError

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

MARKERS = 24
SOLVE, DROP, HALF, EASE = "INT", "DROP", "HALF", "EASE"
_MARKED = re.compile(r"<(\d+)>([^<]*)")


def require_markers(count: int) -> None:
    """Raise GrammarError if there are fewer markers than terms."""
    if count > MARKERS:
        raise GrammarError(f"a sum of {count} terms: the model can be asked about at most {MARKERS}; split it")


def draw_markers(rng: random.Random, *, count: int) -> list[int]:
    """Return `count` increasing markers from a random window of the 24.

    Raises:
        GrammarError: `count` exceeds the number of markers.
    """
    require_markers(count)
    width = rng.randint(count, MARKERS)
    start = rng.randint(0, MARKERS - width)
    return sorted(rng.sample(range(start, start + width), count))


def mark(terms: Sequence[str], markers: Sequence[int]) -> str:
    """Return the terms, each after its marker."""
    return " ".join(f"<{marker}> {term}" for marker, term in zip(markers, terms, strict=True))


def request(terms: Sequence[str], *, rng: random.Random, verb: str = SOLVE) -> str:
    """Return the prompt: the verb, the marked terms, an equals sign."""
    return f"{verb} {mark(terms, draw_markers(rng, count=len(terms)))} ="


def solved_request(terms: Sequence[str], answer: Sequence[str], *, rng: random.Random) -> str:
    """Return a prompt with its answer, whose terms repeat the markers where there are as many of them."""
    markers = draw_markers(rng, count=len(terms))
    said = mark(answer, markers) if len(answer) == len(terms) else " ".join(answer)
    return f"{SOLVE} {mark(terms, markers)} = {said}"


def moved_terms(verb: str, asked: str, completion: str) -> list[str] | None:
    """Return the terms of the variant, or None if the completion is not a valid move on the prompt `asked`."""
    before = {int(number): text.removesuffix("=").strip() for number, text in _MARKED.findall(asked)}
    named = {int(number): text.strip() for number, text in _MARKED.findall(completion)}
    if not named or not named.keys() <= before.keys():
        return None
    if verb == EASE:
        if len(named) != 1 or not all(named.values()):
            return None
        return list((before | named).values())
    if any(named.values()) or (verb == DROP and len(named) != 1):
        return None
    return [text for number, text in before.items() if (number in named) == (verb == HALF)] or None


def without_markers(completion: str) -> str:
    """Return the answer in a completion: the terms without markers."""
    return re.sub(r"<\d+>", " ", completion).strip()
