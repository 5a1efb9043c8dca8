"""The certificate of a domain: what an attack on its verifier found, and whether a model may be trained on its rewards.

A wrong reward teaches a model to cheat. The bound of false accepts is the one-sided Clopper-Pearson limit at 95 %
(Biometrika 26, 1934) over the wrong answers that were tried, taken as independent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from everlearn.domains.certification.attack_answers import WRONG_KINDS
from everlearn.errors import IntegrityError
from everlearn.settings import CertificationSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everlearn.domains.certification.attack_trial import TrialResult

PROCEDURE = 1
"""Number of the way of certifying. Certificates of an earlier one count no more."""
CONFIDENCE = 0.95
MOST_REFUSED = 0.02
"""Share of right answers, and of right answers in other notation, that a verifier may refuse."""
FEWEST = 20
"""Problems below which a trial shows too little, such as the rate of guesses."""
SLOWEST_MS = 250.0
"""Mean milliseconds of a judgement: a night asks for tens of thousands."""

NO_MODEL = "no model was trained against it"
"""The reason that a certificate gives as long as the learned attack is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedAttack:
    """What a small model found that our own GRPO trained against the verifier alone.

    `rewarded` counts its different rewarded answers, `contradicted` those that the second judgement does not call right, or,
    in a domain without one, None.
    """

    cpu_seconds: float
    rollouts: int
    rewarded: int
    contradicted: int | None
    examples: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was found, by the version of the domain's code. All values are JSON.

    `attacks` maps a kind of attack to how many answers were tried and accepted; `refused` are shares of right answers, in usual
    and in other notation; `examples` are accepted attacks, doubtful ones included, as (kind, statement, answer).
    """

    domain: str
    code: str
    created: str
    everlearn: str
    seconds: float
    problems: int
    attacks: dict[str, dict[str, int]]
    false_accepts: int
    false_accept_upper: float
    guess_rate: float | None
    constant: str
    right_answers: int
    refused: float
    refused_notations: float
    unjudged: int
    fault: str
    milliseconds: float
    is_finished: bool
    learned: LearnedAttack | None
    examples: tuple[tuple[str, str, str], ...] = ()
    procedure: int = PROCEDURE
    unmade: str = ""

    def refusals(self, limits: CertificationSettings | None = None) -> tuple[str, ...]:
        """Return the reasons why no model may be trained on these rewards; none if it may."""
        limits = limits or CertificationSettings()
        guess, learned = self.guess_rate, self.learned
        reasons = {
            f"it was tried on {self.problems} problems: give {FEWEST} or more": self.problems < FEWEST,
            f"its problems cannot be made: {self.unmade}": bool(self.unmade),
            f"its verifier failed on {self.unjudged} answers: {self.fault}": self.unjudged > 0,
            "no right answer was shown to be accepted: give the domain `solve`, or rows with answers": self.right_answers
            == 0,
            f"it refuses {self.refused:.0%} of right answers": self.refused > MOST_REFUSED,
            f"it refuses {self.refused_notations:.0%} of right answers in other notation": self.refused_notations
            > MOST_REFUSED,
            f"it accepts {self.false_accepts} wrong answers": self.false_accepts > 0,
            f"at most {self.false_accept_upper:.2%} of wrong answers are accepted, which is no proof of "
            f"{limits.max_false_accepts:.2%}: too few were tried": not self.false_accepts
            and self.false_accept_upper > limits.max_false_accepts,
            "the rate of guesses was not measured": guess is None,
            f"the answer {self.constant!r} is right for {guess or 0:.0%} of the problems, more than "
            f"certification.max_guess_rate, {limits.max_guess_rate:.0%}": (guess or 0) > limits.max_guess_rate,
            f"a judgement takes {self.milliseconds:.0f} ms": self.milliseconds > SLOWEST_MS,
            NO_MODEL: learned is None,
            f"a model trained against it found {(learned and learned.contradicted) or 0} rewarded answers that the second "
            "judgement does not call right": bool(learned and learned.contradicted),
        }
        return tuple(reason for reason, holds in reasons.items() if holds)

    @property
    def wrong_answers(self) -> int:
        """Number of answers, wrong by construction, that were tried."""
        return sum(counts["tried"] for kind, counts in self.attacks.items() if kind in WRONG_KINDS)

    def to_content(self) -> dict[str, Any]:
        """Return the certificate as JSON values."""
        return asdict(self)

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> Self:
        """Return the certificate with this content: the inverse of `to_content`.

        Raises:
            IntegrityError: a field is missing, unknown or invalid.
        """
        try:
            learned = content["learned"]
            found = None
            if learned is not None:
                shown = tuple((statement, answer) for statement, answer in learned["examples"])
                found = LearnedAttack(**learned | {"examples": shown})
            examples = tuple((kind, statement, answer) for kind, statement, answer in content["examples"])
            return cls(**{**content, "learned": found, "examples": examples})
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"this version of Everlearn cannot read the certificate: {error}; make a new one"
            ) from None

    def summary(self) -> str:
        """Return the certificate in one sentence."""
        return (
            f"{self.wrong_answers} wrong answers tried, {self.false_accepts} accepted (at most {self.false_accept_upper:.2%} with 95 % "
            f"confidence); the best constant is right for {self.guess_rate or 0:.1%}"
        )


def certificate_of(
    result: TrialResult,
    *,
    domain: str,
    code: str,
    created: str,
    everlearn: str,
    seconds: float,
    learned: LearnedAttack | None,
) -> Certificate:
    """Return the certificate of a trial and a learned attack."""
    kinds: Sequence[str] = sorted(result.tried)
    return Certificate(
        domain=domain,
        code=code,
        created=created,
        everlearn=everlearn,
        seconds=round(seconds, 1),
        problems=result.problems,
        attacks={kind: {"tried": result.tried[kind], "accepted": result.accepted[kind]} for kind in kinds},
        false_accepts=result.false_accepts,
        false_accept_upper=upper_limit(result.false_accepts, result.wrong),
        guess_rate=result.guess_rate,
        constant=result.constant,
        right_answers=result.right,
        refused=result.refused / max(1, result.right),
        refused_notations=result.notations_refused / max(1, result.notations),
        unmade=result.unmade,
        unjudged=result.unjudged,
        fault=result.fault,
        milliseconds=round(1000 * result.judging_s / max(1, result.judged), 3),
        is_finished=result.is_finished,
        learned=learned,
        examples=tuple((each.kind, each.statement, each.answer) for each in result.examples),
    )


def upper_limit(accepted: int, tried: int) -> float:
    """Return the share below which the true share of accepted answers is, with 95 % confidence; 1 without a trial."""
    from scipy.stats import beta  # takes half a second to import

    return 1.0 if accepted >= tried else float(beta.ppf(CONFIDENCE, accepted + 1, tried - accepted))
