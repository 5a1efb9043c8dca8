"""Everything a night's report shows, as plain frozen data with a JSON round trip.

The record is stored beside the version, so that the page can be rendered again, later and by newer code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from everlearn.data.suites import SuiteKind
from everlearn.errors import BadInputError
from everlearn.gate.decision_record import Decision
from everlearn.ladder.tree import DECODED, OWN_MOVES, PROPOSALS, VALID_PROPOSALS, CurvePoint, Rung, point_of
from everlearn.problem import Ruling
from everlearn.reporting.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from everlearn.data.suites import Suite
    from everlearn.domains.contract import Domain
    from everlearn.gate.evidence import PairedSuite
    from everlearn.ladder.tree import Ladder
    from everlearn.problem import Measurement

USAGE = ("cpu_seconds", "seconds", "gpu_seconds", "tokens", "peak_bytes", "joules")
"""Fields of `StepTime` that are metrics of a manifest or an event, as `field/step`; the last three only where they are not 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Wall-clock, CPU and GPU seconds of one step of the cycle, child processes included, and the tokens that it sampled.

    `peak_bytes` is the most memory that its process had had by its end: of the GPU if it used one. `joules` is what
    processors and GPUs of the machine used meanwhile, other work included; 0 where the machine does not tell it
    (`energy.py`).
    """

    name: str
    seconds: float
    cpu_seconds: float
    gpu_seconds: float = 0.0
    tokens: int = 0
    peak_bytes: int = 0
    joules: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestCounts:
    """Counts of the rows that arrived. `quarantined` counts bad rows by reason."""

    accepted: int = 0
    duplicates: int = 0
    held_out: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRate:
    """Share of the `n` suite items of one size answered correctly, before and after the night."""

    size: int
    n: int
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedItem:
    """A suite item that the parent missed and the candidate solved, with an exact proof of the answer.

    `status` is "proved" or "not decided"; the other texts of the proof are those of `ExactProof`.
    """

    statement: str
    answer: str
    derivative: str
    difference: str
    status: str
    canonical: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRow:
    """A policy on the target with so many examples in its prompts: right answers of `n`, and prompt tokens and seconds of a request.

    `choice` says how the examples were chosen, such as "random".
    """

    policy: str
    examples: int
    choice: str
    n: int
    right: int
    prompt_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NightRecord:
    """One night, from the arrived problems to its end.

    `sizes` maps the digest of a rung to the size of its problem (`Domain.size`), `refused` counts the ladder's refused
    proposals by reason, `rates` are greedy pass rates on suite items (`rates_by_size`). `own_items` are the numbers of
    the night's own and of all target items, `policy` which policy trained and why, `base` names the base model; None in
    records of older revisions. `money` is what each step cost by its name, in `currency`; empty without prices.
    `contexts` are the parent with examples in its prompt and the candidate without, where that was measured. `transfer`
    is what the candidate kept of what its ancestors could do.
    """

    line: str
    end: str
    started: datetime
    cycle_key: str
    version: str | None = None
    parent: str | None = None
    decision: Decision | None = None
    ladder: tuple[Rung, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    curves: tuple[CurvePoint, ...] = ()
    rates: tuple[SizeRate, ...] = ()
    steps: tuple[StepTime, ...] = ()
    ingest: IngestCounts = field(default_factory=IngestCounts)
    notes: tuple[str, ...] = ()
    solved: tuple[SolvedItem, ...] = ()
    own_items: tuple[int, int] | None = None
    policy: str | None = None
    base: str | None = None
    money: dict[str, float] = field(default_factory=dict)
    currency: str = ""
    contexts: tuple[ContextRow, ...] = ()
    transfer: Transfer | None = None

    def to_json(self) -> str:
        """Return one JSON object with sorted keys: equal nights give equal bytes."""
        plain = asdict(self)
        plain["started"] = self.started.isoformat()
        plain["decision"] = self.decision.to_dict() if self.decision else None
        return json.dumps(plain, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> NightRecord:
        """Inverse of `to_json`. Raises BadInputError if the text is not a night record."""
        try:
            plain = json.loads(text)
            return cls(**plain | _typed(plain))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"not a night record: {error}. Was it written by another version?") from None


def rates_by_size(pairs: Iterable[PairedSuite], *, sizes: Mapping[str, int]) -> tuple[SizeRate, ...]:
    """Greedy pass rates of suite items by the size of their problem; `sizes` maps item ids to sizes.

    Items whose size is not given are left out.
    """
    counts: dict[int, list[int]] = {}
    for pair in pairs:
        for side, measured in enumerate((pair.before, pair.after)):
            for m in measured:
                if m.item in sizes:
                    row = counts.setdefault(sizes[m.item], [0, 0, 0])
                    row[0] += side == 0
                    row[1 + side] += m.verdict.ruling is Ruling.CORRECT
    return tuple(
        SizeRate(size=size, n=n, before=before / n, after=after / n)
        for size, (n, before, after) in sorted(counts.items())
    )


def newly_solved(pairs: Iterable[PairedSuite], *, limit: int) -> tuple[Measurement, ...]:
    """Return the candidate's correct answers to target items that the parent did not solve, at most `limit`."""
    solved = (
        after
        for pair in pairs
        if pair.kind is SuiteKind.TARGET
        for before, after in zip(pair.before, pair.after, strict=True)
        if after.verdict.is_correct and not before.verdict.is_correct
    )
    return tuple(islice(solved, limit))


def rung_sizes(ladder: Ladder, *, domain: Domain) -> dict[str, int]:
    """Return the size of each rung's problem by the rung's digest."""
    return {rung.digest: domain.size(rung.statement) for rung in ladder.rungs.values()}


def item_sizes(suites: Iterable[Suite], *, domain: Domain) -> dict[str, int]:
    """Return the size of each suite item's problem by the item's id."""
    return {item.id: domain.size(item.statement) for suite in suites for item in suite.problems}


def refused_proposals(ladder: Ladder) -> dict[str, int]:
    """Return how many proposed variants were refused, by reason."""
    others = {"accepted", "root", DECODED, PROPOSALS, VALID_PROPOSALS, OWN_MOVES}
    return {reason: count for reason, count in ladder.counts.items() if reason not in others}


def domain_notes(domain: Domain) -> tuple[str, ...]:
    """Return a sentence for each member that the domain does not have and that a night would have used."""
    variants = (
        "the ladder comes from the model's proposals alone" if domain.model_proposes else "the ladder has no variants"
    )
    costs = {
        "no generator, so the target suite is only what was held out": domain.has_generator,
        f"no moves of its own, so {variants}": domain.has_moves,
        "no second judgement, so no reward was judged again": domain.has_recheck,
    }
    return tuple(f"The domain {domain.name} has {cost}." for cost, has_it in costs.items() if not has_it)


def ladder_notes(ladder: Ladder) -> tuple[str, ...]:
    """Return a sentence about proposals asked in words and the domain's own moves; none about proposals in a notation."""
    asked, valid, own = (ladder.counts[name] for name in (PROPOSALS, VALID_PROPOSALS, OWN_MOVES))
    wrote = (f"Asked for easier variants in words, the model wrote {valid} in {asked} answers.",) if asked else ()
    derived = (f"{own} rungs were derived by the domain's own moves.",) if own else ()
    return (" ".join((*wrote, *derived)),) if wrote or derived else ()


def training_notes(curve: Iterable[CurvePoint]) -> tuple[str, ...]:
    """Return a sentence for each guard that stopped the training."""
    stops = [point for point in curve if point.stopped]
    return tuple(f"The training stopped itself after step {point.step}: {point.stopped}." for point in stops)


def step_metrics(steps: Iterable[StepTime]) -> dict[str, float]:
    """Return the step times as metrics of a manifest or an event, by `USAGE` and step."""
    values = {f"{field}/{step.name}": getattr(step, field) for step in steps for field in USAGE}
    return {name: value for name, value in values.items() if value or name.partition("/")[0] in USAGE[:2]}


def steps_from_metrics(metrics: Mapping[str, float]) -> tuple[StepTime, ...]:
    """Inverse of `step_metrics`; other metrics are ignored, a missing one is 0."""
    names = [name.partition("/")[2] for name in metrics if name.startswith("cpu_seconds/")]
    return tuple(
        StepTime(name=name, **{field: metrics.get(f"{field}/{name}", 0) for field in USAGE})  # type: ignore[arg-type]
        for name in names
    )


def _typed(plain: dict[str, Any]) -> dict[str, Any]:
    """Convert the fields that JSON does not restore by itself."""
    decision = plain["decision"]
    return {
        "started": datetime.fromisoformat(plain["started"]),
        "decision": None if decision is None else Decision.from_dict(decision),
        "ladder": tuple(Rung(**rung) for rung in plain["ladder"]),
        "curves": tuple(point_of(point) for point in plain["curves"]),
        "rates": tuple(SizeRate(**rate) for rate in plain["rates"]),
        "steps": tuple(StepTime(**step) for step in plain["steps"]),
        "ingest": IngestCounts(**plain["ingest"]),
        "notes": tuple(plain["notes"]),
        "solved": tuple(SolvedItem(**item) for item in plain.get("solved", ())),  # older records have none
        "contexts": tuple(ContextRow(**row) for row in plain.get("contexts", ())),
        "own_items": tuple(plain["own_items"]) if plain.get("own_items") else None,
        "transfer": Transfer(**plain["transfer"]) if plain.get("transfer") else None,
    }
