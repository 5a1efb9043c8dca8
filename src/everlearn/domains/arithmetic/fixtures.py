"""Write a skill suite and example problems: `python -m everlearn.domains.arithmetic.fixtures`. Seeded.

The suite `short-additions` holds additions that a small language model mostly solves. Half of the 55 sums of two digits are left out, and most of a digit
and a two-digit number, since what the suite holds can be no rung of a ladder.
"""

from __future__ import annotations

import json
import random
from itertools import combinations_with_replacement, product
from pathlib import Path

from everlearn.domains.arithmetic.domain import Arithmetic

DIGITS, TWO_DIGITS = 27, 193
EXAMPLES, EXAMPLE_DIGITS = 180, 6


def skill_suite(rng: random.Random) -> list[dict[str, str]]:
    """Return different additions, those of two digits first."""
    shortest = rng.sample(list(combinations_with_replacement(range(10), 2)), DIGITS)
    short = rng.sample(list(product(range(10, 100), range(10))), TWO_DIGITS)
    statements = [f"{left} + {right}" for left, right in (*shortest, *short)]
    return [
        {"id": f"short-{number:04d}", "domain": "arithmetic", "statement": statement}
        for number, statement in enumerate(statements)
    ]


def long_additions(rng: random.Random) -> list[dict[str, str]]:
    """Return different additions that a small language model never solves, not even once in 2,000 answers."""
    domain = Arithmetic()
    drawn = {domain.generate(rng, size=EXAMPLE_DIGITS).statement: None for _ in range(EXAMPLES)}
    return [
        {"id": f"long-{number:04d}", "domain": domain.name, "problem": statement}
        for number, statement in enumerate(drawn)
    ]


def write(out: Path) -> None:
    """Write `suites/short-additions.jsonl` and `long-additions/problems.jsonl` below `out`."""
    suite = [{"suite": "short-additions", "kind": "skill"}, *skill_suite(random.Random(1))]
    _write_rows(out / "suites" / "short-additions.jsonl", suite)
    _write_rows(out / "long-additions" / "problems.jsonl", long_additions(random.Random(2)))


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    write(Path("data"))
