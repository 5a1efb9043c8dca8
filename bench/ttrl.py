"""Test-time training against sampling: which unsolved problems `everlearn solve` solves, at equal cost.

    python -m bench.ttrl [--problems 100] [--seeds 3] [--json]   # continues where it was stopped
    python -m bench.ttrl --rerun ttrl,0                          # repeat one row and compare it problem by problem

Problems of the demo that its base does not solve, half of them sums of twelve terms, half compositions of six
functions: a problem is taken if the greedy answer and 16 samples fail, and these rollouts are not used again. Each arm
gets the same problems:

    ttrl              a ladder and a throw-away adapter for each problem, at most 20 CPU seconds
    samples           best of n: as many rollouts as `ttrl` has used for the problem and seed
    samples, seconds  best of n: as many CPU seconds as `ttrl` has used
    both              as many rollouts as `ttrl` has used, the first half of them samples, then a ladder that the rest pays for (else samples)

`ttrl` stops at its first right answer, so that the others get what it needed, not the limit. Raw results per problem
with revision, machine and command are in docs/ttrl.json; docs/ttrl.md and docs/ttrl.svg are made of them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from bench.learning.page import draw_lines
from bench.learning.rows import origin, say_origins, write_json
from everlearn.domains.contract import load_domain
from everlearn.domains.integration.compositions import draw_product
from everlearn.domains.integration.term_sums import draw_sum
from everlearn.settings import Settings
from everlearn.training.test_time import Budget, Solution, equal_rollouts, solve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ARMS = ("ttrl", "samples", "samples, seconds", "both")
KINDS: dict[str, Callable[[random.Random], str]] = {
    "sum": partial(draw_sum, size=12),
    "composition": partial(draw_product, depth=6),
}
FAILED = Budget(cpu_seconds=600.0, rollouts=17, trains=False)
LIMIT = Budget(cpu_seconds=20.0)
BASE = Path("data/base")
PAGE = Path("docs/ttrl.md")


def choose_problems(count: int, *, told: Callable[[str], None]) -> list[dict[str, str]]:
    """Return so many problems that neither the greedy answer nor 16 samples solve, of each kind in turn."""
    chosen: list[dict[str, str]] = []
    streams = {kind: random.Random(f"ttrl {kind}") for kind in KINDS}
    while len(chosen) < count:
        kind = list(KINDS)[len(chosen) % len(KINDS)]
        statement = KINDS[kind](streams[kind])
        if _solve(statement, seed=1_000_000, budget=FAILED).answer is None:
            chosen.append({"kind": kind, "statement": statement})
            told(f"{len(chosen)} of {count} problems chosen")
    return chosen


def budget_of(arm: str, reference: dict[str, Any] | None) -> Budget:
    """Return the budget of an arm; `reference` is what `ttrl` did with the same problem and seed."""
    if reference is None or arm == "ttrl":
        return LIMIT
    if arm == "samples, seconds":
        return replace(LIMIT, cpu_seconds=max(0.1, reference["cpu_seconds"]), trains=False)
    return equal_rollouts(LIMIT, reference["rollouts"])[arm]


def _solve(statement: str, *, seed: int, budget: Budget) -> Solution:
    settings = Settings()
    settings = settings.model_copy(update={"learn": settings.learn.model_copy(update={"seed": seed})})
    problem = load_domain("integration").stated(statement)
    return solve(problem, base=BASE, adapter=None, settings=settings, budget=budget)


def run_row(
    arm: str,
    seed: int,
    problems: Sequence[dict[str, str]],
    row: dict[str, Any],
    *,
    rows: dict[str, Any],
    put: Callable[[], None],
) -> None:
    """Add what is missing to a row, problem by problem; `put` keeps what there is."""
    for number in range(len(row["results"]), len(problems)):
        reference = None if arm == "ttrl" else rows[f"ttrl,{seed}"]["results"][number]
        solution = _solve(problems[number]["statement"], seed=seed, budget=budget_of(arm, reference))
        row["results"].append({name: value for name, value in solution.to_content().items() if name != "statement"})
        put()
        print(f"{arm}, seed {seed}: {sum(_solves(row))} of {number + 1} solved", file=sys.stderr, flush=True)


def summarize(content: dict[str, Any]) -> dict[str, Any]:
    """Return the medians over seeds of the problems solved, and how many answers are false when judged at 100 digits."""
    rows, count = content["rows"], len(content["problems"])
    whole = {key: row for key, row in rows.items() if len(row["results"]) == count}
    return {
        "problems": count,
        "seeds": len([key for key in whole if key.startswith("ttrl,")]),
        "solved_by_ttrl": _solved(whole, "ttrl"),
        "solved_by_best_of_n": _solved(whole, "samples"),
        "solved_by_best_of_n_at_equal_seconds": _solved(whole, "samples, seconds"),
        "solved_by_both": _solved(whole, "both"),
        "false_solved": sum(_false(content, row) for row in whole.values()),
    }


def _solved(rows: dict[str, Any], arm: str) -> float | None:
    counts = [sum(_solves(row)) for key, row in rows.items() if key.rpartition(",")[0] == arm]
    return median(counts) if counts else None


def _false(content: dict[str, Any], row: dict[str, Any]) -> int:
    """Return how many answers are refused at 100 digits."""
    domain = load_domain("integration")
    answered = [
        (domain.stated(problem["statement"]), result["answer"])
        for problem, result in zip(content["problems"], row["results"], strict=True)
        if result["answer"] is not None
    ]
    return sum(not domain.recheck(*pair, digits=100).is_correct for pair in answered)


def page(content: dict[str, Any]) -> str:
    """Return the Markdown page."""
    rows, problems = content["rows"], content["problems"]
    lines = [
        "# Test-time training against sampling",
        "",
        f"`python -m bench.ttrl --problems {len(problems)}`: {say_origins(rows.values())}. bench/ttrl.py describes the arms;",
        "docs/ttrl.json has the raw results.",
        "",
        f"{len(problems)} problems that the demo's base solves neither greedily nor by 16 samples, chosen on separate rollouts. Each gets",
        "at most 20 CPU seconds of `ttrl`; the other arms get what `ttrl` used for the same problem and seed. A row with fewer problems",
        "is not finished.",
        "",
        "![problems solved over rollouts](ttrl.svg)",
        "",
        *_over_seeds(content),
        "",
        "| arm | seed | solved | of the sums | of the compositions | median rollouts | median CPU s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key, row in sorted(rows.items(), key=lambda item: (ARMS.index(item[0].rpartition(",")[0]), item[0])):
        arm, _, seed = key.rpartition(",")
        right = _solves(row)
        cells = [f"{sum(solved)} of {len(solved)}" for solved in (right, *_by_kind(problems, right))]
        cells += [f"{median(each[name] for each in row['results']):,.0f}" for name in ("rollouts", "cpu_seconds")]
        lines.append(f"| {arm} | {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _over_seeds(content: dict[str, Any]) -> list[str]:
    """Return a table of the arms over the seeds of which all rows are finished."""
    rows, problems = content["rows"], content["problems"]
    right = {key: _solves(row) for key, row in rows.items() if len(row["results"]) == len(problems)}
    seeds = [seed for seed in range(len(rows)) if all(f"{arm},{seed}" in right for arm in ARMS)]
    if not seeds:
        return ["No seed is finished by all arms."]
    lines = [
        "Median over seeds (lowest to highest). The last columns count problems, of all seeds, that only one of two arms solves.",
        "",
        "| arm | seeds | solved | of the sums | of the compositions | solved, not by ttrl | not solved, but by ttrl |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for arm in ARMS:
        own = [right[f"{arm},{seed}"] for seed in seeds]
        parts = zip(*([solved, *_by_kind(problems, solved)] for solved in own), strict=True)
        cells = []
        for part in parts:
            counts = [sum(solved) for solved in part]
            cells.append(f"{median(counts):g} ({min(counts)} to {max(counts)}) of {len(part[0])}")
        pairs = [pair for seed in seeds for pair in zip(right[f"{arm},{seed}"], right[f"ttrl,{seed}"], strict=True)]
        cells += [str(pairs.count((True, False))), str(pairs.count((False, True)))] if arm != "ttrl" else ["", ""]
        lines.append(f"| {arm} | {len(seeds)} | " + " | ".join(cells) + " |")
    return lines


def _solves(row: dict[str, Any]) -> list[bool]:
    """Return for each problem that the row has tried whether it was solved."""
    return [each["answer"] is not None for each in row["results"]]


def _by_kind(problems: Sequence[dict[str, str]], solved: Sequence[bool]) -> list[list[bool]]:
    """Return the values of the problems of each kind."""
    return [[one for one, each in zip(solved, problems, strict=False) if each["kind"] == kind] for kind in KINDS]


def picture(content: dict[str, Any]) -> str:
    """Return an SVG of the share of problems solved over the rollouts that each needed, one line a row."""
    rows = content["rows"]
    lines = []
    for key, row in rows.items():
        needed = sorted(each["rollouts"] for each in row["results"] if each["answer"] is not None)
        count = max(1, len(row["results"]))
        lines.append((key.rpartition(",")[0], [(0, 0), *((at, number / count) for number, at in enumerate(needed, 1))]))
    longest = max((each["rollouts"] for row in rows.values() for each in row["results"]), default=1)
    caption = "rollouts until the first right answer; share of the problems solved"
    return draw_lines(lines, names=ARMS, longest=longest, caption=caption)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rerun", metavar="ARM,SEED", help="repeat this row and compare it problem by problem")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path: Path = given.out / "ttrl.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"problems": [], "rows": {}}

    put = partial(write_json, path, content)
    if not content["problems"]:
        content["problems"] = choose_problems(
            given.problems, told=lambda text: print(text, file=sys.stderr, flush=True)
        )
        put()
    if len(content["problems"]) != given.problems:
        sys.exit(f"{path} has {len(content['problems'])} problems: remove it, or name another --out")
    new = origin(["-m", "bench.ttrl", "--problems", str(given.problems)])
    if given.rerun:
        arm, _, seed = given.rerun.rpartition(",")
        if arm not in ARMS or not seed.isdigit():
            parser.error(f"{given.rerun!r} is not ARM,SEED with an arm of {', '.join(ARMS)}")
        row: dict[str, Any] = new | {"results": []}
        run_row(arm, int(seed), content["problems"], row, rows=content["rows"], put=lambda: None)
        before = content["rows"].get(given.rerun, {}).get("results", [])
        differing = sum(
            (one["answer"] is None) != (other["answer"] is None)
            for one, other in zip(before, row["results"], strict=False)
        )
        print(f"{given.rerun}: {differing} of {len(before)} problems differ from the stored row")
        content["rows"][given.rerun] = row  # only now: an interruption keeps the stored one
        put()
    for seed in range(0 if given.rerun else given.seeds):
        # All arms of a problem together, so that an unfinished seed compares them.
        for count in range(1, given.problems + 1):
            for arm in given.arms:
                row = content["rows"].setdefault(f"{arm},{seed}", new | {"results": []})
                run_row(arm, seed, content["problems"][:count], row, rows=content["rows"], put=put)
    (given.out / "ttrl.md").write_text(page(content))
    (given.out / "ttrl.svg").write_text(picture(content))
    print((given.out / "ttrl.md").read_text())
    if given.json:
        print(json.dumps(summarize(content)))


if __name__ == "__main__":
    main()
