"""Measure the agreement of the verifier with published antiderivatives, and with perturbed, wrong versions of them.

    python -m bench.textbook PATH [--json]

PATH is JSONL with `id`, `integrand` and `antiderivative`. The goals: the grammar reads 99 % of the integrands; 97 % of
the published antiderivatives are CORRECT; of the same ones perturbed (the sign of a term, a coefficient, a term left
out) none is; 3,000 verdicts a second of one core on sums of 1 to 16 terms. A perturbation counts only where it really
changes the derivative, which is decided at 50 digits without the verifier. Leaves out: how hard a problem is to solve.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn.domains.integration.domain import Integration
from everlearn.domains.integration.grammar import parse, render
from everlearn.domains.integration.high_precision import HighPrecisionEvaluator, UndefinedError
from everlearn.domains.integration.term_sums import draw_term, join_sum
from everlearn.errors import BadInputError, GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from everlearn.domains.integration.grammar import Expression

READ, CORRECT, RATE = 0.99, 0.97, 3000.0
_ONE: Expression = ("number", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Counts of one run. `explained` gives the reason for every item that was not CORRECT."""

    items: int
    read: int
    correct: int
    wrong: int
    unreadable: int
    undecided: int
    perturbed: int
    unchanged: int
    false_accepts: int
    perturbed_undecided: int
    verdicts_per_second: float
    explained: dict[str, str]

    def misses(self) -> list[str]:
        """Return the goals that were not met."""
        found = {
            f"read {self.read} of {self.items}, the goal is {READ:.0%}": self.read < READ * self.items,
            f"{self.correct} of {self.items} CORRECT, the goal is {CORRECT:.0%}": self.correct < CORRECT * self.items,
            f"{self.false_accepts} wrong answers CORRECT, the goal is none": self.false_accepts > 0,
            f"{self.verdicts_per_second:.0f} verdicts a second, the goal is {RATE:.0f}": self.verdicts_per_second
            < RATE,
        }
        return [miss for miss, missed in found.items() if missed]


def load(path: Path) -> list[dict[str, str]]:
    """Return the items of a file. Raises BadInputError if it is missing, empty or invalid."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        items = [{name: str(row[name]) for name in ("id", "integrand", "antiderivative")} for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{path}: {error!r}: give a JSONL file whose lines have id, integrand and antiderivative"
        ) from error
    if not items:
        raise BadInputError(f"{path} is empty: give a JSONL file whose lines have id, integrand and antiderivative")
    return items


def _verify(statement: str, answer: str) -> Verdict:
    return Integration().verify(Problem(id="", domain=Integration.name, statement=statement), answer)


def judge(items: Sequence[dict[str, str]], *, rate: float) -> Outcome:
    """Judge all items and their perturbations; `rate` is the verdicts a second measured elsewhere."""
    counts: Counter[str] = Counter()
    verify = _verify
    explained: dict[str, str] = {}
    for item in items:
        try:
            verdict = verify(item["integrand"], item["antiderivative"])
        except GrammarError as error:
            counts["unread"] += 1
            explained[item["id"]] = f"integrand: {error}"
            continue
        counts[verdict.ruling] += 1
        if not verdict.is_correct:
            explained[item["id"]] = f"{verdict.ruling}: {verdict.reason}"
        for name, answer in perturbations(item["antiderivative"], seed=item["id"]):
            if not differs(answer, item["antiderivative"]):
                counts["unchanged"] += 1
                continue
            spoilt = verify(item["integrand"], answer)
            counts[f"perturbed {spoilt.ruling}"] += 1
            if spoilt.is_correct:
                explained[f"{item['id']} {name}"] = f"{answer} was called CORRECT"
    return Outcome(
        items=len(items),
        read=len(items) - counts["unread"],
        correct=counts[Ruling.CORRECT],
        wrong=counts[Ruling.WRONG],
        unreadable=counts[Ruling.UNREADABLE],
        undecided=counts[Ruling.UNDECIDED],
        perturbed=sum(counts[f"perturbed {ruling}"] for ruling in Ruling),
        unchanged=counts["unchanged"],
        false_accepts=counts[f"perturbed {Ruling.CORRECT}"],
        perturbed_undecided=counts[f"perturbed {Ruling.UNDECIDED}"],
        verdicts_per_second=rate,
        explained=explained,
    )


def perturbations(answer: str, *, seed: str) -> Iterator[tuple[str, str]]:
    """Yield an answer perturbed in three ways: (name, text)."""
    try:
        tree = parse(answer)
    except GrammarError:
        return
    rng = random.Random(seed)
    terms = list(tree[1:]) if tree[0] == "sum" else [tree]
    for name, spoil in (("sign", _negated), ("coefficient", _scaled), ("dropped term", _dropped)):
        at = rng.randrange(len(terms))
        changed = [*terms[:at], *spoil(terms[at], rng), *terms[at + 1 :]]
        yield name, render(("sum", *changed) if len(changed) > 1 else (changed or [("number", 0)])[0])


def _negated(term: Expression, _: random.Random) -> list[Expression]:
    return [term[1] if term[0] == "negative" else ("negative", term)]


def _scaled(term: Expression, rng: random.Random) -> list[Expression]:
    """Increase one number in the term by one, or double the term if it has no number."""
    places = list(_numbers(term))
    return [_raised(term, rng.choice(places)) if places else ("product", ("number", 2), term)]


def _dropped(_: Expression, __: random.Random) -> list[Expression]:
    return []


def _numbers(tree: Expression) -> Iterator[tuple[int, ...]]:
    """Yield the path of indices to each number of a tree."""
    if tree[0] == "number":
        yield ()
    for index, child in enumerate(tree):
        if isinstance(child, tuple):
            yield from ((index, *path) for path in _numbers(child))


def _raised(tree: Expression, path: tuple[int, ...]) -> Expression:
    if not path:
        return ("number", tree[1] + 1)
    return (*tree[: path[0]], _raised(tree[path[0]], path[1:]), *tree[path[0] + 1 :])


def differs(one: str, other: str) -> bool:
    """Return whether the derivatives of two texts differ, by central differences at 50 digits."""
    gap: Expression = ("sum", parse(one), ("negative", parse(other)))
    precise = HighPrecisionEvaluator(160)
    step = precise.context.mpf(10) ** -50
    rng = random.Random(7)
    for _ in range(24):
        point = precise.context.mpc(rng.uniform(0.1, 6) * rng.choice((1, 1, -1)))
        try:
            slope = (precise.at(gap, point + step) - precise.at(gap, point - step)) / (2 * step)
        except UndefinedError:
            continue
        if abs(slope) > 1e-30:
            return True
    return False


def measure_rate(*, count: int, clock: Callable[[], float]) -> float:
    """Verdicts a second on sums of 1 to 16 terms, half of the answers wrong. `clock` counts CPU seconds."""
    rng = random.Random(3)
    pairs = []
    for number in range(count):
        drawn = [draw_term(rng) for _ in range(rng.randint(1, 16))]
        answers = [answer for _, answer in drawn]
        if number % 2:
            answers[rng.randrange(len(answers))] = draw_term(rng)[1]
        pairs.append((join_sum([question for question, _ in drawn]), join_sum(answers)))
    verify = _verify
    start = clock()
    for question, answer in pairs:
        verify(question, answer)
    return count / (clock() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the results. Return 1 if a goal is missed, 2 if the file is invalid."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("path", type=Path)
    reader.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = reader.parse_args(arguments)
    try:
        items = load(options.path)
    except BadInputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    outcome = judge(items, rate=measure_rate(count=3000, clock=time.process_time))
    misses = outcome.misses()
    told: dict[str, Any] = asdict(outcome) | {"misses": misses}
    for name, value in told.items():
        if name not in ("explained", "misses"):
            print(f"{name.replace('_', ' '):22}{value:>10,.0f}")
    for place, reason in outcome.explained.items():
        print(f"{place}: {reason}")
    for miss in misses:
        print(f"MISSED: {miss}")
    if options.json:
        print(json.dumps(told))
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
