"""The line of one seed: base, two versions, a good candidate, the suites of the night, and what changes an adapter."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import torch

from bench.bad_nights.truth import judge_truth
from bench.learning.arms import Bench, Options
from bench.learning.subject import SUMS
from everlearn.canonical_json import digest_of
from everlearn.data.suites import Suite, SuiteKind
from everlearn.domains.contamination import equivalence_keys
from everlearn.gate.baselines import choose_baselines
from everlearn.gate.checks import run_checks
from everlearn.gate.decision import PairedSuite, judge
from everlearn.gate.decision_record import Against, Check, Decision, Outcome
from everlearn.problem import Measurement, Problem, Ruling, Verdict
from everlearn.registry.manifest import Manifest
from everlearn.registry.signing import Unsigned
from everlearn.registry.versions import Registry
from everlearn.settings import GateSettings
from everlearn.storage.in_memory import MemoryStore
from everlearn.training.fresh_process import check, probe
from everlearn.training.ladder_growth import plant
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Group, Judge, seed_of
from everlearn.training.train_step import train_step
from everlearn.training.training_run import start_run

SETTINGS = GateSettings()
LINE = "bad-nights"
PARENT, GOOD = "v0002", "good"
SKILLS = (1, 2, 3)
LEFT_OUT = "cos"
"""What no problem of the target has, so that it can be destroyed while the target improves."""
TAUGHT_AT_ONCE = 24
Lora = dict[str, tuple[torch.Tensor, torch.Tensor]]
Texts = dict[str, list[str]]
Row = tuple[list[int], list[int]]
"""The tokens of a prompt and of an answer to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large everything is; the defaults are those of the results. `skill` items are of each size.

    `course` has the sizes of the sums that each adapter is trained on, beginning as the one before it, and the steps.
    `blocks` of `block_target` and `block_skill` items are what the truth is measured on; `probes` of each suite are
    answered by the saved bytes.
    """

    target: int = 80
    skill: int = 70
    blocks: int = 5
    block_target: int = 50
    block_skill: int = 30
    hard: int = 10
    prompts: int = 20
    damage_prompts: int = 8
    probes: int = 12
    course: Mapping[str, tuple[Sequence[int], int]] = field(
        default_factory=lambda: {"v0001": ((3, 4, 5), 2), PARENT: ((4, 5, 6), 3), GOOD: ((7, 8, 9, 10), 10)}
    )


class Workshop:
    """The adapter in the making, which starts as one of the line's and is changed, and all that judges it."""

    def __init__(self, seed: int, *, folder: Path, scale: Scale | None = None) -> None:
        self.seed, self.scale, self.folder = seed, scale or Scale(), folder / f"seed-{seed}"
        self.base = Path(SUMS.base)
        self.bench = Bench(subject=SUMS, options=Options(), seed=seed)
        self.domain = self.bench.domain
        self.suites = self._suites("night", target=self.scale.target, skill=self.scale.skill)
        sizes = {"target": self.scale.block_target, "skill": self.scale.block_skill}
        self.truth = [self._suites(f"truth {block}", **sizes) for block in range(self.scale.blocks)]
        asked = [text for suites in (self.suites, *self.truth) for texts in suites.values() for text in texts]
        self.forbidden = equivalence_keys(asked, domain=self.domain)
        self.rewarded: list[dict[str, str]] = []
        self.stopped: str | None = None
        self.leaked: list[Row] = []
        """Right answers to the target, sampled once."""
        self.adapters = {"base": self.copy()} | {name: self._trained(name) for name in self.scale.course}
        self.before = {name: self._measured_as(name) for name in ("base", "v0001", PARENT)}
        self.put(PARENT)
        self.truly_before = [{name: self.marks(texts) for name, texts in block.items()} for block in self.truth]
        self.registry = self._line()

    def problems(self, sizes: Sequence[int], count: int, stream: str) -> list[str]:
        """Return `count` different problems of each size, fewer where there are no more."""
        stream, draw = f"{stream}, seed {self.seed}", self.bench.problems
        drawn = [dict.fromkeys(draw(size=size, count=2 * count, stream=stream)) for size in sizes]
        return [text for texts in drawn for text in list(texts)[:count]]

    def plain_problems(self, size: int, count: int, stream: str) -> list[str]:
        """Return `count` problems of that size without a cosine, as the target has."""
        drawn: dict[str, None] = {}
        while len(drawn) < count:
            stream += "+"
            drawn |= dict.fromkeys(text for text in self.problems([size], count, stream) if LEFT_OUT not in text)
        return list(drawn)[:count]

    def _suites(self, stream: str, *, target: int, skill: int) -> Texts:
        hard = self.plain_problems(self.scale.hard, target, f"{stream} target")
        return {"target": hard, "skill": self.problems(SKILLS, skill, f"{stream} skill")}

    def copy(self) -> Lora:
        """Return the adapter as it is now."""
        return {name: (a.detach().clone(), b.detach().clone()) for name, (a, b) in self.bench.policy.lora.items()}

    def put(self, adapter: str | Lora) -> None:
        """Begin with one of the line's adapters, or with these tensors."""
        self.rewarded, self.stopped = [], None
        tensors = self.adapters[adapter] if isinstance(adapter, str) else adapter
        with torch.no_grad():
            for name, (a, b) in self.bench.policy.lora.items():
                a.copy_(tensors[name][0])
                b.copy_(tensors[name][1])

    def _trained(self, name: str) -> Lora:
        """Return an adapter of the line, trained from the present one unless it is in the folder."""
        sizes, steps = self.scale.course[name]
        if (self.folder / name).exists():
            self.bench.policy = load_policy(self.base, self.folder / name)
        else:
            texts = self.problems(sizes, 2 * self.scale.prompts, f"course {name}")
            self.climb(texts, steps=steps, prompts=self.scale.prompts, seed=self.seed)
            self.bench.policy.save(self.folder / "partial").rename(self.folder / name)
        return self.copy()

    def climb(
        self,
        texts: Sequence[str],
        *,
        steps: int,
        seed: int,
        prompts: int | None = None,
        rate: float = 1.0,
        warmup: int = 1,
        judge_by: Judge | None = None,
        guarded: bool = True,
    ) -> None:
        """Take GRPO steps, with another judge or rate, or without the guards that stop a training."""
        ladder = plant(texts, domain=self.domain, forbidden=self.forbidden)
        changed: dict[str, Any] = {"rate": SUMS.learn.rate * rate, "warmup": warmup, "curriculum": "uniform"}
        changed |= {} if guarded else {"max_kl": inf, "min_entropy": 0.0, "max_unended": 1.0}
        settings = SUMS.learn.model_copy(update=changed | {"prompts": prompts or self.scale.damage_prompts})
        run = start_run(
            self.bench.policy, ladder, domain=self.domain, form=self.bench.form, settings=settings, seed=seed
        )
        run.judge = judge_by
        for _ in range(steps):
            if run.stopped is None:
                train_step(run, budget_used=0.1)
        self.rewarded, self.stopped = run.rewarded, run.stopped

    def teach(self, rows: Sequence[Row], *, steps: int, seed: int) -> None:
        """Take supervised steps on answers, whatever they are."""
        policy, rng = self.bench.policy, random.Random(seed)
        optimizer = torch.optim.AdamW(policy.parameters(), lr=SUMS.learn.rate, betas=(0.9, 0.99), weight_decay=0.0)
        for _ in range(steps):
            chosen = rng.sample(rows, min(TAUGHT_AT_ONCE, len(rows)))
            model = policy.trained(policy.snapshot())
            scores, mask = token_logprobs(model, [prompt for prompt, _ in chosen], [answer for _, answer in chosen])
            (-(scores * mask).sum() / mask.sum()).backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), SUMS.learn.max_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def marks(self, texts: Sequence[str]) -> str:
        """Answer each problem once, greedily; return 1 for a right answer and 0 for another."""
        return self.bench.solve_greedily(texts)

    def answered(self, texts: Sequence[str]) -> list[Group]:
        """Return a greedy answer to each problem."""
        return self.bench.attempt(texts, greedy=True)

    def measure(self) -> dict[str, tuple[Measurement, ...]]:
        """Answer the night's suites."""
        return {name: tuple(map(_measurement, self.answered(texts))) for name, texts in self.suites.items()}

    def _measured_as(self, name: str) -> dict[str, tuple[Measurement, ...]]:
        self.put(name)
        return self.measure()

    def decide(self, after: dict[str, tuple[Measurement, ...]], checks: Sequence[Check] = ()) -> Decision:
        """Compare answers to suites with those of parent, base and best version, as a night does; suites that are not there are left out."""
        suites = [self._suite(name) for name in after]
        shares = {version: {"skill": _share(self.before[version]["skill"])} for version in ("v0001", PARENT)}
        compared: list[tuple[Against, str, tuple[str, ...] | None]] = [(Against.PARENT, PARENT, None)]
        compared += [
            (each.against, each.policy, each.suites) for each in choose_baselines(suites, shares, parent=PARENT)
        ]
        pairs = [
            PairedSuite(
                suite=suite.name,
                kind=suite.kind,
                before=self.before[policy][suite.name],
                after=after[suite.name],
                against=against,
            )
            for against, policy, only in compared
            for suite in suites
            if only is None or suite.name in only
        ]
        return judge(pairs, settings=SETTINGS, checks=checks)

    def _suite(self, name: str) -> Suite:
        kind = SuiteKind.TARGET if name == "target" else SuiteKind.SKILL
        return Suite(name=name, kind=kind, problems=tuple(map(self._problem, self.suites[name])))

    def _problem(self, text: str) -> Problem:
        return self.domain.stated(text)

    def checks(self) -> list[Check]:
        """Make the checks of a night about the adapter as it is now."""
        asked = [text for texts in self.suites.values() for text in texts[: self.scale.probes]]
        with tempfile.TemporaryDirectory() as folder:
            saved = self.bench.policy.save(Path(folder) / "adapter")
            problems = list(map(self._problem, asked))
            probes = probe(self.base, saved, problems, domain=self.domain, seed=self.seed, threads=1)
            bytes_report = asdict(check(self.base, saved, probes))
        return run_checks(bytes_report, self._recheck())

    def _recheck(self) -> dict[str, Any]:
        """Judge the rewarded answers again until one is false."""
        distinct = sorted({(row["statement"], row["answer"]) for row in self.rewarded})
        report: dict[str, Any] = {"checked": 0, "wrong": [], "undecided": []}
        for statement, answer in distinct:
            verdict = self.domain.recheck(self._problem(statement), answer)
            report["checked"] += 1
            if verdict.ruling.is_not_right:
                report["wrong"].append({"statement": statement, "answer": answer})
                break
        return report

    def weigh(self) -> dict[str, Any]:
        """Measure what the adapter truly is, compared with the parent."""
        return judge_truth(
            lambda block: {name: self.marks(texts) for name, texts in self.truth[block].items()},
            self.truly_before,
            margin=SETTINGS.widest_margin,
            gain=SETTINGS.worthwhile_gain,
        )

    def _line(self) -> Registry:
        """Return a line with the two versions."""
        registry = Registry(MemoryStore(), LINE, clock=lambda: datetime.now(tz=UTC), signer=None, verifier=Unsigned())
        for version, parent in (("v0001", None), (PARENT, "v0001")):
            folder = self.folder / version
            publish(registry, folder, name=version, parent=parent, base=fingerprint(self.base))
        return registry


def publish(registry: Registry, folder: Path, *, name: str, parent: str | None, base: str) -> str:
    """Publish an adapter as champion; return its version. Raises RegistryError if the registry refuses it."""
    manifest = Manifest(
        files={path.name: registry.put_file(path) for path in sorted(folder.iterdir()) if path.is_file()},
        base_fingerprint=base,
        parent=parent,
        cycle_key=digest_of(name.encode()),
        data_digest=digest_of(f"data of {name}".encode()),
        config={},
        code_version="bench",
        created=datetime.now(tz=UTC),
        decision={"outcome": Outcome.PASS},
    )
    return registry.publish(manifest, make_champion=True, actor="bench", reason=name).version


def _measurement(group: Group) -> Measurement:
    return Measurement(item=group.statement, root=group.statement, verdict=group.verdicts[0], answer=group.answers[0])


def _share(measurements: Sequence[Measurement]) -> float:
    return sum(each.verdict.is_correct for each in measurements) / len(measurements)


def verdict_of(*, right: bool) -> Verdict:
    """Return the verdict of a verifier that is broken."""
    return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="as a broken verifier says")


def inverted(shop: Workshop) -> Judge:
    """Return a judge that says the opposite of the truth."""
    return lambda pairs: [verdict_of(right=not shop.domain.verify(*pair).is_correct) for pair in pairs]


Change = Callable[[torch.Tensor], torch.Tensor]


def seed_for(kind: str, number: int) -> int:
    """Return the seed of a candidate."""
    return seed_of("bad nights", kind, number) % 2**31
