"""`leaks`: what versions were trained on and nights measured, by the present rule of equivalence."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Group
from rich.text import Text

from everlearn.cli.output import Json, print_result, table

if TYPE_CHECKING:
    from everlearn.cli.context import Installation
    from everlearn.registry.line_state import State

app = typer.Typer()
SHOWN = 20
"""Leaks that are listed for people; `--json` has all."""


@app.command()
def leaks(context: typer.Context, *, json: Json = False) -> None:
    """Look for problems that a version was trained on and that a night measured.

    A night forbids what earlier nights have measured, by the domain's rule of equivalence at its time. This compares everything
    that all published nights trained on with everything that any night measured, by the present rule. A version hands on what it
    was trained on, so those that descend from it are named too. Nothing is changed. Exit code 1: there are leaks.

        everlearn leaks
        everlearn leaks --json | jq .versions
    """
    from everlearn.data.leaked_problems import find_leaks
    from everlearn.domains.contract import load_domain

    installation: Installation = context.obj
    registry = installation.known_registry()
    state = registry.state()
    domain = load_domain(installation.settings().domain)
    cycles = {entry.cycle_key: entry.version for entry in state.versions.values()}
    found = find_leaks(registry.store, registry.line, versions=cycles, domain=domain)
    tainted = _with_descendants(state, {leak.version for leak in found})
    clean = [entry.version for entry in state.versions.values() if entry.version not in tainted and not entry.barred]
    facts = {
        "versions": tainted,
        "newest_without": clean[-1] if clean else None,
        "leaks": [asdict(leak) for leak in found],
    }
    if not found:
        print_result(
            facts, as_json=json, text=f"no leak: {len(cycles)} versions were compared with all that was measured"
        )
        return
    names = ("version", "trained on", "measured as", "by nights")
    rows = [(leak.version, leak.trained, leak.measured, len(leak.nights)) for leak in found[:SHOWN]]
    target = f"--to {facts['newest_without']}" if clean else "--to base"
    footer = (
        f"{len(found)} leaks; trained on measured problems: {', '.join(tainted)}. Their gains on these problems prove nothing. To go back: "
        f'everlearn rollback {target} --reason "trained on measured problems"'
    )
    print_result(facts, as_json=json, text=Group(table(*names, rows=rows), Text(footer)))
    raise typer.Exit(1)


def _with_descendants(state: State, versions: set[str]) -> list[str]:
    """Return these versions and all that were trained from them, in the order of their publication."""
    tainted = set(versions)
    for entry in state.versions.values():  # parents are published before their children
        if entry.parent in tainted:
            tainted.add(entry.version)
    return [entry.version for entry in state.versions.values() if entry.version in tainted]
