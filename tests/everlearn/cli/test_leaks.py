"""`leaks`: an intact line has none, and a version that saw what was measured is named with its descendants."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import typer

from everlearn.cli.leaks import REASON
from everlearn.data.used_problems import Use, UsedProblems, save_record
from everlearn.domains.contract import load_domain
from everlearn.errors import IntegrityError, RegistryError
from everlearn.gate.baselines import eligible_versions
from everlearn.gate.lifetime_error import past_of
from everlearn.gate.record_of_line import RecordedItem, record_after, to_json
from everlearn.settings import GateSettings
from tests.support.line import candidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended

DOMAIN = load_domain("integration")


def record(registry: Registry, use: Use, night: str, *statements: str) -> str:
    made = UsedProblems.of(statements, nights=[night], domain=DOMAIN)
    return save_record(registry.store, registry.line, use, made)


@pytest.fixture
def versions(registry: Registry, publish: Callable[..., str]) -> list[str]:
    """Three versions, each trained from the one before; what they trained on and measured is apart."""
    names = [publish() for _ in range(3)]
    for number, name in enumerate(names):
        night = registry.state().versions[name].cycle_key
        record(registry, Use.TRAINED, night, f"x^{number + 2} + sin(x)", f"x^{number + 2} - cos(x)")
        record(registry, Use.MEASURED, night, f"x^{number + 2} + exp(x)")
    return names


def test_an_intact_line_has_no_leak(everlearn: Callable[..., Ended], versions: list[str]) -> None:
    ended = everlearn("leaks")
    assert ended.code == 0
    assert f"no leak: {len(versions)} versions" in ended.out


def test_a_leak_names_the_version_and_its_descendants(
    everlearn: Callable[..., Ended], registry: Registry, versions: list[str]
) -> None:
    record(registry, Use.MEASURED, "9" * 64, "-2*sin(x) - 2*x^3")
    before = registry.state().tip
    ended = everlearn("leaks", "--json")
    assert ended.code == 1
    facts = ended.facts
    assert facts["versions"] == versions[1:], "v0002 was trained on it, v0003 from v0002"
    assert facts["newest_without"] == versions[0]
    [leak] = facts["leaks"]
    assert (leak["version"], leak["trained"], leak["measured"]) == (versions[1], "x^3 + sin(x)", "-2*sin(x) - 2*x^3")
    assert "everlearn leaks --bar" in everlearn("leaks").out
    assert registry.state().tip == before, "nothing was changed"


@pytest.mark.parametrize("named", [True, False])
def test_what_a_night_trained_on_before_it_was_given_up_is_no_leak_of_its_version(
    everlearn: Callable[..., Ended], registry: Registry, *, named: bool
) -> None:
    """It began anew with the same inputs, and its event names what it trained on then; older events name nothing."""
    made = candidate(registry, "one")
    given_up = record(registry, Use.TRAINED, made.cycle_key, "x^2 + sin(x)")
    kept = record(registry, Use.TRAINED, made.cycle_key, "x^2 - cos(x)")
    record(registry, Use.MEASURED, "9" * 64, "2*x^2 + 2*sin(x)")
    assert record(registry, Use.MEASURED, made.cycle_key, "x^2 + sin(x)") == given_up
    records = [f"measured/{given_up}", *([f"trained/{kept}"] if named else [])]
    registry.publish(made, make_champion=True, actor="night", reason="better", records=records)
    assert everlearn("leaks", "--json").facts["versions"] == ([] if named else ["v0001"])
    record(registry, Use.MEASURED, "9" * 64, "2*x^2 - 2*cos(x)")
    assert everlearn("leaks", "--json").facts["versions"] == ["v0001"]


def test_where_every_version_leaks_the_base_is_left(
    everlearn: Callable[..., Ended], registry: Registry, versions: list[str]
) -> None:
    record(registry, Use.MEASURED, "9" * 64, "x^2 + sin(x)")
    assert everlearn("leaks", "--json").facts["versions"] == versions
    ended = everlearn("leaks", "--bar", "--json")
    assert ended.code == 0
    assert ended.facts["champion"] is None
    assert all(entry.barred for entry in registry.state().versions.values())


def test_versions_that_leak_are_barred_and_the_newest_without_serves(
    everlearn: Callable[..., Ended], registry: Registry, versions: list[str]
) -> None:
    record(registry, Use.MEASURED, "9" * 64, "-2*sin(x) - 2*x^3")
    assert everlearn("leaks", "--bar", "--json").facts["barred"] == versions[1:]
    state = registry.state()
    assert state.champion == versions[0]
    assert [entry.barred for entry in state.versions.values()] == [False, True, True]
    assert everlearn("leaks").code == 0, "they are barred"
    again = everlearn("leaks", "--bar")
    assert "no other version barred" in " ".join(again.out.split())
    assert registry.state().tip == state.tip


def publish_judged(registry: Registry, name: str) -> str:
    """Publish a version that the line's budgets have judged, with a record that it has set itself. Return its cycle key."""
    recorded = {"item": RecordedItem(right=1, undecided=0, samples=1, policy=name)}
    manifest = replace(
        candidate(registry, name, parent=registry.state().champion),
        decision={"outcome": "PASS", "level": 0.01},
        config={"gate": {"alpha": 0.05}},
        record=registry.put_object(to_json(recorded)),
    )
    registry.publish(manifest, make_champion=True, actor="night", reason="better")
    return manifest.cycle_key


def labels_of(registry: Registry) -> tuple[bool, ...]:
    by_line = GateSettings(improvement_error="line")
    return past_of(registry.state().history, settings=by_line, registry=registry).labels


def test_levels_and_record_go_on_from_clean_versions(everlearn: Callable[..., Ended], registry: Registry) -> None:
    publish_judged(registry, "clean")
    leaking = publish_judged(registry, "leaking")
    publish_judged(registry, "descendant")
    record(registry, Use.TRAINED, leaking, "x^4 + sin(x)")
    record(registry, Use.MEASURED, "9" * 64, "2*x^4 + 2*sin(x)")
    assert labels_of(registry) == (True, True, True)
    said = " ".join(everlearn("leaks", "--bar").out.split())
    assert "v0001 serves, and the record goes on from it" in said
    assert "the labels of v0002, v0003 count as none from now on, because their tests were invalid" in said
    assert labels_of(registry) == (True, False, False)
    state = registry.state()
    assert {item.policy for item in record_after(state.champion, registry).values()} == {"clean"}
    assert eligible_versions(state) == ["v0001"], "no other is the best version of a suite"
    barred = [event for event in state.history if event.detail.get("leaked")]
    assert [(event.detail["version"], event.reason) for event in barred] == [("v0002", REASON), ("v0003", REASON)]


def test_a_version_that_was_barred_before_loses_its_label_too(
    everlearn: Callable[..., Ended], registry: Registry
) -> None:
    leaking = publish_judged(registry, "leaking")
    registry.rollback(reason="slow", actor="me")
    record(registry, Use.TRAINED, leaking, "x^4 + sin(x)")
    record(registry, Use.MEASURED, "9" * 64, "x^4 + sin(x)")
    assert everlearn("leaks").code == 1, "it is barred, and not as one that leaked"
    assert everlearn("leaks", "--bar", "--json").facts["barred"] == ["v0001"]
    assert labels_of(registry) == (False,)
    assert everlearn("leaks").code == 0


def test_a_version_that_waits_for_approval_never_serves_because_others_leak(
    everlearn: Callable[..., Ended], registry: Registry, versions: list[str]
) -> None:
    waiting = candidate(registry, "waiting", base="f" * 64)
    registry.publish(waiting, make_champion=False, actor="night", reason="better")
    record(registry, Use.MEASURED, "9" * 64, "x^4 + sin(x)")
    assert everlearn("leaks", "--bar", "--json").facts["champion"] == versions[1]
    assert registry.state().waiting == ("v0004",)


def test_a_version_that_leaks_and_does_not_serve_is_barred_alone(
    everlearn: Callable[..., Ended], registry: Registry, versions: list[str]
) -> None:
    registry.rollback(versions[1], reason="slow", actor="me", keep=True)
    record(registry, Use.MEASURED, "9" * 64, "x^4 + sin(x)")
    everlearn("leaks", "--bar", "--json")
    assert registry.state().champion == versions[1]
    assert registry.bar(versions[2], reason="again", actor="me").barred, "barred already"
    with pytest.raises(RegistryError, match="is the champion"):
        registry.bar(versions[1], reason="test", actor="me")


def test_a_wider_rule_finds_what_an_older_one_did_not(
    everlearn: Callable[..., Ended], registry: Registry, versions: list[str]
) -> None:
    night = registry.state().versions[versions[0]].cycle_key
    old = UsedProblems(nights=(night,), scheme="older", problems={"5*tan(x)": "a", "not a problem(": "b"})
    save_record(registry.store, registry.line, Use.TRAINED, old)
    record(registry, Use.MEASURED, "9" * 64, "tan(x)")
    assert [leak["trained"] for leak in everlearn("leaks", "--json").facts["leaks"]] == ["5*tan(x)"]


def test_barring_asks_for_confirmation_at_a_terminal(
    everlearn: Callable[..., Ended], registry: Registry, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(registry, Use.MEASURED, "9" * 64, "-2*sin(x) - 2*x^3")
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda question, **_: asked.append(question))
    ended = everlearn("leaks", "--bar")
    assert asked == [f"Bar {versions[1]}, {versions[2]}?"]
    assert "measured as" in ended.err, "what it is about is shown first"


def test_what_was_trained_from_a_leaking_version_before_the_answer_is_barred_as_well(
    everlearn: Callable[..., Ended],
    registry: Registry,
    versions: list[str],
    publish: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record(registry, Use.MEASURED, "9" * 64, "-2*sin(x) - 2*x^3")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: publish())
    assert everlearn("leaks", "--bar", "--json").facts["barred"] == [*versions[1:], "v0004"]
    assert registry.state().champion == versions[0]


@pytest.mark.parametrize("use", list(Use))
def test_a_lost_record_is_named_and_not_taken_for_no_leak(
    everlearn: Callable[..., Ended], registry: Registry, use: Use
) -> None:
    made = candidate(registry, "one")
    lost = record(registry, use, made.cycle_key, "x^2 + sin(x)")
    registry.publish(made, make_champion=True, actor="night", reason="better", records=[f"{use}/{lost}"])
    registry.store.delete(f"{registry.line}/problems/{use}/{lost}")
    ended = everlearn("leaks")
    assert ended.code == IntegrityError.exit_code
    assert f"problems/{use}/{lost}" in ended.err
    assert "everlearn fsck --repair" in ended.err
