"""How many "improved" labels of a line are false over its life: tests at `alpha` each night, and at the level of the line.

Simulated lines; every night tries one candidate on so many own held-out problems, of which 20 % are answered
differently by candidate and parent. The test is the gate's exact McNemar test, the level `gate.improvement_error:
night` or `line` (`everlearn.gate.lifetime_error`). Guards are not simulated: they can only take labels away.

    no gain             no candidate is better
    few small gains     one in ten candidates is better by 15 points
    few large gains     one in ten is better by 30 points, and then 40 % of the answers are different
    many small gains    half of the candidates are better by 15 points
    adversary           knows all past outcomes: it offers candidates that are better by 30 points until one gives a label, and then a week of
                        candidates that are not better, while the level is highest

`false_improved_share` is the expected share of a line's labels that are false, with 0 for a line without labels;
`any_false` the share of lines with at least one. `any_false_headline` is the share of lines that ever say "beats the
base model" of a candidate that does not, by the level of headlines, or by `alpha` each night.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import bdtrc
from scipy.stats import beta

from everlearn.gate.lifetime_error import improvement_level, loss_level


@dataclass(frozen=True, kw_only=True)
class Gains:
    """Share of the candidates that are better, by how much, and the share of their answers that differ.

    `rest`: nights after each label in which none is better.
    """

    share: float
    gain: float
    changed: float
    rest: int = 0


SCENARIOS = {
    "no gain": Gains(share=0.0, gain=0.0, changed=0.2),
    "few small gains": Gains(share=0.1, gain=0.15, changed=0.2),
    "few large gains": Gains(share=0.1, gain=0.3, changed=0.4),
    "many small gains": Gains(share=0.5, gain=0.15, changed=0.2),
    "adversary": Gains(share=1.0, gain=0.3, changed=0.4, rest=7),
}
SAID = {
    "no gain": "none is better",
    "few small gains": "one in ten is better by 15 points",
    "few large gains": "one in ten is better by 30 points",
    "many small gains": "half are better by 15 points",
    "adversary": "better by 30 points until a label, then seven nights none",
}
"""What the candidates of a scenario are."""
CHANGED, ALPHA = 0.2, 0.05


def p_values(
    rng: np.random.Generator, shape: tuple[int, int], *, items: int, gain: float, changed: float
) -> np.ndarray:
    """Return the one-sided p-value of each night, where candidates are better by `gain`: float (lines, nights)."""
    different = rng.binomial(items, changed, shape)
    won = rng.binomial(different, (changed + gain) / (2 * changed))
    return np.asarray(np.where(won > 0, bdtrc(np.maximum(won, 1) - 1, different, 0.5), 1.0))


def levels_of(labels: np.ndarray, spending: np.ndarray) -> np.ndarray:
    """Return the level of each line's next test, as `improvement_level` gives it: bool (lines, tests) -> float (lines,).

    `spending` holds the gate's levels after 0, 1, … tests without a label: half of what a label earns, later by as many
    tests.
    """
    tests = labels.shape[1]
    if not tests:
        return np.full(len(labels), spending[0])
    by_age = spending[:tests][::-1]
    of_first = np.where(labels.any(axis=1), by_age[labels.argmax(axis=1)], 0.0)
    return np.asarray(spending[tests] + 2 * labels @ by_age - of_first)


def nights_of(
    scenario: Gains, *, lines: int, nights: int, items: int, by_line: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the p-values, which candidates are better, and which give a label: (lines, nights) each."""
    rng, shape = np.random.default_rng(7), (lines, nights)
    offered = rng.random(shape) < scenario.share
    p_same = p_values(rng, shape, items=items, gain=0.0, changed=CHANGED)
    p_better = p_values(rng, shape, items=items, gain=scenario.gain, changed=scenario.changed)
    spending = np.array([improvement_level([False] * tests, alpha=ALPHA) for tests in range(nights)])
    p, better, labels = np.empty(shape), np.empty(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for night in range(nights):
        rests = labels[:, max(0, night - scenario.rest) : night].any(axis=1)
        better[:, night] = offered[:, night] & ~rests
        p[:, night] = np.where(better[:, night], p_better[:, night], p_same[:, night])
        level = levels_of(labels[:, :night], spending) if by_line else ALPHA
        labels[:, night] = p[:, night] <= level
    return p, better, labels


def headline_levels(nights: int) -> np.ndarray:
    """Return the level of each night's headline: float (nights,)."""
    return np.array([loss_level(attempt, alpha=ALPHA) for attempt in range(1, nights + 1)])


def simulate(scenario: Gains, *, lines: int, nights: int, items: int, by_line: bool) -> dict[str, Any]:
    """Return what happens in one scenario."""
    p, better, labels = nights_of(scenario, lines=lines, nights=nights, items=items, by_line=by_line)
    headlines = p <= (headline_levels(nights) if by_line else ALPHA)
    false, given = (labels & ~better).sum(axis=1), labels.sum(axis=1)
    any_false = int((false > 0).sum())
    return {
        "false_improved_share": round(float((false / np.maximum(given, 1)).mean()), 4),
        "any_false": round(any_false / lines, 4),
        "any_false_interval": [round(each, 4) for each in interval(any_false, lines)],
        "any_false_headline": round(float((headlines & ~better).any(axis=1).mean()), 4),
        "headlines_found": round(float((headlines & better).sum() / max(1, better.sum())), 3)
        if scenario.share
        else None,
        "labels": round(float(given.mean()), 2),
        "gains": round(float(better.sum(axis=1).mean()), 2),
        "gains_found": round(float((labels & better).sum() / max(1, better.sum())), 3) if scenario.share else None,
    }


def interval(hits: int, of: int) -> tuple[float, float]:
    """Return Clopper and Pearson's interval of a share at 95 %."""
    low = float(beta.ppf(0.025, hits, of - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, of - hits)) if hits < of else 1.0


def simulate_all(*, lines: int, nights: int, items: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what happens in each scenario, with the level of each night and with that of the line."""
    sizes = {"lines": lines, "nights": nights, "items": items}
    return {
        scenario: {mode: simulate(parts, by_line=mode == "line", **sizes) for mode in ("night", "line")}
        for scenario, parts in SCENARIOS.items()
    }


def table_of(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the scenarios as a table in markdown."""
    shown = [
        "| candidates | level by | false share of labels | lines with a false one | labels a line | gains found | lines with a false headline |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for scenario, modes in found.items():
        for mode, row in modes.items():
            low, high = row["any_false_interval"]
            gains = "" if row["gains_found"] is None else f"{row['gains_found']:.0%}"
            shown.append(
                f"| {SAID[scenario]} | {mode} | {row['false_improved_share']:.3f} | {row['any_false']:.3f} ({low:.3f} to {high:.3f}) | "
                f"{row['labels']} | {gains} | {row['any_false_headline']:.3f} |"
            )
    return "\n".join(shown)
