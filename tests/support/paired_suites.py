"""Paired measurements for tests of the gate, written as one sign for each answer."""

from __future__ import annotations

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against
from everlearn.gate.evidence import PairedSuite
from everlearn.problem import Measurement, Ruling, Verdict

RULINGS = {"+": Ruling.CORRECT, "-": Ruling.WRONG, "!": Ruling.UNREADABLE, "?": Ruling.UNDECIDED}


def measured(answers: str, *, roots: int | None = None) -> tuple[Measurement, ...]:
    """Map `+-!?` to rulings as `RULINGS` does; assign items to `roots` roots in turn, or one root each."""
    return tuple(
        Measurement(
            item=f"i{k}",
            root=f"r{k % roots}" if roots else f"i{k}",
            verdict=Verdict(ruling=RULINGS[sign], reason="given"),
            answer=sign,
        )
        for k, sign in enumerate(answers)
    )


def pair(
    before: str, after: str, *, suite: str = "target", kind: SuiteKind = SuiteKind.TARGET, **more: object
) -> PairedSuite:
    roots = more.pop("roots", None)
    against = more.pop("against", Against.PARENT)
    assert isinstance(against, Against)
    assert roots is None or isinstance(roots, int)
    sides = {"before": measured(before, roots=roots), "after": measured(after, roots=roots)}
    return PairedSuite(suite=suite, kind=kind, against=against, **sides)


def changed(
    suite: str, *, won: int, lost: int, n: int = 700, kind: SuiteKind = SuiteKind.SKILL, **more: object
) -> PairedSuite:
    """Return a suite of which 30 items are wrong on both sides, besides the changed ones."""
    same = "+" * (n - won - lost - 30) + "-" * 30
    return pair("-" * won + "+" * lost + same, "+" * won + "-" * lost + same, suite=suite, kind=kind, **more)


IMPROVED = pair("-" * 100, "+" * 50 + "-" * 50)
"""A target that improved beyond doubt."""
