"""What nights measured and trained on is recorded for good, and no later night mixes the two."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.canonical_json import digest_of
from everlearn.data.holdout import Split, split
from everlearn.data.snapshot import Entry
from everlearn.data.target_suite import freeze_target, generate_fillers
from everlearn.data.used_problems import (
    EarlierUse,
    Use,
    UsedProblems,
    folder_of,
    load_earlier_use,
    load_records,
    save_record,
    tips_of,
)
from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.errors import IntegrityError
from everlearn.ladder.replay import Reservoir
from everlearn.ladder.tree import Ladder
from everlearn.storage.in_memory import MemoryStore

DOMAIN = load_domain("integration")
LINE = "integration"
SHIPPED = ("cos(x)", "x^5")
WORDS = ("{c}*sin({a}*x)", "-sin({a}*x)/{c}", "{c}*sin({a}*x/2)*cos({a}*x/2)", "{c}*x^{a}", "x^{a} + {c}*exp(x)")
STATEMENTS = st.builds(
    lambda words, a, c: words.format(a=a, c=c), st.sampled_from(WORDS), st.integers(1, 6), st.integers(1, 4)
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One night of the law: what arrives, what the model proposes, the share, and whether it is published."""

    rows: list[str]
    proposals: list[str]
    share: float
    published: bool


PLANS = st.builds(
    Plan,
    rows=st.lists(STATEMENTS, min_size=1, max_size=12, unique=True),
    proposals=st.lists(STATEMENTS, max_size=12),
    share=st.sampled_from([0.05, 0.2, 0.5, 0.8]),
    published=st.booleans(),
)


@dataclass
class Line:
    """A line that runs nights without a model, by the functions that the tasks call."""

    store: MemoryStore = field(default_factory=MemoryStore)
    published: set[str] = field(default_factory=set)
    reservoir: Reservoir = field(default_factory=Reservoir)

    def run(self, plan: Plan, *, night: str) -> tuple[frozenset[str], frozenset[str], EarlierUse]:
        """Run a night. Return the keys of what it measured and of what it trained on, and what earlier nights used."""
        earlier = load_earlier_use(self.store, LINE, night=night, published=self.published, domain=DOMAIN)
        rows = [Entry(canonical=text, id=text, domain="integration", statement=text) for text in plan.rows]
        items = equivalence_keys(SHIPPED, domain=DOMAIN)
        parts = split(rows, domain=DOMAIN, share=plan.share, earlier=earlier, items=items)
        if not parts.roots:
            return frozenset(), frozenset(), earlier
        measured = [*SHIPPED, *self.target(parts, items=items, earlier=earlier)]
        self.save(Use.MEASURED, measured, night=night, before=earlier.tips)
        forbidden = earlier.measured | equivalence_keys(measured, domain=DOMAIN)
        ladder = Ladder()
        for text in [*(root.statement for root in parts.roots), *plan.proposals]:
            ladder.add(text, domain=DOMAIN, forbidden=forbidden)
        assert not ladder.counts["leak"] or plan.proposals, "no root is a leak"
        replayed = self.reservoir.allowed(domain=DOMAIN, forbidden=forbidden)
        trained = [*(rung.statement for rung in ladder.rungs.values()), *(problem.statement for problem in replayed)]
        self.save(Use.TRAINED, trained, night=night)
        for digest in ladder.rungs:
            ladder.set_pass_rate(digest, rollouts=1, passed=1, after=True)
        if plan.published:
            self.published.add(night)
            self.reservoir = self.reservoir.updated(ladder, night=night, domain=DOMAIN, most=8)
        return equivalence_keys(measured, domain=DOMAIN), equivalence_keys(trained, domain=DOMAIN), earlier

    def target(self, parts: Split, *, items: frozenset[str], earlier: EarlierUse) -> list[str]:
        forbidden = items | equivalence_keys((root.statement for root in parts.roots), domain=DOMAIN)
        own = freeze_target(parts.held_out, domain=DOMAIN, forbidden=forbidden)
        held = [problem.statement for problem in own.problems] if own else []
        used = forbidden | earlier.measured | earlier.trained | equivalence_keys(held, domain=DOMAIN)
        fillers = generate_fillers(parts.roots, count=3, domain=DOMAIN, forbidden=used, seed="s")
        return held + ([problem.statement for problem in fillers.problems] if fillers else [])

    def save(self, use: Use, statements: list[str], *, night: str, before: frozenset[str] = frozenset()) -> None:
        save_record(self.store, LINE, use, UsedProblems.of(statements, nights=[night], domain=DOMAIN, before=before))


@settings(max_examples=60, deadline=None)
@given(st.lists(PLANS, min_size=2, max_size=6))
def test_nothing_trained_equals_anything_measured_up_to_then(plans: list[Plan]) -> None:
    line = Line()
    ever_measured: set[str] = set()
    learnt: set[str] = set()
    for number, plan in enumerate(plans):
        measured, trained, _ = line.run(plan, night=f"n{number}")
        ever_measured |= measured
        assert not trained & ever_measured
        own = measured - equivalence_keys(SHIPPED, domain=DOMAIN)
        assert not own & learnt, "what a published night trained on is no item of a later target"
        learnt |= trained if plan.published else set()


@settings(max_examples=10, deadline=None)
@given(PLANS, PLANS)
def test_a_repeated_night_uses_and_records_the_same(first: Plan, second: Plan) -> None:
    """A night that was killed after its record was written freezes the same suites again."""
    line = Line()
    line.run(dataclasses.replace(first, published=True), night="n0")
    once = line.run(dataclasses.replace(second, published=False), night="n1")
    records = {use: load_records(line.store, LINE, use) for use in Use}
    assert line.run(dataclasses.replace(second, published=False), night="n1") == once
    assert {use: load_records(line.store, LINE, use) for use in Use} == records


@given(st.lists(st.text(), unique=True))
def test_records_are_read_as_they_were_written(statements: list[str]) -> None:
    record = UsedProblems(nights=("n",), scheme="s", problems=dict.fromkeys(statements, "k"), before=("b",))
    assert UsedProblems.from_bytes(record.to_bytes(), name="record") == record


@pytest.mark.parametrize("data", [b"", b"{}\n", b"no JSON"])
def test_other_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="line/record"):
        UsedProblems.from_bytes(data, name="line/record")


def test_a_damaged_record_stops_the_night() -> None:
    store = MemoryStore()
    digest = save_record(store, LINE, Use.MEASURED, UsedProblems.of(["x"], nights=["n"], domain=DOMAIN))
    store.put(f"{folder_of(LINE, Use.MEASURED)}{digest}", b"other bytes")
    with pytest.raises(IntegrityError, match=digest):
        load_records(store, LINE, Use.MEASURED)


def test_keys_of_another_rule_are_computed_again() -> None:
    stored = UsedProblems(nights=("n",), scheme="older", problems={"2*x": "old key", "2 apples": "kept"})
    assert stored.keys(DOMAIN) == {DOMAIN.equivalence("x"), "kept"}
    same = dataclasses.replace(stored, scheme=DOMAIN.equivalence_scheme)
    assert same.keys(DOMAIN) == {"old key", "kept"}


def test_the_newest_records_are_those_that_none_follows() -> None:
    one = UsedProblems.of(["x"], nights=["n"], domain=DOMAIN)
    first = digest_of(one.to_bytes())
    two = UsedProblems.of(["x^2"], nights=["m"], domain=DOMAIN, before=[first])
    second = digest_of(two.to_bytes())
    assert tips_of({first: one, second: two}) == {second}
