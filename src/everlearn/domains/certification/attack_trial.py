"""Have a domain's verifier judge attacks, in a process that can be killed, and count what it accepts.

The trial ends when enough wrong answers were judged, or the time is over. Half of the problems choose the best constant, the
other half measure it, so that the rate is not one of luck.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
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
"""Answers of each kind that are kept as examples."""
REFUSED = "right answers that are refused"
SHOWN = 120  # characters of an example
RIGHT_ANSWERS, CONSTANT_ANSWERS = 0.2, 0.55
"""Shares of the time by which the right answers, and the constants, end."""
MOST_FAULTS = 3
"""Crashes, or judgements without an end, after which no more answers are tried."""
WORKERS = 2
"""Processes that judge: a verifier that starts a sandbox for each answer would not get through its answers with one."""
AT_ONCE = 8
"""Answers that are judged before the time and the faults are looked at."""
NOT_ASKED = Verdict(ruling=Ruling.UNDECIDED, reason="the trial was over")
SECONDS_PER_PROBLEM = 5.0
"""Time for a problem to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An attack that was judged right, or a right answer that was not, as it may be shown."""

    kind: str
    statement: str
    answer: str


@dataclass(slots=True, kw_only=True)
class TrialResult:
    """What a trial counted.

    `tried` and `accepted` are by kind of attack. `refused` are right answers that were not accepted, of `right`; `notations` and
    `notations_refused` the same for other notations. `unjudged` counts verdicts that a crash, a limit or an exception of the verifier
    prevented, with the first reason in `fault`; `unmade` says why problems could not be made.
    """

    problems: int = 0
    right: int = 0
    refused: int = 0
    notations: int = 0
    notations_refused: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    constant: str = ""
    guess_rate: float | None = None
    unmade: str = ""
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


@dataclass(slots=True, kw_only=True)
class MadeSamples:
    """Problems with right answers, and why no more could be made; empty where nothing failed."""

    samples: list[ContractSample] = field(default_factory=list)
    fault: str = ""


def samples_to_attack(domain: Domain, *, seconds: float, seed: int = 0) -> MadeSamples:
    """Return generated problems of growing size with right answers, fewer if the making takes longer than `seconds`.

    Making one is stopped after `SECONDS_PER_PROBLEM`, where this is the main thread.
    """
    rng, made, started = random.Random(f"certify {seed}"), MadeSamples(), time.monotonic()
    seen = set[str]()
    for number in range(2 * PROBLEMS):
        if not domain.has_generator or len(made.samples) == PROBLEMS or time.monotonic() - started > seconds:
            break
        try:
            with _time_limit(SECONDS_PER_PROBLEM):
                problem = domain.generate(rng, size=1 + number * SIZES // PROBLEMS % SIZES)
                answer, key = domain.solve(problem), domain.canonical(problem.statement)
        except Exception as error:  # noqa: BLE001 (whatever leaves a plug-in is what was to be found)
            made.fault = f"{type(error).__name__}: {error}"[:SHOWN]
            break
        if key not in seen:
            seen.add(key)
            made.samples.append(ContractSample(problem=problem, answer=answer))
    return made


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after that many seconds. Does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"a problem is not made within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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
        self._stage_ends = 0.0
        self.result = TrialResult(problems=len(samples))

    def run(self) -> TrialResult:
        """Judge right answers, constants and attacks until the time is over. Return what was counted."""
        with VerifierPool(self._domain.name, workers=WORKERS, timeout_s=JUDGED_S) as self._pool:
            started = time.monotonic()  # libraries that the workers load may take seconds
            for stage, until in (
                (self._judge_right_answers, RIGHT_ANSWERS),
                (self._judge_constants, CONSTANT_ANSWERS),
                (self._judge_attacks, 1.0),
            ):
                self._stage_ends = started + until * self._seconds
                stage()
        self.result.is_finished = not self._is_over()
        return self.result

    def _is_over(self) -> bool:
        """Return whether the time of this stage is over, or the verifier failed too often."""
        return time.monotonic() >= self._stage_ends or self.result.unjudged >= MOST_FAULTS

    def _judge_right_answers(self) -> None:
        for sample in self._samples:
            if sample.answer is None or self._is_over():
                continue
            others = self._domain.same_answers(sample.problem, sample.answer)
            answers = [sample.answer, *others]
            for number, (answer, verdict) in enumerate(
                zip(answers, self._judge([(sample.problem, each) for each in answers]), strict=True)
            ):
                if verdict is NOT_ASKED:
                    continue
                is_refused = not verdict.is_correct
                if number == 0:
                    self.result.right, self.result.refused = self.result.right + 1, self.result.refused + is_refused
                else:
                    self.result.notations += 1
                    self.result.notations_refused += is_refused
                if is_refused:
                    self._show(REFUSED, sample.problem, answer)

    def _judge_constants(self) -> None:
        """Find the constant that answers most problems, and measure it on those that did not choose it."""
        half = len(self._samples) // 2
        choosing, measuring = self._samples[:half], self._samples[half:]
        known = Counter(
            sample.answer for sample in choosing if sample.answer is not None and len(sample.answer) < SHOWN
        )
        constants = list(dict.fromkeys((*CONSTANTS, *(text for text, _ in known.most_common(FIRST)))))
        rights = {text: self._count(text, choosing[:FIRST]) for text in constants}
        finalists = sorted(constants, key=lambda text: -rights[text])[:FINALISTS]
        chosen = max(finalists, key=lambda text: rights[text] + self._count(text, choosing[FIRST:]))
        counted = self._count(chosen, measuring)
        if measuring and not self._is_over():
            self.result.guess_rate = counted / len(measuring)
            is_hidden = chosen not in CONSTANTS and self._samples[0].problem.reference is not None
            self.result.constant = _shown(chosen, is_hidden=is_hidden)

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
                self.result.tried[attack.kind] += verdict is not NOT_ASKED
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
        self._show(attack.kind, attack.problem, attack.answer)

    def _show(self, kind: str, problem: Problem, answer: str) -> None:
        """Keep an answer as an example of its kind, if there are few yet."""
        if sum(each.kind == kind for each in self.result.examples) < KEPT:
            shown = _shown(answer, is_hidden=problem.reference is not None)
            self.result.examples.append(Example(kind=kind, statement=problem.statement[:SHOWN], answer=shown))

    def _judge(self, pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Return verdicts, and count those that the verifier failed to give. After too many, none is asked for."""
        verdicts: list[Verdict] = []
        for start in range(0, len(pairs), AT_ONCE):
            asked, started = pairs[start : start + AT_ONCE], time.monotonic()
            if self._is_over():
                verdicts += [NOT_ASKED] * len(asked)
                continue
            given = self._pool.verify_many(asked)
            self.result.judging_s += WORKERS * (time.monotonic() - started)
            self.result.judged += len(asked)
            failed = [verdict for verdict in given if is_fault(verdict)]
            if failed:
                self.result.unjudged += len(failed)
                self.result.fault = self.result.fault or failed[0].reason[:SHOWN]
            verdicts += given
        return verdicts


def _shown(answer: str, *, is_hidden: bool) -> str:
    """Return an answer as a certificate shows it: one that may tell a hidden reference is not."""
    return "(made of a hidden reference)" if is_hidden else answer.encode("utf-8", "backslashreplace").decode()[:SHOWN]


FAULTS = ("no verdict within", "the verifier died", "the verifier needs more than", "the library's verifier raises")
"""Beginnings of the reasons of verdicts that were not given: of the pool, and of an adapter of other libraries."""


def is_fault(verdict: Verdict) -> bool:
    """Return whether the verifier failed: it crashed, did not end, or raised."""
    return verdict.ruling is Ruling.UNDECIDED and verdict.reason.startswith(FAULTS)
