"""Write the data that ships with the project: the skill suite, the example night, and a night on unknown families.

`python -m everlearn.domains.integration.fixtures`. Seeded, so that `dvc repro` writes the same bytes. Contains no
answers. The example night is realistic input: mostly long sums, some of them repeated with their terms in another
order, and a few invalid rows. The other night has short sums of terms that the base model was not pretrained on.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from everlearn.domains.integration.term_sums import draw_sum, join_sum, split_sum

SKILL_ITEMS = 700
"""Enough for 80 % power at a margin of three percentage points and 10 % discordant pairs."""
NIGHT = {13: 40, 14: 140, 15: 40}
UNKNOWN_ITEMS = 240
TWICE = 6
BROKEN = ("x^2 +* 3", "integral of sin(x)", "3*x^2 + __import__('os')", "")


def skill_suite(rng: random.Random) -> list[dict[str, str]]:
    """Return sums of one to three terms, all different: the skill that the base model has and must not lose."""
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < SKILL_ITEMS:
        statement = draw_sum(rng, size=rng.choice((1, 2, 2, 3, 3)))
        key = " ".join(sorted(map(str, split_sum(statement))))
        rows.setdefault(key, {"id": f"short-{len(rows):04d}", "domain": "integration", "statement": statement})
    return list(rows.values())


def example_night(rng: random.Random) -> list[dict[str, str]]:
    """Return new problems of one night, with duplicates and invalid rows."""
    statements = [draw_sum(rng, size=size) for size, count in NIGHT.items() for _ in range(count)]
    for statement in rng.sample(statements, TWICE):
        terms = split_sum(statement)
        rng.shuffle(terms)
        statements.append(join_sum(terms))
    statements += BROKEN
    rng.shuffle(statements)
    return [
        {"id": f"example-{number:04d}", "domain": "integration", "problem": statement}
        for number, statement in enumerate(statements)
    ]


def unknown_night(rng: random.Random) -> list[dict[str, str]]:
    """Return sums of one to three terms from five families that `term_sums` does not have."""
    statements = [" + ".join(_unknown_term(rng) for _ in range(rng.randint(1, 3))) for _ in range(UNKNOWN_ITEMS)]
    return [
        {"id": f"unknown-{number:04d}", "domain": "integration", "problem": statement}
        for number, statement in enumerate(statements)
    ]


def _unknown_term(rng: random.Random) -> str:
    c, a, b = rng.randint(2, 9), rng.randint(2, 6), rng.randint(1, 9)
    family = rng.choice(
        ("{c}*tan({a}*x)", "{c}*sinh({a}*x)", "{c}*sqrt({a}*x+{b})", "{c}*x^2*exp({a}*x)", "{c}*sin({a}*x)^{n}")
    )
    return family.format(c=c, a=a, b=b, n=rng.randint(2, 5))


def write(out: Path) -> None:
    """Write `suites/short-sums.jsonl`, two shards of `example/` and one of `unknown/` below `out`."""
    suite = [{"suite": "short-sums", "kind": "skill"}, *skill_suite(random.Random(1))]
    night = example_night(random.Random(2))
    half = len(night) // 2
    files = {
        "suites/short-sums.jsonl": suite,
        "example/monday.jsonl": night[:half],
        "example/tuesday.jsonl": night[half:],
        "unknown/families.jsonl": unknown_night(random.Random(3)),
    }
    for name, rows in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    write(Path("data"))
