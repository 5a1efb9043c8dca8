"""The report of a night as HTML page, markdown, table rows and JSON."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from everlearn.errors import BadInputError
from everlearn.gate.decision import Against, Check, Decision, PairedSuite, SuiteKind, judge
from everlearn.ladder import rendering
from everlearn.ladder.tree import CurvePoint, Rung
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.reporting import charts
from everlearn.reporting.night_record import ContextRow, SolvedItem
from everlearn.reporting.report import (
    IngestCounts,
    NightRecord,
    SizeRate,
    StepTime,
    gate_groups,
    gate_rows,
    headline,
    rates_by_size,
    render,
    summary_markdown,
)
from everlearn.reporting.transfer import Transfer
from everlearn.settings import GateSettings

EVIL = "<script>alert(1)</script>"


def measured(answers: str) -> tuple[Measurement, ...]:
    rulings = {"+": Ruling.CORRECT, "-": Ruling.WRONG}
    return tuple(
        Measurement(item=f"i{k}", root=f"i{k}", verdict=Verdict(ruling=rulings[sign], reason=""), answer=sign)
        for k, sign in enumerate(answers)
    )


def decision(after: str = "+" * 50 + "-" * 50, *, skill: str = "+" * 700) -> Decision:
    target = PairedSuite(suite="hard", kind=SuiteKind.TARGET, before=measured("-" * 100), after=measured(after))
    base = replace(target, against=Against.BASE)
    old = PairedSuite(suite="short", kind=SuiteKind.SKILL, before=measured("+" * 700), after=measured(skill))
    checks = [Check(name="bytes", passed=True, sentence=f"equal {EVIL}")]
    return judge([target, old, base], settings=GateSettings(), checks=checks)


def rung(name: str, parent: str | None = None, *, depth: int = 0, after: int | None = 6) -> Rung:
    return Rung(
        digest=name,
        statement=f"x^2 {EVIL}" if parent is None else name,
        parent=parent,
        depth=depth,
        move="drop" if parent else None,
        rollouts=8,
        passed=2,
        rollouts_after=None if after is None else 8,
        passed_after=after,
    )


def point(step: int) -> CurvePoint:
    return CurvePoint(
        step=step,
        cpu_seconds=4.6 * step,
        reward=step / 40,
        groups_used=10,
        groups_sampled=20,
        kl=0.01,
        loss=0.1,
        pass_by_size={size: 0.5 for size in range(1, 13) if size != 3 or step > 2},
    )


BARE = NightRecord(
    line="integration", end="NO_NEW_DATA", started=datetime(2026, 3, 1, 2, tzinfo=UTC), cycle_key="ab" * 32
)
FULL = replace(
    BARE,
    end="PUBLISHED",
    version="v0002",
    parent="v0001",
    decision=decision(),
    ladder=(rung("a"), rung("b", "a", depth=1), rung("c", "b", depth=2, after=None), rung("lost", "gone", depth=1)),
    sizes={"a": 3, "b": 2, "c": 1},
    refused={"leak": 2, EVIL: 1},
    curves=tuple(point(step) for step in range(20)),
    rates=(SizeRate(size=1, n=10, before=0.5, after=0.9), SizeRate(size=2, n=10, before=0.0, after=0.4)),
    steps=(
        StepTime(name="ingest", seconds=0.4, cpu_seconds=0.1),
        StepTime(
            name="train",
            seconds=200,
            cpu_seconds=4000,
            gpu_seconds=180,
            tokens=1_234_567,
            peak_bytes=3 << 30,
            joules=7200,
        ),
    ),
    money={"train": 0.125},
    currency=f"EUR {EVIL}",
    contexts=(
        ContextRow(policy="parent", examples=4, choice="similar", n=40, right=10, prompt_tokens=180, seconds=0.25),
        ContextRow(policy="candidate", examples=0, choice="none", n=40, right=30, prompt_tokens=20, seconds=0.05),
    ),
    ingest=IngestCounts(accepted=150, duplicates=3, held_out=30, quarantined={EVIL: 4}),
    notes=(f"a | note {EVIL}",),
)


class Page(HTMLParser):
    """Collects tags, attributes and unclosed tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.opened: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in {"meta", "link", "br", "img", "input"}:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


@pytest.mark.parametrize("night", [FULL, BARE], ids=["full", "bare"])
def test_page_loads_nothing_external_and_runs_no_script(night: NightRecord) -> None:
    text = render(night)
    page = Page(text)
    assert page.opened == []
    assert not {"script", "link", "img", "iframe", "a", "object"} & set(page.tags)
    assert not {"src", "href", "onclick", "onload"} & set(page.attributes)
    assert not re.search(r"https?://|url\(|@import", text)
    assert EVIL not in text


def test_page_shows_the_whole_night() -> None:
    text = render(FULL)
    for part in (
        "v0002",
        "v0001",
        "hard",
        "against the base",
        "3 min 20 s",
        "1 h 6 min",
        "0.4 s",
        "are allowed",
    ):
        assert part in text
    assert text.count('class="strip pass"') == 3
    assert text.count("<details") == 2
    assert "&lt;script&gt;" in text
    assert "prefers-color-scheme: dark" in text


def test_sections_without_data_say_so() -> None:
    text = render(BARE)
    for part in (
        "ended without a decision of the gate",
        "No training was recorded",
        "No ladder was grown",
        "No step was timed",
    ):
        assert part in text
    assert "the base model" in text


def test_rejected_night_starts_with_its_reasons() -> None:
    night = replace(FULL, end="REJECTED", version=None, decision=decision(skill="+" * 600 + "-" * 100))
    assert headline(night).startswith("The candidate was rejected: short against the parent: got worse")
    assert '<ul class="reasons"><li>short against the parent: got worse' in render(night)


def test_headline_states_the_result() -> None:
    assert headline(FULL) == "v0002 passed: hard 0.0% → 50.0%. 1 old skill held."
    assert headline(BARE) == "The night ended as NO_NEW_DATA: there is no decision of the gate to show."
    target = PairedSuite(
        suite="hard", kind=SuiteKind.TARGET, before=measured("-" * 100), after=measured("+" * 50 + "-" * 50)
    )
    alone = replace(FULL, version=None, decision=judge([target], settings=GateSettings()))
    assert headline(alone).startswith("The candidate passed: hard 0.0% → 50.0%. No skill suite was measured")
    opened = judge([], settings=GateSettings())
    assert headline(replace(FULL, decision=opened)).startswith("The candidate could not be decided: no target suite")
    assert headline(replace(FULL, decision=replace(opened, reasons=()))) == "The candidate could not be decided."
    assert "no target suite" in render(replace(FULL, decision=opened))


def night_with_fillers(after: str) -> NightRecord:
    """Return a night on 31 own and 69 generated items, of which the candidate answers these own ones correctly."""
    own = PairedSuite(suite="target", kind=SuiteKind.TARGET, before=measured("-" * 31), after=measured(after))
    fillers = PairedSuite(
        suite="fillers", kind=SuiteKind.GENERATED, before=measured("-" * 69), after=measured("+" * 60 + "-" * 9)
    )
    found = judge([own, fillers], settings=GateSettings(target_margin=0.9, widest_margin=0.95))
    return replace(FULL, decision=found, own_items=(31, 100))


def test_the_headline_is_about_own_items_first() -> None:
    night = night_with_fillers("+" * 20 + "-" * 11)
    assert headline(night).startswith(
        "v0002 passed: target 0.0% → 64.5% on 31 problems of yours, fillers 0.0% → 87.0% on 69 generated ones."
    )
    assert "31 of 100 are yours" in render(night)
    assert "31 of 100 target items are yours." in summary_markdown(night)


def test_page_and_summary_say_what_is_kept_where_it_was_measured() -> None:
    found = Transfer(suites=3, nights=2, average=0.812, backward=-0.013, forgetting=0.02, intransigence=0.0)
    night = replace(FULL, transfer=found)
    words = "over 3 suites and 2 nights: average accuracy 81.2 %, backward transfer -1.3, forgetting +2.0"
    assert f"What is kept, {words}" in summary_markdown(night)
    assert f"The candidate, {words}" in render(night)
    assert "What is kept" not in render(FULL)
    assert NightRecord.from_json(night.to_json()) == night


def test_a_night_that_gained_on_generated_items_only_says_whose_they_are() -> None:
    night = night_with_fillers("-" * 31)
    assert "passed" not in headline(night)
    assert headline(night).endswith(" 31 of 100 target items are yours.")


def test_records_of_older_revisions_claim_no_own_items() -> None:
    assert NightRecord.from_json(FULL.to_json()).own_items is None
    stored = FULL.to_json().replace('"own_items": null, ', "")
    assert "own_items" not in stored
    assert NightRecord.from_json(stored) == FULL
    assert "yours" not in render(FULL)
    night = night_with_fillers("+" * 31)
    assert NightRecord.from_json(night.to_json()) == night


def test_the_page_says_which_policy_trained_and_why() -> None:
    why = "hub policy: transformers in bfloat16 on cuda:0 (on a GPU)"
    night = replace(FULL, policy=why)
    assert why in render(night)
    assert NightRecord.from_json(night.to_json()) == night
    assert "Trained by" not in render(NightRecord.from_json(FULL.to_json().replace('"policy": null, ', "")))


def test_markdown_escapes_untrusted_text() -> None:
    text = summary_markdown(FULL)
    assert EVIL not in text
    assert "a \\| note" in text
    assert "| hard | target | parent | 100 |" in text
    assert "4 quarantined" in text
    assert "**Gate: PASS**" in text
    assert "Gate" not in summary_markdown(BARE)


def test_gate_without_rows_has_no_table() -> None:
    assert "| suite |" not in summary_markdown(replace(FULL, decision=judge([], settings=GateSettings())))


def test_suites_judged_together_have_a_row_of_their_own() -> None:
    skills = [
        PairedSuite(suite=name, kind=SuiteKind.SKILL, before=measured("+" * 700), after=measured("+" * 699 + "-"))
        for name in ("short", "long")
    ]
    together = judge(skills, settings=GateSettings())
    assert gate_rows(together)[0]["suite"] == "2 skill suites together"
    [group] = gate_groups(together)
    assert [row.n for row in group["rows"]] == [1400, 700, 700]
    assert "0 won and 2 lost of 1400" in render(replace(FULL, decision=together))


def test_gate_rows_are_flat_with_equal_columns() -> None:
    rows = gate_rows(decision())
    assert [row["suite"] for row in rows] == ["hard", "short", "hard", "bytes"]
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0]["outcome"] == "PASS"
    failed = Decision(
        outcome=decision().outcome, reasons=(), rows=(), checks=(Check(name="c", passed=False, sentence=""),)
    )
    assert gate_rows(failed) == [{"suite": "c", "kind": "check", "outcome": "FAIL"}]


@pytest.mark.parametrize("night", [FULL, BARE], ids=["full", "bare"])
def test_night_record_round_trips_through_json(night: NightRecord) -> None:
    again = NightRecord.from_json(night.to_json())
    assert again == night
    assert render(again) == render(night)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"line": "x"}'])
def test_invalid_night_record_is_rejected(text: str) -> None:
    with pytest.raises(BadInputError, match="not a night record"):
        NightRecord.from_json(text)


def test_rates_by_size_ignore_items_of_unknown_size() -> None:
    pair = PairedSuite(suite="s", kind=SuiteKind.SKILL, before=measured("+--+"), after=measured("++-+"))
    rates = rates_by_size([pair], sizes={"i0": 2, "i1": 2, "i2": 1})
    assert rates == (SizeRate(size=1, n=1, before=0, after=0), SizeRate(size=2, n=2, before=0.5, after=1))


def test_large_ladders_are_truncated() -> None:
    small = [rung("r"), *(rung(f"r{k}", "r", depth=1) for k in range(300))]
    (branch,), more = rendering.branches(small)
    assert (len(branch.children), branch.hidden, branch.below, more) == (300, 0, 300, 0)
    large = [rung(f"{r}") for r in range(20)]
    large += [rung(f"{r}/{k}", f"{r}", depth=1) for r in range(20) for k in range(30)]
    shown, more = rendering.branches(large)
    assert (len(shown), more, shown[0].hidden) == (rendering.MAX_ROOTS, 8, 24)
    assert "of 20, the largest trees" in render(replace(FULL, ladder=tuple(large)))


def test_deep_ladders_are_truncated() -> None:
    deep = [rung("0")] + [rung(f"{k}", f"{k - 1}", depth=k) for k in range(1, 60)]
    assert render(replace(FULL, ladder=tuple(deep))).count("<details") == rendering.MAX_DEPTH + 1


def test_unmeasured_rungs_have_no_rate() -> None:
    assert rendering.rate_of([rung("a", after=None)]).after is None
    assert rendering.rate_of([]).before == 0.0
    assert rendering.heat_map([rung("a")], sizes={}) is None
    assert "depth 0" not in render(replace(FULL, sizes={}))


def test_flat_curves_without_sizes_are_drawn() -> None:
    flat = tuple(replace(point(step), cpu_seconds=0.0, reward=0.0, pass_by_size={}) for step in range(3))
    text = render(replace(FULL, curves=flat))
    assert "Reward" in text
    assert "Pass rate of the rollouts" not in text


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 8, [0, 5]), (0, 300, [0, 100, 200, 300])]
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high) == pytest.approx(expected)


def test_newly_solved_items_are_shown_with_their_proofs() -> None:
    proved = SolvedItem(
        statement="2*x<1", answer="x*x", canonical="x^2", derivative="2*x", difference="0", status="proved"
    )
    page = render(replace(BARE, solved=(proved, replace(proved, derivative="", difference="", status="not decided"))))
    assert "<code>2*x&lt;1</code>" in page
    assert page.count("canonical form <code>x^2</code>") == 1
    assert page.count("<b>proved</b>") == page.count("<b>not decided</b>") == 1
    assert 'id="solved"' not in render(BARE)


def test_gpu_seconds_tokens_and_memory_are_shown_where_there_are_any() -> None:
    full, bare = render(FULL), render(replace(FULL, steps=FULL.steps[:1]))
    assert "<dt>GPU time</dt><dd>3 min 0 s</dd>" in full
    assert "1,234,567" in full
    assert "3.0 GiB" in full
    assert "GPU" not in bare
    assert "Tokens" not in bare


def test_energy_and_money_of_a_step_are_shown_where_they_are_known() -> None:
    page = render(replace(FULL, currency="EUR"))
    assert '<th class="n">Energy</th><th class="n">EUR</th>' in page
    assert '<td class="n">2 Wh</td><td class="n">0.125</td>' in page
    bare = render(replace(FULL, money={}, steps=FULL.steps[:1]))
    assert "Energy" not in bare
    assert "EUR" not in bare


def test_context_and_weights_stand_side_by_side() -> None:
    page, text = render(FULL), summary_markdown(FULL)
    assert '<td>parent</td><td>4, similar</td><td class="n">25.0% of 40</td>' in page
    assert '<td>candidate</td><td>none</td><td class="n">75.0% of 40</td>' in page
    assert "| parent | 4, similar | 25.0% of 40 | 180 | 0.250 |" in text
    assert "Context or weights" not in render(BARE)


def test_the_headline_names_no_target_that_did_not_improve() -> None:
    pairs = [
        PairedSuite(suite=name, kind=SuiteKind.TARGET, before=measured("-" * 60), after=measured(after))
        for name, after in (("beside", "-" * 60), ("hard", "+" * 40 + "-" * 20))
    ]
    found = judge(pairs, settings=GateSettings(target_margin=0.9, widest_margin=0.95))
    assert found.passed
    assert headline(replace(FULL, decision=found)).startswith("v0002 passed: hard 0.0% → 66.7%. ")


@pytest.mark.parametrize("number", [1, 9, 30, 400])
def test_bars_of_many_sizes_stay_visible_and_their_labels_apart(number: int) -> None:
    rates = [SizeRate(size=1000 + index, n=1, before=0.5, after=1.0) for index in range(number)]
    drawn = charts.before_after_bars(rates, title="t")
    widths = [
        float(each) for each in re.findall(r'<rect class="bar \w+" x="[-.\d]+" y="[-.\d]+" width="([-.\d]+)"', drawn)
    ]
    assert len(widths) == 2 * number
    assert min(widths) > 0
    places = [float(x) for x in re.findall(r'<text x="([.\d]+)" y="[.\d]+" class="tick mid">1\d\d\d<', drawn)]
    assert places
    assert all(right - left > 4 * charts.LETTER for left, right in pairwise(places))
