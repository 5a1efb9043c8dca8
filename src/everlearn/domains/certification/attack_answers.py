"""Answers that attack a verifier: by construction wrong, or legitimate in another notation, or a constant.

Only an answer that is wrong whatever the problem means counts as a false accept. What may be right by accident (the question
itself, the right answer of another problem, odd letters in a right answer) is judged as well, and listed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

CONSTANTS = (
    *map(str, range(-2, 21)),
    *("100", "1000", "0.0", "1.0", "0.5", "1/2", "x", "y", "x^2", "A", "B", "C", "D", "(A)", "a", "b"),
    *("yes", "no", "Yes", "No", "true", "false", "True", "False", "None", "null", "NaN", "inf", "undefined", "unknown"),
    *(
        "[]",
        "{}",
        "()",
        "[[]]",
        '""',
        "''",
        "empty",
        "none of the above",
        "no solution",
        "impossible",
        "IMPOSSIBLE",
        "-",
    ),
    *(
        "heads",
        "tails",
        "left",
        "right",
        "north",
        "I do not know.",
        "The answer is correct.",
        "def f(x): return x",
        "pass",
    ),
)
"""Answers that a model may give to every problem."""
WORDS = (
    "banana",
    "window",
    "because",
    "therefore",
    "seven",
    "lorem",
    "ipsum",
    "answer",
    "correct",
    "maybe",
    "green",
    "tuesday",
)
SIGNS = ".,;:!?#@&%$~|\\_\"'`<>[]{}"
NEAR, GLUED, HEDGED, NONSENSE, DISGUISED, HUGE = (
    "near misses",
    "text glued on",
    "two answers in one",
    "nonsense",
    "look-alikes of wrong answers",
    "huge and nested input",
)
WRONG_KINDS = (NEAR, GLUED, HEDGED, NONSENSE, DISGUISED, HUGE)
"""Kinds of answers that are wrong by construction."""
QUESTION, LOOKALIKE = "the question itself", "look-alikes of right answers"
DOUBTFUL_KINDS = (QUESTION, LOOKALIKE)
"""Kinds of answers that may be right, so that an accepted one is listed only."""
_NONSENSE, _HEDGED, _DISGUISED, _HUGE = 20, 8, 8, 2
"""Answers of these kinds for each problem."""
_NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{1,40})?")
_WORD = re.compile(r"-?[\w./]+")
_WIDE = {ord(letter): ord(letter) + 0xFEE0 for letter in "0123456789+-=()abcdefxyz"}
_CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")  # noqa: RUF001 (look-alikes are the point)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """An answer of one kind to one problem."""

    kind: str
    problem: Problem
    answer: str


def attacks_on(domain: Domain, problem: Problem, right: str | None, *, rng: random.Random) -> Iterator[Attack]:
    """Yield answers to one problem, of which `right` is a right answer if one is known. None of them is `right`."""
    near = near_misses(domain, problem, right, rng=rng) if right is not None else []
    answers: dict[str, Sequence[str]] = {
        NEAR: near,
        GLUED: glued(right) if right is not None else [],
        HEDGED: [text for wrong in _apart(right, near) for text in (f"{right} or {wrong}", f"{wrong} or {right}")],
        NONSENSE: [nonsense(rng) for _ in range(_NONSENSE)],
        DISGUISED: [text for wrong in near[:_DISGUISED] for text in (wrong.translate(_WIDE), f"\u200b{wrong}\u2060")],
        HUGE: rng.sample(huge(right or ""), _HUGE),
        QUESTION: [problem.statement, domain.question(problem)],
        LOOKALIKE: [right.translate(_WIDE), right.translate(_CYRILLIC), f"\u202e{right[::-1]}"] if right else [],
    }
    for kind, texts in answers.items():
        for text in dict.fromkeys(texts):
            if text != right:
                yield Attack(kind=kind, problem=problem, answer=text)


def near_misses(domain: Domain, problem: Problem, right: str, *, rng: random.Random) -> list[str]:
    """Return wrong answers close to the right one: those of the domain, else other numbers where it is a number."""
    if domain.has_wrong_answers:
        return domain.wrong_answers(problem, right, rng=rng)
    return other_numbers(right)


def other_numbers(right: str) -> list[str]:
    """Return numbers close to the one that a text is: sign, off by one, a digit changed, added or left out.

    Empty for any other text: what is close to it may be right, too.
    """
    found = _NUMBER.fullmatch(right.strip())
    if found is None:
        return []
    written = found.group()
    value, fraction = float(written), found.group(1) or ""
    whole = int(written.removesuffix(fraction))
    bare = written.lstrip("+-")
    others = [f"{whole + step}{fraction}" for step in (1, -1, 2, -2, 10, -10, 100)]
    others += [f"-{bare}", bare, f"{written}0" if not fraction else f"{whole}0{fraction}", f"1{bare}"]
    others += [f"{written[:-1]}{(int(written[-1]) + step) % 10}" for step in (1, 3, 5, 9)]
    others += [bare[1:], written[:-1], f"{written}1", bare[::-1], f"{written}e1"]
    return [text for text in dict.fromkeys(others) if _is_other(text, value)]


def glued(right: str) -> list[str]:
    """Return the right answer with words that belong to no answer."""
    return [
        f"{right} banana",
        f"banana {right}",
        f"{right}banana",
        f"not {right}",
        f"{right} is wrong",
        f"anything but {right}",
        f"{right}\n\nbanana banana",
        f"{right} \u4e0d",
    ]


def nonsense(rng: random.Random) -> str:
    """Return words and signs in random order, which answer nothing. One word alone might: `tuesday` is a day."""
    words = rng.choices(WORDS, k=rng.randint(2, 5))
    signs = ["".join(rng.choices(SIGNS, k=rng.randint(1, 6))) for _ in range(rng.randint(0, 3))]
    mixed = [*words, *signs]
    rng.shuffle(mixed)
    return " ".join(mixed)


def huge(right: str) -> list[str]:
    """Return texts that take a careless reader time, memory or its stack, and that no problem has as an answer."""
    return [
        "(" * 5_000 + right,
        "[" * 20_000,
        '{"a":' * 2_000,
        "banana " * 5_000,
        "9" * 30_000 + "!!",
        "10^" * 1_000 + "banana",
        "-" * 10_000 + "banana",
        "\\frac{" * 1_000,
        "banana\x00" * 100,
        "\ud800banana",
    ]


def _apart(right: str | None, near: Sequence[str]) -> list[str]:
    """Return wrong answers that say something else, not only less: beside the right answer, less would be right."""
    said = set(_WORD.findall(right or ""))
    return [wrong for wrong in near if right is not None and not said.issuperset(_WORD.findall(wrong))][:_HEDGED]


def _is_other(text: str, value: float) -> bool:
    try:
        return float(text) != value
    except ValueError:
        return False
