"""Write the skill suite `short-additions`: `python -m everlearn.domains.arithmetic.fixtures`. Seeded.

Additions that a small language model mostly solves. Half of the 55 sums of two digits are left out, and most of a digit
and a two-digit number, since what the suite holds can be no rung of a ladder.
"""

from __future__ import annotations

import json
import random
from itertools import combinations_with_replacement, product
from pathlib import Path

DIGITS, TWO_DIGITS = 27, 193


def skill_suite(rng: random.Random) -> list[dict[str, str]]:
    """Return different additions, those of two digits first."""
    shortest = rng.sample(list(combinations_with_replacement(range(10), 2)), DIGITS)
    short = rng.sample(list(product(range(10, 100), range(10))), TWO_DIGITS)
    statements = [f"{left} + {right}" for left, right in (*shortest, *short)]
    return [
        {"id": f"short-{number:04d}", "domain": "arithmetic", "statement": statement}
        for number, statement in enumerate(statements)
    ]


def write(out: Path) -> None:
    """Write `suites/short-additions.jsonl` below `out`."""
    path = out / "suites" / "short-additions.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"suite": "short-additions", "kind": "skill"}, *skill_suite(random.Random(1))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    write(Path("data"))
