"""What a night cost, and what each problem cost that its candidate solves and its parent does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.gate.decision_record import Decision
    from everlearn.reporting.night_record import StepTime
    from everlearn.settings import PriceSettings

HOUR = 3600.0
KILOWATT_HOUR = 3.6e6  # joules


def cost_notes(steps: Sequence[StepTime], decision: Decision, *, prices: PriceSettings) -> tuple[str, ...]:
    """Return a sentence about CPU and GPU time, tokens, energy, and money where there are prices; none without a measured step.

    Steps that have not ended, such as publishing, are not in it. The problems are the night's own held-out ones, so those that
    users bring later cost less: the night is paid once.
    """
    cpu, gpu = (sum(getattr(step, field) for step in steps) for field in ("cpu_seconds", "gpu_seconds"))
    if not cpu:
        return ()
    energy = sum(step.joules for step in steps) / KILOWATT_HOUR
    money = (cpu * prices.cpu_hour + gpu * prices.gpu_hour) / HOUR + energy * prices.kilowatt_hour
    solved = sum(row.won for row in decision.rows if row.kind is SuiteKind.TARGET and row.against is Against.PARENT)
    used = [f"{cpu / HOUR:.2f} CPU hours"]
    used += [f"{gpu / HOUR:.2f} GPU hours"] if gpu else []
    tokens = sum(step.tokens for step in steps)
    used += [f"{tokens:,} sampled tokens"] if tokens else []
    used += [f"{energy:.3g} kWh of the processors"] if energy else []
    said = f"The night cost {_listed(used)}{_amount(money, prices, before=': ')}"
    if solved:
        each = [f"{cpu / solved:.0f} CPU s"] + ([f"{gpu / solved:.0f} GPU s"] if gpu else [])
        said += f"; each of the {solved} newly solved held-out problems {_listed(each)}"
        said += _amount(money / solved, prices, before=", ")
    return (f"{said}.",)


def _amount(money: float, prices: PriceSettings, *, before: str) -> str:
    return f"{before}{money:.3g} {prices.currency}" if money else ""


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
