"""Bad and harmless candidates through the real gate: which of them would be published?

    python -m bench.bad_nights [--each 17] [--json]     # continues where it was stopped; docs/bad_nights.json has every candidate

Good adapters are trained from the demo's base on generated sums, one for each seed. Every other candidate is one of them, damaged:

    zeroed, doubled, scaled   no effect at all; the update twice, or three to six times as large
    slow decline          the update a tenth smaller in each of one to four nights
    truncated training    one GRPO step from the base
    noise, shuffled       normal numbers added to B; the layers' updates exchanged
    wrong labels          GRPO steps whose rewards are inverted
    loose verifier        GRPO steps whose verifier accepts every answer with an exponential function
    rate x30              GRPO steps at thirty times the learning rate
    skill destroyed       GRPO steps with inverted rewards on problems with a cosine alone
    endless answers       GRPO steps that reward only answers longer than the usual ones

or changed harmlessly: tiny noise, the update 3 % larger or smaller, rounding to bfloat16, one more honest step. The gate of the settings
compares each with the base as its parent, on own problems of ten terms and a skill suite of one to three terms. What is truly bad
is measured on other, larger suites: a loss of more than `gate.widest_margin` on skills, or a gain of less than
`gate.worthwhile_gain`. Not simulated: an adapter of another base, and leaked items, which never reach the gate (the registry and
the ladder refuse them).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from scipy.stats import beta

from bench.learning.arms import Bench, Options
from bench.learning.rows import origin, write_json
from bench.learning.subject import SUMS
from everlearn.data.suites import SuiteKind
from everlearn.gate.decision import PairedSuite, judge
from everlearn.gate.decision_record import Outcome
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.settings import GateSettings
from everlearn.training.ladder_growth import plant
from everlearn.training.loop import train_step
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everlearn.problem import Problem
    from everlearn.training.rollouts import Judge

OPTIONS = Options(rollouts=2600)
SIZE, SEEDS = 10, 5
"""Terms of the target's problems, and number of good adapters."""
SETTINGS = GateSettings()
Lora = dict[str, tuple[torch.Tensor, torch.Tensor]]


class Workshop:
    """The good adapter of one seed, which each candidate starts from, and the suites."""

    def __init__(self, seed: int) -> None:
        self.bench = Bench(subject=replace(SUMS, courses={"course": range(4, 10)}), options=OPTIONS, seed=seed)
        self.suites = {
            "target": self._problems({SIZE: 60}, "target"),
            "skill": self._problems({1: 130, 2: 130, 3: 140}, "skill"),
        }
        self.truth = {
            "target": self._problems({SIZE: 200}, "true target"),
            "skill": self._problems({1: 130, 2: 130, 3: 140}, "true skill"),
        }
        asked = [text for suite in (*self.suites.values(), *self.truth.values()) for text in suite]
        self.before = {name: self.measure(texts) for name, texts in self.suites.items()}
        self.truly_before = {name: self.share(texts) for name, texts in self.truth.items()}
        self.bench.train("course", forbidden=asked, watched=self.suites["target"][:20])
        self.good = self._copy()

    def _problems(self, counts: dict[int, int], stream: str) -> list[str]:
        return [
            text
            for size, count in counts.items()
            for text in self.bench.problems(size=size, count=count, stream=stream)
        ]

    def _copy(self) -> Lora:
        return {name: (a.detach().clone(), b.detach().clone()) for name, (a, b) in self.bench.policy.lora.items()}

    def restore(self) -> None:
        """Put the good adapter back."""
        with torch.no_grad():
            for name, (a, b) in self.bench.policy.lora.items():
                a.copy_(self.good[name][0])
                b.copy_(self.good[name][1])

    def measure(self, texts: Sequence[str]) -> tuple[Measurement, ...]:
        """Answer each problem once, greedily."""
        return tuple(
            Measurement(item=str(index), root=str(index), verdict=group.verdicts[0], answer=group.answers[0])
            for index, group in enumerate(self.bench.attempt(texts, greedy=True))
        )

    def share(self, texts: Sequence[str]) -> float:
        """Return the share of problems that are solved greedily."""
        return self.bench.solve_greedily(texts).count("1") / len(texts)

    def climb(self, judge_by: Judge | None, *, steps: int, rate: float = 1.0) -> None:
        """Train some steps from the good adapter on short and middle sums, with another judge or rate."""
        texts = self._problems({1: 20, 2: 20, 3: 20, 6: 20}, "damage")
        ladder = plant(texts, domain=self.bench.domain, forbidden=frozenset())
        usual = SUMS.learn
        settings = usual.model_copy(update={"rate": usual.rate * rate, "warmup": 1, "curriculum": "uniform"})
        run = start_run(
            self.bench.policy, ladder, domain=self.bench.domain, form=self.bench.form, settings=settings, seed=7
        )
        run.judge = judge_by
        for _ in range(steps):
            train_step(run, budget_used=0.1)

    def inverted(self, pairs: Sequence[tuple[Problem, str]], *, only: str = "") -> list[Verdict]:
        """Judge the opposite of the truth, where the statement has the text `only`."""
        verdicts = [self.bench.domain.verify(problem, answer) for problem, answer in pairs]
        return [
            _verdict(good=not verdict.is_correct if only in problem.statement else verdict.is_correct)
            for (problem, _), verdict in zip(pairs, verdicts, strict=True)
        ]


def _verdict(*, good: bool) -> Verdict:
    return Verdict(ruling=Ruling.CORRECT if good else Ruling.WRONG, reason="damaged")


def _change_b(shop: Workshop, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with torch.no_grad():
        for _, b in shop.bench.policy.lora.values():
            b.copy_(change(b))


def _shuffle(shop: Workshop, generator: torch.Generator) -> None:
    by_shape: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for _, b in shop.bench.policy.lora.values():
        by_shape.setdefault(tuple(b.shape), []).append(b)
    with torch.no_grad():
        for tensors in by_shape.values():
            order = torch.randperm(len(tensors), generator=generator)
            for tensor, source in zip(tensors, [tensors[int(index)].clone() for index in order], strict=True):
                tensor.copy_(source)


def damage(shop: Workshop, kind: str, number: int) -> None:
    """Turn the good adapter into a candidate of that kind."""
    generator = torch.Generator().manual_seed(number)
    size = 1 + (number // SEEDS) % 4  # four strengths

    def noise(b: torch.Tensor, scale: float) -> torch.Tensor:
        return b + scale * torch.randn(b.shape, generator=generator)

    def climb(judge_by: Judge | None, *, steps: int = 2 + size, rate: float = 1.0) -> None:
        shop.climb(judge_by, steps=steps, rate=rate)

    def truncate() -> None:
        _change_b(shop, torch.zeros_like)
        climb(None, steps=1)

    damages: dict[str, Callable[[], None]] = {
        "zeroed": lambda: _change_b(shop, torch.zeros_like),
        "doubled": lambda: _change_b(shop, lambda b: b * 2 + noise(torch.zeros_like(b), 1e-4 * size)),
        "scaled": lambda: _change_b(shop, lambda b: b * (2 + size)),
        "slow decline": lambda: _change_b(shop, lambda b: b * 0.9**size),
        "truncated training": truncate,
        "noise": lambda: _change_b(shop, lambda b: noise(b, 0.03 * size)),
        "shuffled": lambda: _shuffle(shop, generator),
        "wrong labels": lambda: climb(shop.inverted),
        "loose verifier": lambda: climb(lambda pairs: [_verdict(good="exp" in answer) for _, answer in pairs]),
        "rate x30": lambda: climb(None, rate=30),
        "skill destroyed": lambda: climb(lambda pairs: shop.inverted(pairs, only="cos")),
        "endless answers": lambda: climb(
            lambda pairs: [_verdict(good=len(answer) > len(problem.statement)) for problem, answer in pairs]
        ),
        "tiny noise": lambda: _change_b(shop, lambda b: noise(b, 1e-4 * size)),
        "3 % more or less": lambda: _change_b(shop, lambda b: b * (1.03 if number % 2 else 0.97)),
        "rounded to bfloat16": lambda: _change_b(shop, lambda b: b.bfloat16().float()),
        "one honest step": lambda: climb(None, steps=1),
    }
    damages[kind]()


BAD = (
    *("zeroed", "scaled", "noise", "shuffled", "wrong labels", "loose verifier", "rate x30", "skill destroyed"),
    *("endless answers", "doubled", "slow decline", "truncated training"),
)
HARMLESS = ("tiny noise", "3 % more or less", "rounded to bfloat16", "one honest step")


def candidate(shop: Workshop, kind: str, number: int) -> dict[str, Any]:
    """Make a candidate, judge it by the gate, and measure what it truly is."""
    shop.restore()
    damage(shop, kind, number)
    kinds = {"target": SuiteKind.TARGET, "skill": SuiteKind.SKILL}
    pairs = [
        PairedSuite(suite=name, kind=kinds[name], before=shop.before[name], after=shop.measure(texts))
        for name, texts in shop.suites.items()
    ]
    decision = judge(pairs, settings=SETTINGS)
    gains = {name: round(shop.share(texts) - shop.truly_before[name], 4) for name, texts in shop.truth.items()}
    return {
        "kind": kind,
        "number": number,
        "outcome": str(decision.outcome),
        "rows": {row.suite: row.sentence for row in decision.rows},
        "true_gain": gains["target"],
        "true_loss": -gains["skill"],
        "truly_bad": gains["skill"] < -SETTINGS.widest_margin or gains["target"] < SETTINGS.worthwhile_gain,
        **origin(["-m", "bench.bad_nights"]),
    }


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the numbers of bad candidates that passed, and of harmless ones that did not."""
    bad = [row for row in rows if row["kind"] in BAD and row["truly_bad"]]
    harmless = [row for row in rows if row["kind"] in HARMLESS and not row["truly_bad"]]
    passed, good = (sum(row["outcome"] == Outcome.PASS for row in group) for group in (bad, harmless))
    failed = sum(row["outcome"] == Outcome.FAIL for row in harmless)
    return {
        "bad": len(bad),
        "bad_passed": passed,
        "bad_passed_upper": round(float(beta.ppf(0.95, passed + 1, max(1, len(bad) - passed))), 4),
        "damaged_but_not_bad": sum(row["kind"] in BAD and not row["truly_bad"] for row in rows),
        "harmless": len(harmless),
        "harmless_failed": round(failed / max(1, len(harmless)), 4),
        "harmless_passed": round(good / max(1, len(harmless)), 4),
    }


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of the kinds."""
    lines = [
        "| candidate | number | truly bad | PASS | INSUFFICIENT | FAIL | bad and passed |",
        "| --- |" + " ---: |" * 6,
    ]
    for kind in (*BAD, *HARMLESS):
        own = [row for row in rows if row["kind"] == kind]
        ends = Counter(row["outcome"] for row in own)
        bad = [row for row in own if row["truly_bad"]]
        wrong = sum(row["outcome"] == Outcome.PASS for row in bad)
        counts = [
            len(own),
            len(bad),
            *(ends[outcome] for outcome in (Outcome.PASS, Outcome.INSUFFICIENT, Outcome.FAIL)),
            wrong,
        ]
        lines.append(f"| {kind} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--each", type=int, default=17, help="candidates of each kind; of the harmless ones three times as many"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/bad_nights.json"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    known = {(row["kind"], row["number"]) for row in rows}
    for seed in range(SEEDS):
        numbers = range(seed, given.each, SEEDS)
        wanted = [(kind, number) for number in numbers for kind in BAD]
        wanted += [(kind, number) for number in range(seed, 3 * given.each, SEEDS) for kind in HARMLESS]
        missing = [each for each in wanted if each not in known]
        shop = Workshop(seed) if missing else None
        for kind, number in missing:
            assert shop is not None  # noqa: S101 (there is something missing)
            rows.append(candidate(shop, kind, number))
            write_json(given.out, {"rows": rows})
    print(json.dumps(summarize(rows)) if given.json else page(rows))


if __name__ == "__main__":
    main()
