"""Have a domain's verifier judge attacks, in a process that can be killed, and count what it accepts.

The trial ends when enough wrong answers were judged, or the time is over. Half of the problems choose the best constant, the
other half measure it, so that the rate is not one of luck.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from everlearn.domains.certification.attack_answers import CONSTANTS, WRONG_KINDS, Attack, attacks_on
from everlearn.domains.contract_laws import ContractSample
from everlearn.domains.pool import VerifierPool
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

ENOUGH = 10_000
"""Wrong answers after which a trial ends."""
PROBLEMS = 240
"""Problems that a domain with a generator is attacked on."""
SIZES = 6
"""Sizes of these problems, from 1."""
JUDGED_S = 1.0
"""CPU seconds of a judgement, after which its process is killed. Wall-clock seconds: four times as many."""
FINALISTS = 5
"""Constants that are tried on all problems, after all were tried on `FIRST`."""
FIRST = 20
KEPT = 5
"""Accepted answers of each kind that are kept as examples."""
SHOWN = 120  # characters of an example
MOST_FAULTS = 3
"""Crashes, or judgements without an end, after which no more answers are tried."""
AT_ONCE = 8
"""Answers that are judged before the time and the faults are looked at."""
NOT_ASKED = Verdict(ruling=Ruling.UNDECIDED, reason="the trial was over")
SECONDS_PER_PROBLEM = 5.0
"""Time for a problem to be made; slower ones end the making."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An answer that was judged right, as it may be shown."""

    kind: str
    statement: str
    answer: str


@dataclass(slots=True, kw_only=True)
class TrialResult:
    """What a trial counted.

    `tried` and `accepted` are by kind of attack. `refused` are right answers that were not accepted, of `right`; `notations` and
    `notations_refused` the same for other notations. `unjudged` counts verdicts that a crash, a limit or an exception of the verifier
    prevented, with the first reason in `fault`.
    """

    problems: int = 0
    right: int = 0
    refused: int = 0
    notations: int = 0
    notations_refused: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    examples: list[Accepted] = field(default_factory=list)
    constant: str = ""
    guess_rate: float | None = None
    unjudged: int = 0
    fault: str = ""
    judged: int = 0
    judging_s: float = 0.0
    is_finished: bool = False

    @property
    def wrong(self) -> int:
        """Wrong answers that were judged."""
        return sum(self.tried[kind] for kind in WRONG_KINDS)

    @property
    def false_accepts(self) -> int:
        """Wrong answers that were accepted."""
        return sum(self.accepted[kind] for kind in WRONG_KINDS)


def samples_to_attack(domain: Domain, *, seconds: float, seed: int = 0) -> list[ContractSample]:
    """Return generated problems of growing size with right answers, fewer if the making takes longer than `seconds`."""
    rng, samples, started = random.Random(f"certify {seed}"), list[ContractSample](), time.monotonic()
    seen = set[str]()
    for number in range(2 * PROBLEMS):
        begun = time.monotonic()
        if not domain.has_generator or len(samples) == PROBLEMS or begun - started > seconds:
            break
        problem = domain.generate(rng, size=1 + number * SIZES // PROBLEMS % SIZES)
        if (key := domain.canonical(problem.statement)) in seen:
            continue
        seen.add(key)
        samples.append(ContractSample(problem=problem, answer=domain.solve(problem)))
        if time.monotonic() - begun > SECONDS_PER_PROBLEM:
            break
    return samples


class AttackTrial:
    """A trial of one domain's verifier on `samples`, as a function of the seed but for the time that it may take."""

    def __init__(
        self,
        domain: Domain,
        samples: Sequence[ContractSample],
        *,
        seconds: float,
        enough: int = ENOUGH,
        progress: Callable[[int, int], None] = lambda *_: None,
        seed: int = 0,
    ) -> None:
        self._domain, self._seconds, self._enough, self._progress = domain, seconds, enough, progress
        self._rng = random.Random(f"attack {seed}")
        self._samples = list(samples)
        self._rng.shuffle(self._samples)
        self._ends = 0.0
        self.result = TrialResult(problems=len(samples))

    def run(self) -> TrialResult:
        """Judge right answers, constants and attacks until the time is over. Return what was counted."""
        self._ends = time.monotonic() + self._seconds
        with VerifierPool(self._domain.name, workers=1, timeout_s=JUDGED_S) as self._pool:
            for stage in (self._judge_right_answers, self._judge_constants, self._judge_attacks):
                if not self._is_over():
                    stage()
        self.result.is_finished = not self._is_over()
        return self.result

    def _is_over(self) -> bool:
        return time.monotonic() >= self._ends or self.result.unjudged >= MOST_FAULTS

    def _judge_right_answers(self) -> None:
        for sample in self._samples:
            if sample.answer is None or self._is_over():
                continue
            others = self._domain.same_answers(sample.problem, sample.answer)
            first, *rest = self._judge([(sample.problem, answer) for answer in (sample.answer, *others)])
            self.result.right += 1
            self.result.refused += not first.is_correct
            self.result.notations += len(rest)
            self.result.notations_refused += sum(not verdict.is_correct for verdict in rest)

    def _judge_constants(self) -> None:
        """Find the constant that answers most problems, and measure it on those that did not choose it."""
        half = len(self._samples) // 2
        choosing, measuring = self._samples[:half], self._samples[half:]
        known = Counter(
            sample.answer for sample in choosing if sample.answer is not None and len(sample.answer) < SHOWN
        )
        constants = list(dict.fromkeys((*CONSTANTS, *(text for text, _ in known.most_common(2 * FIRST)))))
        rights = {text: self._count(text, choosing[:FIRST]) for text in constants}
        finalists = sorted(constants, key=lambda text: -rights[text])[:FINALISTS]
        chosen = max(finalists, key=lambda text: rights[text] + self._count(text, choosing[FIRST:]))
        counted = self._count(chosen, measuring)
        if measuring and not self._is_over():
            self.result.guess_rate = counted / len(measuring)
            self.result.constant = self._shown(chosen)

    def _count(self, constant: str, samples: Sequence[ContractSample]) -> int:
        if self._is_over():
            return 0
        return sum(verdict.is_correct for verdict in self._judge([(sample.problem, constant) for sample in samples]))

    def _judge_attacks(self) -> None:
        """Judge the attacks, a problem at a time, until there are enough."""
        for attacks in self._rounds():
            if self._is_over() or self.result.wrong >= self._enough:
                break
            verdicts = self._judge([(attack.problem, attack.answer) for attack in attacks])
            for attack, verdict in zip(attacks, verdicts, strict=True):
                self.result.tried[attack.kind] += 1
                if verdict.is_correct:
                    self._accept(attack)
            self._progress(min(self.result.wrong, self._enough), self._enough)

    def _rounds(self) -> Iterator[list[Attack]]:
        """Yield the attacks on each problem, and other ones of the same kinds where the problems are few."""
        seen = set[tuple[str, str]]()
        while self._samples:
            for sample in self._samples:
                attacks = list(attacks_on(self._domain, sample.problem, sample.answer, rng=self._rng))
                yield [attack for attack in attacks if (attack.problem.key, attack.answer) not in seen]
                seen.update((attack.problem.key, attack.answer) for attack in attacks)

    def _accept(self, attack: Attack) -> None:
        self.result.accepted[attack.kind] += 1
        if self.result.accepted[attack.kind] <= KEPT:
            shown = Accepted(
                kind=attack.kind,
                statement=attack.problem.statement[:SHOWN],
                answer=self._shown(attack.answer, attack.problem),
            )
            self.result.examples.append(shown)

    def _shown(self, answer: str, problem: Problem | None = None) -> str:
        """Return an answer as a certificate shows it: one that may be a hidden reference is not."""
        is_hidden = problem is not None and problem.reference is not None
        if is_hidden or (
            problem is None and answer not in CONSTANTS and self._samples[0].problem.reference is not None
        ):
            return "(made of a hidden reference)"
        return answer.encode("utf-8", "backslashreplace").decode()[:SHOWN]

    def _judge(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Return verdicts, and count those that the verifier failed to give. After too many, none is asked for."""
        verdicts: list[Verdict] = []
        for start in range(0, len(pairs), AT_ONCE):
            asked, started = pairs[start : start + AT_ONCE], time.monotonic()
            if self._is_over():
                verdicts += [NOT_ASKED] * len(asked)
                continue
            given = self._pool.verify_many(asked)
            self.result.judging_s += time.monotonic() - started
            self.result.judged += len(asked)
            failed = [verdict for verdict in given if is_fault(verdict)]
            if failed:
                self.result.unjudged += len(failed)
                self.result.fault = self.result.fault or failed[0].reason[:SHOWN]
            verdicts += given
        return verdicts


FAULTS = ("no verdict within", "the verifier died", "the verifier needs more than", "the library's verifier raises")
"""Beginnings of the reasons of verdicts that were not given: of the pool, and of an adapter of other libraries."""


def is_fault(verdict: Verdict) -> bool:
    """Return whether the verifier failed: it crashed, did not end, or raised."""
    return verdict.ruling is Ruling.UNDECIDED and verdict.reason.startswith(FAULTS)
