"""Compare three curricula at equal CPU seconds on the same hard problems: does the ladder matter?

    python -m bench.learning [--split test] [--seeds 3] [--cpu-seconds 240] [--jobs 2] [--json]

Roots are sums of 14 terms, which the default base (pretrained on sums of one to three) never solves. The arms:

    ladder    variants that the model generates, sampled by their measured pass rate
    uniform   the same kind of ladder, every rung sampled equally often
    direct    GRPO on the roots alone

Each arm and seed runs in its own process, whose CPU seconds (children included) are counted: with growing and measuring
the ladder, without the evaluations. Tables are greedy pass rates on fresh problems of each size. `dev`
was used to choose settings; `test` has other roots and problems, and is run once. Every rewarded answer is verified again
at 50 digits. Writes docs/learning.md, docs/learning.svg and docs/learning.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ARMS = ("ladder", "uniform", "direct")
HARD, LONGER = 14, 18
TABLE = (4, 6, 8, 10, 12, 14, 16, 18)
SKILLS = (1, 2, 3)
SPLITS = {"dev": 11, "test": 23}
ROOTS = 120


def problems(split: str, *, size: int, count: int, stream: str) -> list[str]:
    """Return fresh sums of `size` terms; `stream` separates roots, evaluation and skills."""
    from everlearn.domains.contract import load_domain
    from everlearn.training.rollouts import seed_of

    rng = random.Random(seed_of(SPLITS[split], stream, size))
    domain = load_domain("integration")
    return [domain.generate(rng, size=size) for _ in range(count)]


def run_arm(
    arm: str, *, seed: int, split: str, budget: float, base: Path, items: int, skill_items: int
) -> dict[str, Any]:
    """Train one arm with one seed for `budget` CPU seconds, then measure it."""
    import torch

    from everlearn.counters import cpu_seconds
    from everlearn.domains.contamination import equivalence_keys
    from everlearn.domains.contract import load_domain
    from everlearn.settings import LadderSettings, LearnSettings
    from everlearn.training.ladder_growth import extend, measure_rungs, plant
    from everlearn.training.loop import train_step
    from everlearn.training.models.policy import load_policy
    from everlearn.training.models.precision import has_fast_bf16
    from everlearn.training.rollouts import Solver, attempt, seed_of
    from everlearn.training.training_run import start_run

    torch.set_num_threads(1)
    domain = load_domain("integration")
    policy = load_policy(base, seed=seed)
    tables = {size: problems(split, size=size, count=items, stream="table") for size in TABLE}
    skills = {size: problems(split, size=size, count=skill_items, stream="skill") for size in SKILLS}
    forbidden = equivalence_keys([s for group in (*tables.values(), *skills.values()) for s in group], domain=domain)

    def solve(statements: list[str]) -> list[bool]:
        solver = Solver(policy=policy, model=policy.merged(), domain=domain)
        groups = attempt(solver, statements, group=1, seed=1, greedy=True)
        return [group.passed == 1 for group in groups]

    before = {size: solve(tables[size]) for size in (HARD, LONGER)} | {size: solve(skills[size]) for size in SKILLS}
    settings = LearnSettings(seed=seed, curriculum="uniform" if arm == "uniform" else "measured")
    growing = LadderSettings()
    started, outside = cpu_seconds(), 0.0
    ladder = plant(problems(split, size=HARD, count=ROOTS, stream=f"roots {seed}"), domain=domain, forbidden=forbidden)
    model = policy.merged(bf16=has_fast_bf16())
    if arm != "direct":
        solver = Solver(policy=policy, model=model, domain=domain)
        extend(ladder, solver, forbidden=forbidden, settings=growing, seed=seed)
        if arm == "ladder":
            measure_rungs(
                solver,
                ladder,
                list(ladder.rungs),
                rollouts=growing.rollouts,
                temperature=growing.answer_temperature,
                seed=seed_of(seed, "before"),
            )
    run = start_run(policy, ladder, domain=domain, settings=settings, seed=seed)
    curve = [(0.0, sum(before[HARD]) / items, sum(before[LONGER]) / items)]
    sampled = 0

    def spent() -> float:
        return cpu_seconds() - started - outside

    while spent() < budget:
        point = train_step(run, budget_used=spent() / budget)
        sampled += point.groups_sampled * settings.group
        if spent() >= min(budget, len(curve) * budget / 5):
            now, paused = spent(), cpu_seconds()
            hard, longer = (sum(solve(tables[size][:100])) / len(tables[size][:100]) for size in (HARD, LONGER))
            curve.append((now, hard, longer))
            outside += cpu_seconds() - paused
            print(
                f"{arm} seed {seed}: {now:.0f} of {budget:.0f} CPU s, step {run.step}, "
                f"hard {curve[-1][1]:.0%}, longer {curve[-1][2]:.0%}",
                file=sys.stderr,
                flush=True,
            )
    used = spent()
    after = {size: solve(tables[size]) for size in TABLE}
    skilled = {size: solve(skills[size]) for size in SKILLS}
    distinct = {(row["statement"], row["answer"]) for row in run.rewarded}
    false = sum(not domain.recheck(statement, answer).is_correct for statement, answer in sorted(distinct))
    return {
        "arm": arm,
        "seed": seed,
        "cpu_seconds": used,
        "steps": run.step,
        "rollouts": sampled,
        "hard_before": sum(before[HARD]) / items,
        "longer_before": sum(before[LONGER]) / items,
        "table": {size: sum(right) / items for size, right in after.items()},
        "skills": {
            size: {
                "before": sum(before[size]) / skill_items,
                "after": sum(right) / skill_items,
                "won": sum(new and not old for old, new in zip(before[size], right, strict=True)),
                "lost": sum(old and not new for old, new in zip(before[size], right, strict=True)),
            }
            for size, right in skilled.items()
        },
        "curve": curve,
        "rewarded": len(distinct),
        "false_rewards": false,
    }


def spawn(arm: str, *, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run `run_arm` in a fresh process."""
    command = [
        sys.executable,
        "-m",
        "bench.learning",
        "--arm",
        arm,
        "--seed",
        str(seed),
        "--split",
        options.split,
        "--cpu-seconds",
        str(options.cpu_seconds),
        "--items",
        str(options.items),
        "--skill-items",
        str(options.skill_items),
        "--base",
        str(options.base),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON object of the last line: medians over seeds, and the largest median loss of a skill."""
    by_arm = {arm: [run for run in runs if run["arm"] == arm] for arm in ARMS}

    def mid(arm: str, size: int) -> float:
        return float(median(run["table"][str(size)] for run in by_arm[arm]))

    losses = {
        size: median(run["skills"][str(size)]["before"] - run["skills"][str(size)]["after"] for run in by_arm["ladder"])
        for size in SKILLS
    }
    return {
        "hard_before": median(run["hard_before"] for run in by_arm["ladder"]),
        "hard_after": mid("ladder", HARD),
        "longer_after": mid("ladder", LONGER),
        "direct_after": mid("direct", HARD),
        "uniform_after": mid("uniform", HARD),
        "skill_loss_max": max(losses.values()),
        "false_rewards": sum(run["false_rewards"] for run in runs),
        "seeds": len(by_arm["ladder"]),
        "cpu_seconds": median(run["cpu_seconds"] for run in by_arm["ladder"]),
    }


def table(runs: list[dict[str, Any]], *, items: int, skill_items: int) -> str:
    """Return Markdown tables: pass rates by size, then the old skills before and after."""
    from everlearn.gate.statistics import largest_loss

    def cell(arm: str, size: int) -> str:
        rates = sorted(run["table"][str(size)] for run in runs if run["arm"] == arm)
        return f"{median(rates):.1%} ({rates[0]:.1%} to {rates[-1]:.1%})"

    lines = [
        f"Greedy pass rate on {items} fresh problems of each size: median over seeds (lowest to highest seed).",
        "",
        "| terms | " + " | ".join(ARMS) + " |",
        "| ---: |" + " ---: |" * len(ARMS),
    ]
    notes = {HARD: " (roots)", LONGER: " (longer than any root)"}
    lines += [
        f"| {size}{notes.get(size, '')} | " + " | ".join(cell(arm, size) for arm in ARMS) + " |" for size in TABLE
    ]
    lines += [
        "",
        f"Old skills on {skill_items} items each, arm `ladder`; *loss at most* is Tango's one-sided 95 % bound.",
        "",
        "| terms | seed | before | after | won | lost | loss at most |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in (run for run in runs if run["arm"] == "ladder"):
        for size, skill in run["skills"].items():
            bound = largest_loss(won=skill["won"], lost=skill["lost"], items=skill_items, alpha=0.05)
            lines.append(
                f"| {size} | {run['seed']} | {skill['before']:.2%} | {skill['after']:.2%} | {skill['won']} | "
                f"{skill['lost']} | {bound:.2%} |"
            )
    lines += [
        "",
        "| arm | seed | CPU s | steps | rollouts | distinct rewarded answers | false at 50 digits |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {run['arm']} | {run['seed']} | {run['cpu_seconds']:.0f} | {run['steps']} | {run['rollouts']} | "
        f"{run['rewarded']} | {run['false_rewards']} |"
        for run in runs
    ]
    return "\n".join(lines) + "\n"


def picture(runs: list[dict[str, Any]]) -> str:
    """Return a standalone SVG of the pass rate on fresh hard problems over CPU seconds, one line a run."""
    colours = {"ladder": "#2563eb", "uniform": "#d97706", "direct": "#dc2626"}
    longest = max(point[0] for run in runs for point in run["curve"])

    def place(point: list[float]) -> str:
        return f"{60 + 500 * point[0] / longest:.1f},{280 - 240 * point[1]:.1f}"

    parts = [
        f'<text x="20" y="{284 - 240 * share:.0f}">{share:.0%}</text><path d="M60 {280 - 240 * share:.0f}H560" '
        'stroke="#8884"/>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts += [
        f'<text x="{60 + 125 * part}" y="300" text-anchor="middle">{longest * part / 4:.0f}</text>' for part in range(5)
    ]
    parts += [
        f'<polyline points="{" ".join(map(place, run["curve"]))}" fill="none" stroke="{colours[run["arm"]]}" '
        'stroke-width="2"/>'
        for run in runs
    ]
    parts += [
        f'<text x="{80 + 110 * index}" y="24" fill="{colours[arm]}">{arm}</text>' for index, arm in enumerate(ARMS)
    ]
    parts.append(
        f'<text x="310" y="322" text-anchor="middle">CPU seconds; greedy pass rate on fresh sums of {HARD} terms</text>'
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 335" font-family="sans-serif" font-size="13" '
        f'fill="#888">{"".join(parts)}</svg>\n'
    )


def write(runs: list[dict[str, Any]], options: argparse.Namespace, out: Path) -> None:
    """Write the tables, the picture and the raw runs."""
    summary = summarize(runs)
    head = f"""# Does the ladder matter? A comparison of three curricula

`python -m bench.learning --split {options.split} --seeds {options.seeds} --cpu-seconds {options.cpu_seconds:.0f}`,
{datetime.now(UTC):%Y-%m-%d}, {platform.processor() or platform.machine()} with {os.cpu_count()} cores (shared), one thread a run.

Sums of {HARD} terms: {summary["hard_before"]:.1%} before; after {summary["cpu_seconds"]:.0f} CPU seconds on the ladder
{summary["hard_after"]:.1%}, by GRPO on the roots alone {summary["direct_after"]:.1%}, on a ladder without curriculum
{summary["uniform_after"]:.1%}. Sums of {LONGER} terms, longer than any root: {summary["longer_after"]:.1%}.

![pass rate over CPU seconds](learning.svg)

"""
    out.mkdir(exist_ok=True)
    (out / "learning.md").write_text(head + table(runs, items=options.items, skill_items=options.skill_items))
    (out / "learning.svg").write_text(picture(runs))
    (out / "learning.json").write_text(json.dumps({"options": {"split": options.split}, "runs": runs}, indent=1) + "\n")


def main() -> None:
    """Run all arms and seeds, write the documents, and print the summary last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, default="dev")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cpu-seconds", type=float, default=240.0)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--skill-items", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--base", type=Path, default=Path("data/base"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    parser.add_argument("--arm", choices=ARMS, help="run only this arm, and print its raw result")
    parser.add_argument("--seed", type=int, default=0, help="with --arm: its seed")
    options = parser.parse_args()
    if options.arm:
        result = run_arm(
            options.arm,
            seed=options.seed,
            split=options.split,
            budget=options.cpu_seconds,
            base=options.base,
            items=options.items,
            skill_items=options.skill_items,
        )
        print(json.dumps(result))
        return
    wanted = [(arm, seed) for seed in range(options.seeds) for arm in ARMS]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(lambda pair: spawn(pair[0], seed=pair[1], options=options), wanted))
    runs.sort(key=lambda run: (ARMS.index(run["arm"]), run["seed"]))
    write(runs, options, options.out)
    print((options.out / "learning.md").read_text())
    if options.json:
        print(json.dumps(summarize(runs)))


if __name__ == "__main__":
    main()
