"""`leaks`: what versions were trained on and nights measured, by the present rule of equivalence."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from everlearn.cli.history import announce
from everlearn.cli.output import Json, Yes, confirm, is_interactive, print_result, stderr_console, table

if TYPE_CHECKING:
    from everlearn.cli.context import Installation
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry

app = typer.Typer()
REASON = "trained on problems that a night measured (everlearn leaks)"
SHOWN = 20
"""Leaks that are listed for people; `--json` has all."""


@app.command()
def leaks(
    context: typer.Context,
    *,
    bar: Annotated[
        bool, typer.Option("--bar", help="Bar the versions that saw what was measured; roll back if one serves.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Look for problems that a version was trained on and that a night measured.

    A night forbids what earlier nights have measured, by the domain's rule of equivalence at its time. This compares
    everything that all published nights trained on with everything that any night measured, by the present rule. A
    version hands on what it was trained on, so those that descend from it are named too. Exit code 1: there are leaks,
    and they are not barred.

    `--bar` bars all of these versions, so that no later night begins from them or is compared with them, and voids
    their labels: with `gate.improvement_error: line` they earn nothing for later nights. If one of them serves, the
    newest former champion without a leak becomes the champion, and the record goes on from it. Without it, nothing is
    changed.

        everlearn leaks
        everlearn leaks --bar
        everlearn leaks --json | jq .versions
    """
    from everlearn.data.leaked_problems import find_leaks
    from everlearn.data.used_problems import require_records
    from everlearn.domains.contract import load_domain

    installation: Installation = context.obj
    registry = installation.known_registry()
    state = registry.state()
    require_records(registry.store, registry.line, state.records)
    domain = load_domain(installation.settings().domain)
    cycles = {entry.cycle_key: entry.version for entry in state.versions.values()}
    found = find_leaks(registry.store, registry.line, versions=cycles, domain=domain, named=_trained_records(state))
    tainted = _with_descendants(state, {leak.version for leak in found})
    left = {*tainted, *state.barred}
    clean = next((version for version in reversed(state.champions) if version not in left), None)
    facts = {
        "versions": tainted,
        "newest_without": clean,
        "leaks": [asdict(leak) for leak in found],
    }
    if not found:
        print_result(
            facts, as_json=json, text=f"no leak: {len(cycles)} versions were compared with all that was measured"
        )
        return
    names = ("version", "trained on", "measured as", "by nights")
    rows = [(leak.version, leak.trained, leak.measured, len(leak.nights)) for leak in found[:SHOWN]]
    found_where = f"{len(found)} leaks; trained on measured problems: {', '.join(tainted)}. Their gains on these problems prove nothing"
    listed = Group(table(*names, rows=rows), Text(found_where))
    open_versions = _open_of(state, tainted)
    if bar:
        if is_interactive(yes=yes):
            stderr_console().print(listed)
            confirm(f"Bar {', '.join(open_versions) or 'no version: all are barred'}?")
        open_versions = _bar(registry, tainted)
        champion = registry.cached_state.champion or "the base model"
        done = Text(
            f"{', '.join(open_versions) or 'no other version'} barred; {champion} serves, and the record goes on from it; "
            f"the labels of {', '.join(tainted)} count as none from now on, because their tests were invalid"
        )
        print_result(
            facts | {"barred": open_versions, "champion": registry.cached_state.champion},
            as_json=json,
            text=Group(listed, done),
        )
        return
    print_result(facts, as_json=json, text=Group(listed, Text("to bar them: everlearn leaks --bar")))
    if open_versions:
        raise typer.Exit(1)


def _bar(registry: Registry, tainted: list[str]) -> list[str]:
    """Bar these versions as leaked, and what a night has trained from them meanwhile. Return those that were not.

    If one of them is the champion, roll back to the last one that is not barred then.
    """
    actor, state = getpass.getuser(), registry.state()
    champion, versions = state.champion, _open_of(state, _with_descendants(state, set(tainted)))
    for version in sorted(versions, key=lambda version: version == champion):  # the champion last
        if version == champion:
            announce(registry, registry.rollback(reason=REASON, actor=actor).event)
        registry.bar(version, reason=REASON, actor=actor, leaked=True)
        announce(registry, registry.cached_state.history[-1])
    return versions


def _open_of(state: State, versions: list[str]) -> list[str]:
    """Return those of these versions that are not barred as leaked."""
    entries = [state.versions[version] for version in versions]
    return [entry.version for entry in entries if not (entry.barred and entry.leaked)]


def _trained_records(state: State) -> dict[str, set[str]]:
    """Return the digests of the trained records that the event of each night names, where it names any."""
    from everlearn.data.used_problems import Use

    prefix, trained = f"{Use.TRAINED}/", dict[str, set[str]]()
    for key, event in state.cycles.items():
        names = event.detail.get("records", ())
        if digests := {name.removeprefix(prefix) for name in names if name.startswith(prefix)}:
            trained[key] = digests
    return trained


def _with_descendants(state: State, versions: set[str]) -> list[str]:
    """Return these versions and all that were trained from them, in the order of their publication."""
    tainted = set(versions)
    for entry in state.versions.values():  # parents are published before their children
        if entry.parent in tainted:
            tainted.add(entry.version)
    return [entry.version for entry in state.versions.values() if entry.version in tainted]
