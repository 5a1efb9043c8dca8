"""Context, weights or search: what each solves of the same fresh problems, and what a request costs.

    python -m bench.context --json                          # sums of 14 terms on the demo's base, three seeds
    python -m bench.context --subject additions --seeds 1   # 6-digit additions on SmolLM2 (make smollm2), about an hour
    python -m bench.context --rerun sums,0                  # repeat one row and compare it item by item

For each seed the ladder of `bench.learning` trains an adapter on a budget of completions. The same problems are then given to

    context      the unmodified base with 0, 1, 2, 4 … 64 examples in its prompt, and as many as the window holds where the
                 model states one: what the training had solved, at random or by similarity, the most similar one last
    weights      the adapter, without examples
    best of n    16 sampled answers of the base; solved if the verifier accepts one
    ttrl         a ladder and a throw-away adapter for each problem, at most 20 CPU seconds, for the first problems only

A request of best of n and of ttrl includes all that is spent on its problem; the training of the adapter is told apart, and with it
after how many requests the adapter is cheaper. `--adapter DIR` takes what `--keep` of the other benches has kept instead of training.
As many examples as the window holds take the longest, with a window of 32k on a CPU maybe hours; `--most 64` leaves them out.
Raw results per item with revision, machine and command are in docs/context.json; docs/context.md and docs/context.svg are made of them,
by `--seeds 0` without running anything.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from math import log10
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import bench.lm_night.__main__ as lm_night
from bench.learning.arms import Bench, Options
from bench.learning.rows import run_row, say_origins, write_json
from bench.learning.subject import COMPOSITIONS, SUMS
from everlearn import counters
from everlearn.settings import Settings
from everlearn.training.context_results import Choice, ContextResult, read_solved, requests_until_cheaper
from everlearn.training.in_context import measure_in_context
from everlearn.training.rollouts import attempt
from everlearn.training.test_time import Budget, solve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.learning.subject import Subject
    from everlearn.problem import Problem

SUBJECTS: dict[str, tuple[Subject, int]] = {
    "sums": (SUMS, 6000),
    "compositions": (COMPOSITIONS, 6000),
    "additions": (lm_night.ADDITIONS, 15_000),
}
"""Subjects with the completions that an adapter is trained on."""
COUNTS = (0, 1, 2, 4, 8, 16, 32, 64)
SAMPLES = 16
TTRL_SECONDS = 20.0
POLICIES = ("context, random", "context, similar", "weights", "best of n", "ttrl")
HEIGHT = 345  # of a panel
COLOURS = dict(zip(POLICIES, ("#2563eb", "#0891b2", "#059669", "#d97706", "#7c3aed"), strict=True))


def measure_row(
    subject: Subject, options: Options, *, seed: int, ttrl: int, adapter: Path | None, most: int = 0
) -> dict[str, Any]:
    """Train an adapter unless one is given, and return the results of all policies on the same fresh problems.

    A prompt has at most `most` examples, 0: as many as the window holds, where the model states one; `ttrl` the first so many problems.
    """
    bench = Bench(subject=subject, options=options, seed=seed)
    statements = bench.problems(size=subject.hard, count=options.items, stream="table")
    problems = [bench.domain.stated(text) for text in dict.fromkeys(statements)]
    with tempfile.TemporaryDirectory() as folder:
        kept = adapter or _train(bench, statements, Path(folder))
        solved = read_solved((kept / "rewarded.jsonl").read_bytes(), domain=bench.domain)
        measure = partial(
            measure_in_context,
            Path(options.base),
            problems=problems,
            solved=solved,
            seed=1,
            threads=subject.threads,
            form=subject.form,
        )
        counts = [count for count in COUNTS if not most or count <= most]
        results = list(_told(measure(adapter=None, policy="base", counts=counts, up_to_window=not most)))
        results += _told(measure(adapter=kept / "adapter", policy="adapter", counts=(0,)))
        paid = json.loads((kept / "cost.json").read_text())["cpu_seconds"]
    results.append(_best_of_n(bench, problems))
    print(f"best of {SAMPLES}: {results[-1].accuracy:.1%}", file=sys.stderr, flush=True)
    if ttrl:
        results.append(_ttrl(subject, options, problems[:ttrl], seed=seed))
    return {"trained_cpu_seconds": paid, "solved": len(solved), "results": [each.to_content() for each in results]}


def _train(bench: Bench, statements: Sequence[str], folder: Path) -> Path:
    """Train the ladder of `bench.learning`, without the problems that are measured; return what was kept."""
    trained = bench.train("ladder", forbidden=statements, watched=statements[:50])
    bench.keep(folder, cpu_seconds=trained["cpu_seconds"])
    return folder


def _told(results: Iterator[ContextResult]) -> Iterator[ContextResult]:
    for each in results:
        print(f"{each.policy}, {each.examples} {each.choice}: {each.accuracy:.1%}", file=sys.stderr, flush=True)
        yield each


def _best_of_n(bench: Bench, problems: Sequence[Problem]) -> ContextResult:
    untrained = Bench(subject=bench.subject, options=bench.options, seed=bench.seed)
    started, clock = counters.cpu_seconds(), time.monotonic()
    groups = attempt(untrained.solver(bf16=False), problems, group=SAMPLES, seed=2)
    each, seconds, cpu_seconds = 1 / len(problems), time.monotonic() - clock, counters.cpu_seconds() - started
    return ContextResult(
        policy=f"best of {SAMPLES}",
        examples=0,
        choice=Choice.NONE,
        right=tuple(group.passed > 0 for group in groups),
        prompt_tokens=round(each * SAMPLES * sum(len(group.prompt) for group in groups), 1),
        answer_tokens=round(each * sum(len(row.ids) for group in groups for row in group.completions), 1),
        seconds=round(each * seconds, 5),
        cpu_seconds=round(each * cpu_seconds, 5),
    )


def _ttrl(subject: Subject, options: Options, problems: Sequence[Problem], *, seed: int) -> ContextResult:
    settings = Settings(
        domain=subject.domain,
        threads=subject.threads,
        format=subject.form,
        learn=subject.learn.model_copy(update={"seed": seed, "processes": 1}),
        ladder=subject.growth,
    )
    budget, before = Budget(cpu_seconds=TTRL_SECONDS), counters.snapshot()["tokens"]
    base, each, clock = Path(options.base), 1 / len(problems), time.monotonic()
    solutions = [solve(problem, base=base, adapter=None, settings=settings, budget=budget) for problem in problems]
    seconds = time.monotonic() - clock
    print(f"ttrl: {sum(s.answer is not None for s in solutions)} of {len(problems)}", file=sys.stderr, flush=True)
    return ContextResult(
        policy="ttrl",
        examples=0,
        choice=Choice.NONE,
        right=tuple(solution.answer is not None for solution in solutions),
        prompt_tokens=0.0,  # not measured
        answer_tokens=round(each * (counters.snapshot()["tokens"] - before), 1),
        seconds=round(each * seconds, 5),
        cpu_seconds=round(each * sum(solution.cpu_seconds for solution in solutions), 5),
    )


def kind_of(result: ContextResult) -> str:
    """Return which of `POLICIES` a result belongs to; the base without examples begins both contexts."""
    if result.policy == "adapter":
        return "weights"
    if result.policy.startswith("best"):
        return "best of n"
    return "ttrl" if result.policy == "ttrl" else f"context, {result.choice}"


def results_of(row: dict[str, Any]) -> list[ContextResult]:
    """Return the results of a row."""
    return [ContextResult.from_content(each) for each in row["results"]]


def summarize(rows: dict[str, Any], subject: str) -> dict[str, Any]:
    """Return medians over seeds for one subject."""
    own = [(row, results_of(row)) for key, row in rows.items() if key.startswith(f"{subject},")]
    if not own:
        return {"subject": subject, "seeds": 0}

    def share(policy: Callable[[ContextResult], bool]) -> float:
        best = [max((each.accuracy for each in results if policy(each)), default=0.0) for _, results in own]
        return round(median(best), 4)

    earned = [_requests(row, results) for row, results in own]
    return {
        "subject": subject,
        "seeds": len(own),
        "items": len(own[0][1][0].right),
        "base": share(lambda each: each.policy == "base" and not each.examples),
        "best_context": share(lambda each: each.policy == "base" and each.examples > 0),
        "most_examples": max(each.examples for _, results in own for each in results),
        "weights": share(lambda each: each.policy == "adapter"),
        "best_of_n": share(lambda each: each.policy.startswith("best")),
        "ttrl": share(lambda each: each.policy == "ttrl"),
        "training_cpu_seconds": median(row["trained_cpu_seconds"] for row, _ in own),
        "requests_until_weights_are_cheaper": None if None in earned else median(filter(None, earned)),
    }


def _requests(row: dict[str, Any], results: Sequence[ContextResult]) -> float | None:
    contexts = [each for each in results if each.policy == "base" and each.examples]
    adapter = next(each for each in results if each.policy == "adapter")
    return requests_until_cheaper(contexts, adapter, paid=row["trained_cpu_seconds"])


def page(rows: dict[str, Any]) -> str:
    """Return the Markdown page."""
    lines = [
        "# Context, weights or search",
        "",
        f"`python -m bench.context`: {say_origins(rows.values())}. bench/context.py describes the policies; docs/context.json has the raw results.",
        "",
        "The base model answers fresh problems with solved examples in its prompt, an adapter answers them without, best of 16 takes what the",
        f"verifier accepts, ttrl trains on each problem alone for at most {TTRL_SECONDS:.0f} CPU seconds (on the first problems only). Medians over seeds;",
        "seconds are CPU seconds of every policy, and what was not measured is -.",
        "",
        "![accuracy over CPU seconds a request](context.svg)",
    ]
    for subject in sorted({key.partition(",")[0] for key in rows}):
        lines += ["", *_table(rows, subject)]
    return "\n".join(lines) + "\n"


def _table(rows: dict[str, Any], subject: str) -> list[str]:
    about, summary = SUBJECTS[subject][0], summarize(rows, subject)
    own = [row for key, row in rows.items() if key.startswith(f"{subject},")]
    lines = [
        f"## {subject}: {about.domain}, {about.hard} {about.unit}",
        "",
        f"{summary['seeds']} seed{'s' if summary['seeds'] > 1 else ''}. Training took {summary['training_cpu_seconds']:.0f} CPU seconds. "
        + _conclusion(summary),
        "",
        "| policy | examples | right (lowest to highest) | prompt tokens | sampled tokens | CPU s a request |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    by_kind: dict[tuple[str, int, str], list[ContextResult]] = {}
    for result in (result for row in own for result in results_of(row)):
        # The largest number of examples is another one in each seed.
        examples = -1 if result.is_largest else result.examples
        by_kind.setdefault((result.policy, examples, str(result.choice)), []).append(result)
    for (policy, _, choice), found in by_kind.items():
        shares = sorted(each.accuracy for each in found)
        cells = [median(getattr(each, name) for each in found) for name in ("prompt_tokens", "answer_tokens")]
        lines.append(
            f"| {policy} | {_examples(found, choice)} | {median(shares):.1%} ({shares[0]:.1%} to {shares[-1]:.1%}) of {len(found[0].right)} | "
            f"{f'{cells[0]:.0f}' if cells[0] else '-'} | {cells[1]:.0f} | {median(each.cpu_seconds for each in found):.3f} |"
        )
    return lines


def _examples(found: Sequence[ContextResult], choice: str) -> str:
    """Return how many examples a prompt had, of one result a seed."""
    counts = sorted({each.examples for each in found})
    if counts == [0]:
        return "none"
    shown = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f"{shown}, {choice}" + (", the most" if found[0].is_largest else "")


def _conclusion(summary: dict[str, Any]) -> str:
    if summary["best_context"] < summary["weights"]:
        return "No context did what the adapter does."
    requests = summary["requests_until_weights_are_cheaper"]
    if requests is None:
        return "A context did as well, and not in every seed at a higher price."
    return f"The adapter has paid for itself after {requests:,.0f} requests."


def picture(rows: dict[str, Any]) -> str:
    """Return a standalone SVG with a panel for each subject."""
    subjects = sorted({key.partition(",")[0] for key in rows})
    panels = [
        f'<g transform="translate(0 {HEIGHT * at})">'
        + _panel(subject, {key: row for key, row in rows.items() if key.startswith(f"{subject},")})
        + "</g>"
        for at, subject in enumerate(subjects)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 {HEIGHT * len(panels)}" font-family="sans-serif" font-size="12" '
        f'fill="#888">{"".join(panels)}</svg>\n'
    )


def _panel(subject: str, rows: dict[str, Any]) -> str:
    """Draw accuracy over CPU seconds a request (logarithmic), one point a result, the contexts of a seed joined by a line."""
    points = [(key, result) for key, row in rows.items() for result in results_of(row)]
    costs = [max(result.cpu_seconds, 1e-4) for _, result in points]
    low, high = log10(min(costs)) - 0.1, log10(max(costs)) + 0.1

    def place(result: ContextResult) -> tuple[float, float]:
        return 60 + 500 * (log10(max(result.cpu_seconds, 1e-4)) - low) / (high - low), 280 - 240 * result.accuracy

    parts = [
        f'<text x="20" y="{284 - 240 * share:.0f}">{share:.0%}</text><path d="M60 {280 - 240 * share:.0f}H560" stroke="#8884"/>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    for power in range(int(low // 1), int(high // 1) + 1):
        if low <= power <= high:
            at = 60 + 500 * (power - low) / (high - low)
            parts.append(f'<text x="{at:.0f}" y="300" text-anchor="middle">{10.0**power:g}</text>')
    for key in rows:
        for choice in (Choice.RANDOM, Choice.SIMILAR):
            own = [r for name, r in points if name == key and r.policy == "base" and r.choice in (choice, Choice.NONE)]
            path = " ".join("{:.1f},{:.1f}".format(*place(result)) for result in own)
            colour = COLOURS[f"context, {choice}"]
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for _, result in points:
        x, y = place(result)
        colour = COLOURS.get(kind_of(result), "#6b7280")
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    parts += [
        f'<text x="{60 + 105 * at}" y="20" fill="{colour}">{name}</text>'
        for at, (name, colour) in enumerate(COLOURS.items())
    ]
    parts.append(
        f'<text x="310" y="322" text-anchor="middle">{subject}: CPU seconds a request; share answered right; grey: the base without examples</text>'
    )
    return "".join(parts)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", choices=SUBJECTS, default="sums")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rollouts", type=int, help="completions that the adapter is trained on")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--ttrl", type=int, default=20, help="problems for ttrl; 0: none")
    parser.add_argument(
        "--most", type=int, default=0, help="examples in a prompt, at most; 0: as many as the window holds"
    )
    parser.add_argument("--base", help="another base model than the subject's")
    parser.add_argument("--adapter", type=Path, help="what --keep of another bench has kept, instead of training")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rerun", metavar="SUBJECT,SEED", help="repeat this row and compare it item by item")
    parser.add_argument("--run", metavar="SUBJECT,SEED", help="run only this row, and print its raw results")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    given = parser.parse_args(arguments)
    if given.run:
        name, _, seed = given.run.partition(",")
        subject, rollouts = SUBJECTS[name]
        options = Options(
            rollouts=given.rollouts or rollouts, items=given.items, skill_items=0, base=given.base or subject.base
        )
        row = measure_row(subject, options, seed=int(seed), ttrl=given.ttrl, adapter=given.adapter, most=given.most)
        print(json.dumps(row))
        return
    path: Path = given.out / "context.json"
    rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    passed = [
        part
        for name in ("rollouts", "base", "adapter")
        if getattr(given, name)
        for part in (f"--{name}", str(getattr(given, name)))
    ]
    passed += [part for name in ("items", "ttrl", "most") for part in (f"--{name}", str(getattr(given, name)))]
    wanted = [given.rerun] if given.rerun else [f"{given.subject},{seed}" for seed in range(given.seeds)]
    for key in wanted:
        name, _, seed = key.partition(",")
        if key in rows and not given.rerun:
            continue
        before = rows.get(key)
        rows[key] = run_row(
            name, int(seed), module="bench.context", threads=SUBJECTS[name][0].threads, arguments=passed
        )
        write_json(path, rows)
        if before is not None:
            pairs = zip(results_of(before), results_of(rows[key]), strict=False)
            differing = sum(one.right != other.right for one, other in pairs)
            print(f"{key}: {differing} of {len(before['results'])} results differ from the stored row")
    (given.out / "context.md").write_text(page(rows))
    (given.out / "context.svg").write_text(picture(rows))
    print((given.out / "context.md").read_text())
    if given.json:
        print(json.dumps(summarize(rows, given.subject)))


if __name__ == "__main__":
    main()
