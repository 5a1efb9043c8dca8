"""Measure how answers in usual notation are judged.

    python -m bench.notation [--answers FILE] [--oracle 600] [--json]

FILE is JSONL with `id`, `problem` and `answer`; an id that ends in `:wrong` is that of a wrong answer, every other one
that of a right one. Besides, an oracle writes answers in many notations (bench/notation_answers.py), wrong ones among
them. The goals, of the file and of the oracle each: 97 % of the right answers are CORRECT, none is WRONG, and no wrong
answer is CORRECT.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.notation_answers import draw, rows
from everlearn.domains.integration.domain import Integration
from everlearn.errors import BadInputError
from everlearn.problem import Problem, Ruling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CORRECT = 0.97
SEED = 12


def load(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file. Raises BadInputError if it is missing, empty or invalid."""
    wanted = f"{path}: give a JSONL file whose lines have id, problem and answer"
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        read = [{name: str(row[name]) for name in ("id", "problem", "answer")} for row in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{wanted} ({error!r})") from error
    if not read:
        raise BadInputError(wanted)
    return read


def judge(answers: Iterable[dict[str, str]]) -> dict[str, Any]:
    """Return the counts of right and wrong answers by ruling, and every answer that a goal forbids, with its reason."""
    domain = Integration()
    counts: dict[str, Counter[str]] = {"right": Counter(), "wrong": Counter()}
    misjudged: dict[str, str] = {}
    for row in answers:
        truth = "wrong" if row["id"].endswith(":wrong") else "right"
        verdict = domain.verify(Problem(id=row["id"], domain=domain.name, statement=row["problem"]), row["answer"])
        counts[truth][verdict.ruling] += 1
        if verdict.is_correct is not (truth == "right") and (truth == "right" or verdict.is_correct):
            misjudged[row["id"]] = f"{verdict.ruling}: {row['answer']!r} for {row['problem']!r}: {verdict.reason}"
    return {truth: dict(found) for truth, found in counts.items()} | {"misjudged": misjudged}


def misses(found: dict[str, Any]) -> list[str]:
    """Return the goals that were not met."""
    right, wrong = found["right"], found["wrong"]
    total, correct = sum(right.values()), right.get(Ruling.CORRECT, 0)
    goals = {
        f"{correct} of {total} right answers CORRECT, the goal is {CORRECT:.0%}": correct < CORRECT * total,
        f"{right.get(Ruling.WRONG, 0)} right answers WRONG, the goal is none": Ruling.WRONG in right,
        f"{wrong.get(Ruling.CORRECT, 0)} wrong answers CORRECT, the goal is none": Ruling.CORRECT in wrong,
    }
    return [goal for goal, missed in goals.items() if missed]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the results. Return 1 if a goal is missed, 2 if the file is invalid."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--answers", type=Path, help="JSONL file of answers")
    reader.add_argument("--oracle", type=int, default=600, help="number of answers that the oracle writes")
    reader.add_argument("--json", action="store_true", help="end with one line of JSON")
    asked = reader.parse_args(arguments)
    try:
        sources = {"file": load(asked.answers)} if asked.answers else {}
    except BadInputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if asked.oracle:
        sources["oracle"] = list(rows(draw(count=asked.oracle, seed=SEED)))
    told: dict[str, Any] = {name: judge(answers) for name, answers in sources.items()}
    missed = [f"{name}: {miss}" for name, found in told.items() for miss in misses(found)]
    for name, found in told.items():
        print(f"{name}: right {found['right']}, wrong {found['wrong']}")
        for place, reason in found["misjudged"].items():
            print(f"  {place}: {reason}")
    for miss in missed:
        print(f"MISSED: {miss}")
    if asked.json:
        print(json.dumps(told | {"misses": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
