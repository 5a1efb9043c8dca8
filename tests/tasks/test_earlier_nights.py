"""What earlier nights used is read from the bucket, also that of releases which kept no record."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cycle.record import End
from everlearn.cycle.workspace import Workspace
from everlearn.data.holdout import split_by_canonical_form
from everlearn.data.snapshot_store import load_snapshot
from everlearn.data.used_problems import Use, load_records
from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.errors import IntegrityError
from everlearn.ladder.replay import Reservoir
from everlearn.ladder.tree import Ladder
from everlearn.registry.connect import open_registry
from everlearn.registry.events import EventKind
from tasks.earlier_nights import record_trained, records_of
from tasks.freeze_suites import forbidden_keys, freeze_suites, load_suites, roots_of
from tasks.night import Night, hold_line
from tasks.open_night import abandon_night, end_night, open_night
from tasks.train import reservoir_before
from tests.support.line import candidate
from tests.support.night import LONG, SHORT, stored_snapshot

if TYPE_CHECKING:
    from everlearn.settings import Settings

DOMAIN = load_domain("integration")


def opened(settings: Settings, token: int, statements: list[str]) -> Night:
    """Open a night on these problems."""
    return open_night.fn(settings, token, stored_snapshot(settings, statements))


def reject(night: Night) -> None:
    night.registry.record(EventKind.REJECTED, cycle_key=night.key, reason="worse", actor="night", detail={})
    end_night(night, End.INSUFFICIENT)


def items_of(night: Night) -> frozenset[str]:
    return equivalence_keys((item.statement for suite in load_suites(night) for item in suite.problems), domain=DOMAIN)


def test_a_rejected_night_forbids_its_items_for_good(settings: Settings, tmp_path: Path) -> None:
    with hold_line(settings) as token:
        first = opened(settings, token, LONG[:15])
        assert freeze_suites.fn(first)
        measured = items_of(first)
        reject(first)
        scaled = [f"7*({item.statement})" for suite in load_suites(first) for item in suite.problems]
        second = opened(settings, token, [*scaled, *LONG[15:]])
        assert freeze_suites.fn(second)
        roots, held_out = roots_of(second)
        keys = equivalence_keys((root.statement for root in roots), domain=DOMAIN)
        assert keys
        assert not keys & measured
        assert forbidden_keys(second) >= measured | items_of(second)
        shipped = equivalence_keys(SHORT, domain=DOMAIN)
        held = equivalence_keys((problem.statement for problem in held_out), domain=DOMAIN)
        assert held >= measured - shipped, "what was held out stays held out"
        records = load_records(second.store, second.line, Use.MEASURED)
        assert sorted(record.nights for record in records.values()) == sorted([(first.key,), (second.key,)])
        freeze_suites.fn(second)
        assert load_records(second.store, second.line, Use.MEASURED) == records
        (own,) = (digest for digest, record in records.items() if record.nights == (second.key,))
        assert records_of(second) == [f"measured/{own}"]


def test_a_night_that_was_given_up_begins_anew_by_the_settings_of_now(settings: Settings) -> None:
    """Its frozen suites hold what a night in between has measured with the same parent."""
    by_line = settings.model_copy(update={"gate": settings.gate.model_copy(update={"improvement_error": "line"})})
    with hold_line(settings) as token:
        first = opened(settings, token, LONG)
        freeze_suites.fn(first)
        first.work.put("trained", b"")
        abandon_night(first, why="it hangs")
        between = opened(settings, token, LONG[:18])
        freeze_suites.fn(between)
        measured = {problem.statement for problem in roots_of(between)[1]}
        reject(between)
        again = opened(by_line, token, LONG)
        assert (again.key, again.work.names()) == (first.key, ())
        freeze_suites.fn(again)
        held_out = {problem.statement for problem in roots_of(again)[1]}
        assert measured
        assert not measured & held_out
        assert held_out
        assert opened(by_line, token, LONG).work.has("suites"), "an open night keeps its work"


def test_a_night_with_nothing_to_train_on_is_recorded(settings: Settings, tmp_path: Path) -> None:
    with hold_line(settings) as token:
        night = opened(settings, token, [f"3*({text})" for text in SHORT])
        assert not freeze_suites.fn(night)
        (record,) = load_records(night.store, night.line, Use.MEASURED).values()
        assert (record.nights, record.problems) == ((night.key,), {})


@pytest.mark.parametrize("has_work", [True, False])
def test_nights_without_records_are_recorded_once(settings: Settings, tmp_path: Path, *, has_work: bool) -> None:
    """As release 0.1.0 left them: a rejected night and a published one, with or without their workspaces."""
    with hold_line(settings) as token:
        old = opened(settings, token, LONG[:12])
        entries = load_snapshot(old.store, old.line, old.inputs.data_digest).entries
        parts = split_by_canonical_form(entries, share=settings.ingest.holdout_share)
        if has_work:
            Workspace(old.store, old.line, old.key, token=token).put_tree("suites", suites_folder(tmp_path))
        reject(old)
        publish_old(settings, old, has_work=has_work, token=token)

        night = opened(settings, token, LONG[12:])
        freeze_suites.fn(night)
        forbidden = forbidden_keys(night)
        assert forbidden >= equivalence_keys((each.statement for each in parts.held_out), domain=DOMAIN)
        assert (DOMAIN.equivalence("acos(x)") in forbidden) is has_work
        trained = load_records(night.store, night.line, Use.TRAINED)
        (record,) = trained.values()
        assert record.problems.keys() >= {each.statement for each in parts.roots}
        assert ("asin(x)" in record.problems) is has_work
        assert bool(reservoir_before(night).problems) is has_work
        measured = load_records(night.store, night.line, Use.MEASURED)
        assert len(measured) == 2, "one for the old nights, one for this"
        assert records_of(night) == sorted(
            [*(f"measured/{each}" for each in measured), *(f"trained/{each}" for each in trained)]
        )


@pytest.mark.parametrize("published", [True, False])
def test_a_new_suite_leaves_out_what_was_trained_on(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, published: bool
) -> None:
    """As far as a published night did: what another one trained on has left no trace in a model."""
    with hold_line(settings) as token:
        first = opened(settings, token, LONG[:12])
        assert freeze_suites.fn(first)
        record_trained(first, ["asinh(x)", "acosh(x) + x"])
        if published:
            manifest = replace(
                candidate(first.registry, "one", base=first.inputs.base_fingerprint), cycle_key=first.key
            )
            first.registry.publish(manifest, make_champion=False, actor="night", reason="better")
            end_night(first, End.INSUFFICIENT)
        else:
            reject(first)
        write_new_suites(tmp_path / "data" / "suites")
        second = opened(settings, token, LONG[12:])
        assert freeze_suites.fn(second)
        items = {suite.name: [item.statement for item in suite.problems] for suite in load_suites(second)}
        assert items["new"] == (["atan(x)"] if published else ["atan(x)", "3*asinh(x)"])
        assert ("known" in items) is not published
        assert items["short"] == SHORT
        assert ("suite new: 1 of 2 items left out" in caplog.text) is published


def write_new_suites(folder: Path) -> None:
    """Ship a suite of which one item was trained on, and one with no other item."""
    for name, statements in (("new", ["atan(x)", "3*asinh(x)"]), ("known", ["2*acosh(x) + 2*x"])):
        lines = [{"suite": name, "kind": "skill"}, *({"id": text, "statement": text} for text in statements)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def suites_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "frozen"
    folder.mkdir()
    lines = [{"suite": "target", "kind": "target"}, {"id": "1", "statement": "acos(x)"}]
    (folder / "target.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def publish_old(settings: Settings, rejected: Night, *, has_work: bool, token: int) -> None:
    """Publish a version from the data of the rejected night, as its second attempt."""
    registry = open_registry(settings)
    manifest = replace(
        candidate(registry, "one", base=rejected.inputs.base_fingerprint), data_digest=rejected.inputs.data_digest
    )
    registry.publish(manifest, make_champion=False, actor="night", reason="better")
    if has_work:
        work = Workspace(rejected.store, rejected.line, manifest.cycle_key, token=token)
        work.put("ladder after", saved(ladder("asin(x)", "tan(x)"), Path.cwd()))


def ladder(*statements: str) -> Ladder:
    """Return a ladder whose rungs are all mastered."""
    grown = Ladder()
    for text in statements:
        rung = grown.add(text, domain=DOMAIN, forbidden=frozenset())
        assert rung is not None
        grown.set_pass_rate(rung.digest, rollouts=2, passed=2, after=True)
    return grown


def saved(grown: Ladder, folder: Path) -> bytes:
    grown.save(folder / "grown.jsonl")
    return (folder / "grown.jsonl").read_bytes()


def test_a_night_reads_the_newest_reservoir_and_no_ladder_before_it(settings: Settings, tmp_path: Path) -> None:
    registry = open_registry(settings)
    with hold_line(settings) as token:
        night = opened(settings, token, LONG[:12])
        for name, content in (("one", "asin(x)"), ("two", None), ("three", "tan(x)")):
            manifest = candidate(registry, name)
            registry.publish(manifest, make_champion=False, actor="night", reason="better")
            work = Workspace(night.store, night.line, manifest.cycle_key, token=token)
            if content is None:
                reservoir = Reservoir().updated(ladder("cos(x)"), night="two", domain=DOMAIN)
                work.put("replay", reservoir.to_bytes())
            else:
                work.put("ladder after", saved(ladder(content), tmp_path))
        assert [each.statement for each in reservoir_before(night).problems] == ["cos(x)", "tan(x)"]
        registry.bar("v0002", reason="bad rows", actor="ann")
        assert [each.statement for each in reservoir_before(replace(night)).problems] == ["asin(x)", "tan(x)"]
        record_trained(night, ["asinh(x)"])
        ((digest, record),) = load_records(night.store, night.line, Use.TRAINED).items()
        assert (record.nights, *record.problems) == ((night.key,), "asinh(x)")
        assert records_of(night) == [f"trained/{digest}"]


@pytest.mark.parametrize(
    ("error", "detail", "are_left_out"),
    [
        ("line", {"parent": None}, True),
        ("line", {}, True),
        ("line", {"parent": "v0009", "decision": {"rows": [{"against": "parent"}]}}, False),
        ("line", {"parent": "v0009", "decision": {"rows": [{"against": "parent"}, {"against": "base"}]}}, True),
        ("line", {"parent": "v0009"}, True),
        ("night", {"parent": None}, False),
    ],
)
def test_with_a_budget_of_the_line_the_parent_is_not_tested_twice_on_one_problem(
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    error: str,
    detail: dict[str, Any],
    *,
    are_left_out: bool,
) -> None:
    caplog.set_level(logging.INFO, logger="everlearn.night")
    chosen = settings.model_copy(update={"gate": settings.gate.model_copy(update={"improvement_error": error})})
    with hold_line(chosen) as token:
        first = opened(chosen, token, LONG[:18])
        freeze_suites.fn(first)
        tested = {problem.statement for problem in roots_of(first)[1]}
        assert tested
        first.registry.record(EventKind.INSUFFICIENT, cycle_key=first.key, reason="few", actor="night", detail=detail)
        end_night(first, End.INSUFFICIENT)
        retry = opened(chosen, token, LONG)
        freeze_suites.fn(retry)
    roots, held_out = ({problem.statement for problem in part} for part in roots_of(retry))
    assert not tested & roots, "measured problems are never trained on"
    assert tested.isdisjoint(held_out) if are_left_out else tested <= held_out
    assert held_out - tested, "new problems are held out as ever"
    said = f"{len(tested)} were measured by an earlier night, with the same parent"
    assert caplog.text.count(said) == int(are_left_out)


@pytest.mark.parametrize("error", ["line", "night"])
def test_a_shipped_target_is_fresh_as_well(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: str
) -> None:
    """A suite of the user's that is a target is the same each night, and is no test of the same parent twice."""
    caplog.set_level(logging.INFO, logger="everlearn.night")
    chosen = settings.model_copy(update={"gate": settings.gate.model_copy(update={"improvement_error": error})})
    path = tmp_path / "data" / "suites" / "hard.jsonl"
    lines = [{"suite": "hard", "kind": "target"}, *({"id": text, "problem": text} for text in ("atan(x)", "asinh(x)"))]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = []
    with hold_line(chosen) as token:
        for start in (0, 8, 16):
            night = opened(chosen, token, LONG[start : start + 8])
            freeze_suites.fn(night)
            suites = {suite.name: [item.statement for item in suite.problems] for suite in load_suites(night)}
            seen.append(suites.get("hard"))
            assert suites["short"] == SHORT, "what guards is measured every night"
            reject(night)
            path.write_text(path.read_text() + json.dumps({"id": str(start), "problem": f"acosh(x + {start})"}) + "\n")
    first, second, third = ["atan(x)", "asinh(x)"], ["acosh(x + 0)"], ["acosh(x + 8)"]
    all_items = [first, first + second, first + second + third]
    assert seen == ([first, second, third] if error == "line" else all_items)
    said = "suite hard: 2 of 3 items left out, because an earlier night measured them, and a test needs fresh ones"
    assert (said in caplog.text) is (error == "line")


def test_a_lost_record_stops_the_night_that_could_train_on_what_it_held(settings: Settings) -> None:
    with hold_line(settings) as token:
        first = opened(settings, token, LONG[:15])
        freeze_suites.fn(first)
        (name,) = records_of(first)
        detail = {"records": [name]}
        first.registry.record(EventKind.REJECTED, cycle_key=first.key, reason="worse", actor="night", detail=detail)
        end_night(first, End.REJECTED)
        first.store.delete(f"{first.line}/problems/{name}")
        second = opened(settings, token, LONG[15:])
        with pytest.raises(IntegrityError, match=rf"{name}: leaks could not be seen; run `everlearn fsck --repair`"):
            freeze_suites.fn(second)
