"""Continual-learning metrics of a night: what its candidate kept of everything that its ancestors could do.

The tasks are tonight's held-out problems, the memory of each earlier night, and the skill and general suites. A guarded
suite counts from what the parent solved of it in the first night that measured it: for the memory of a night, whose
items the next night measures first, that is the version which learned them. The rows of the ancestry are those of the
gate, so a version that was rolled back is in it only if something was trained from it, and a retired suite only in the
nights that measured it.

    average accuracy    mean share over the tasks of the night
    backward transfer   mean change of the guarded suites since each counts; negative: forgotten
    forgetting          mean distance of the guarded suites to their best share of any ancestor; negative: better than ever
    forward transfer    mean over the ancestry of the share of a night's own problems that its parent solved before it, less that of the base
    intransigence       mean distance, over tonight's problems and the memory of each night, of the version that learned them to the
                        best share that the base or a version in the ancestry is known to have reached on them; 0 or more

D. Lopez-Paz, M. Ranzato, "Gradient episodic memory for continual learning" (NeurIPS 2017, arXiv 1706.08840); A.
Chaudhry et al., "Riemannian walk for incremental learning" (ECCV 2018, arXiv 1801.10112). There, intransigence is the
distance to a model that is trained on everything at once. No night trains such a model; the best share that is known to
be reached stands for it, so that the true value may be larger.

A thinned memory keeps problems that are chosen without regard to any answer, so its share stands for that of the whole.
A skill or general suite with another number of items than before is another suite, and counts from the night that
measured it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import TYPE_CHECKING

from everlearn.data.memory_suite import memory_name
from everlearn.data.suites import SuiteKind
from everlearn.gate.decision_record import Against

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everlearn.gate.decision_record import SuiteRow

METRIC, SHARE, SHARE_BEFORE = "transfer/", "share/", "share before/"
"""Beginnings of the names of metrics of a manifest or an event: of `Transfer`, and of the shares of `MeasuredNight.memory`."""
_MIXED = (memory_name("all"), memory_name("older"))
"""Suites that hold several nights, others in each night."""

MemoryShares = Mapping[str, tuple[float, float]]
"""Shares of the memory of each night that the parent and the candidate solve, by the name of its suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """The metrics as shares, over `suites` suites and the `nights` of an ancestry; None where a metric has no measurement."""

    suites: int
    nights: int
    average: float
    backward: float | None = None
    forward: float | None = None
    forgetting: float | None = None
    intransigence: float | None = None

    @property
    def in_words(self) -> str:
        """Return `over 3 suites and 2 nights: average accuracy 81.2 %, backward transfer -1.3, …`, the others in points."""
        counts = [f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in ((self.suites, "suite"), (self.nights, "night"))]
        named = {"backward transfer": self.backward, "forward transfer": self.forward, "forgetting": self.forgetting}
        named["intransigence"] = self.intransigence
        others = [f"{name} {100 * share:+.1f}" for name, share in named.items() if share is not None]
        return f"over {' and '.join(counts)}: " + ", ".join([f"average accuracy {100 * self.average:.1f} %", *others])

    def metrics(self) -> dict[str, float]:
        """Return the metrics of a manifest or an event."""
        return {f"{METRIC}{name}": float(value) for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredNight:
    """What a night measured: the rows of its decision, and the memory of each night by itself.

    Nights of older releases have no `memory`: the rows of its suites stand for it, where each is of one night.
    """

    rows: tuple[SuiteRow, ...]
    memory: MemoryShares = field(default_factory=dict)

    def guarded(self) -> Iterator[tuple[str, float, float, int | None]]:
        """Yield each guarded suite, the shares of parent and candidate, and its number of items (None: memory, thinned)."""
        for row in self.rows:
            if not row.stands_for_suite or row.kind.is_of_tonight:
                continue
            if row.kind is not SuiteKind.MEMORY:
                yield row.suite, row.before, row.after, row.n
            elif not self.memory and row.suite not in _MIXED:
                yield row.suite, row.before, row.after, None
        for suite, (before, after) in self.memory.items():
            yield suite, before, after, None

    def own(self, against: Against) -> tuple[float, float] | None:
        """Return the shares of tonight's own problems, of a baseline and of the candidate; None where it was not measured."""
        rows = [row for row in self.rows if row.kind is SuiteKind.TARGET and row.against is against]
        items = sum(row.n for row in rows)
        before, after = (sum(share * row.n for share, row in zip(shares, rows, strict=True)) for shares in _sides(rows))
        return (before / items, after / items) if items else None


def transfer(nights: Sequence[MeasuredNight]) -> Transfer | None:
    """Return the metrics of the last of these nights; the others published its ancestors, oldest first. None if it measured nothing.

    A suite that is older than these nights counts from the first of them that measured it.
    """
    history: dict[str, list[float]] = {}
    items: dict[str, int | None] = {}
    forward: list[float] = []
    for night in nights:
        for suite, before, after, count in night.guarded():
            if suite not in history or items[suite] != count:
                history[suite] = [before]
            items[suite] = count
            history[suite].append(after)
        own, of_base = night.own(Against.PARENT), night.own(Against.BASE)
        if own and of_base:
            forward.append(own[0] - of_base[0])
    last = nights[-1] if nights else MeasuredNight(rows=())
    kept = {suite: history[suite] for suite, *_ in last.guarded()}
    tonight = [shares for against in Against if (shares := last.own(against))]
    now = [shares[-1] for shares in kept.values()] + [after for _, after in tonight[:1]]
    missed = [max(shares) - shares[0] for suite, shares in kept.items() if suite.startswith(memory_name(""))]
    missed += [max(after, *(before for before, _ in tonight)) - after for _, after in tonight[:1]]
    if not now:
        return None
    return Transfer(
        suites=len(now),
        nights=len(nights),
        average=mean(now),
        backward=_mean([shares[-1] - shares[0] for shares in kept.values()]),
        forward=_mean(forward),
        forgetting=_mean([max(shares[:-1]) - shares[-1] for shares in kept.values()]),
        intransigence=_mean(missed),
    )


def transfer_in(metrics: Mapping[str, float]) -> Transfer | None:
    """Return what `Transfer.metrics` has put into the metrics of a manifest or an event; None where a night stored none."""
    found = {name.removeprefix(METRIC): value for name, value in metrics.items() if name.startswith(METRIC)}
    if not found:
        return None
    counts = {name: int(found.pop(name)) for name in ("suites", "nights")}
    return Transfer(**counts, **found)  # type: ignore[arg-type]


def share_metrics(memory: MemoryShares) -> dict[str, float]:
    """Return the shares of the memory of each night as metrics of a manifest or an event."""
    before = {f"{SHARE_BEFORE}{suite}": shares[0] for suite, shares in memory.items()}
    return before | {f"{SHARE}{suite}": shares[1] for suite, shares in memory.items()}


def shares_in(metrics: Mapping[str, float]) -> MemoryShares:
    """Inverse of `share_metrics`; other metrics are ignored."""
    suites = [name.removeprefix(SHARE) for name in metrics if name.startswith(SHARE)]
    return {suite: (metrics[f"{SHARE_BEFORE}{suite}"], metrics[f"{SHARE}{suite}"]) for suite in suites}


def _sides(rows: Sequence[SuiteRow]) -> tuple[list[float], list[float]]:
    return [row.before for row in rows], [row.after for row in rows]


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None
