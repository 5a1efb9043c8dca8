"""`gc`: remove what nobody needs, after listing it."""

from __future__ import annotations

import getpass
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.output import Json, answer, tell
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from everlearn.cli.context import Place
    from everlearn.registry.maintenance.gc import Collected
    from everlearn.registry.maintenance.gc_plan import CollectionPlan

app = typer.Typer()
SHOWN = 20


@app.command()
def gc(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """List what no version and no running publish can need, and remove it if you agree.

    Everything that was ever champion is kept, the last few of the other versions, and the whole history; the settings
    under `retention` say how many and how old. Without a terminal it refuses unless you say `--yes`. Removing
    takes as long as a publisher's lease, fifteen minutes: for that long nobody may have needed what goes.

        everlearn gc --dry-run
        everlearn gc --yes
        everlearn gc --dry-run --json | jq .size
    """
    from everlearn.registry.maintenance.gc import collect
    from everlearn.registry.maintenance.gc_plan import plan_collection

    place: Place = context.obj
    registry, retention = place.registry(), place.settings().retention
    found = plan_collection(registry, retention)
    done: Collected | None = None
    if not dry_run and not found.is_empty:
        tell(_list(found))
        _ask(yes=yes)
        tell(
            f"waiting {registry.heartbeat_lifetime.total_seconds():,.0f} s, in which whoever publishes may still claim something"
        )
        done = collect(registry, retention, actor=getpass.getuser(), wait=time.sleep)
    answer(_facts(found, done), as_json=json, shown=_told(found, done))


def _ask(*, yes: bool) -> None:
    """Go on only after a yes. BadInputError where there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInputError("nothing is removed without a terminal to ask at; add --yes, or --dry-run to list only")
    typer.confirm("Remove all that?", abort=True, err=True)


def _list(found: CollectionPlan) -> str:
    said = [f"retire {version}: never champion, and not among the last" for version in found.retiring]
    said += [f"remove {item.key} ({item.size:,} bytes): {item.why}" for item in found.items[:SHOWN]]
    if len(found.items) > SHOWN:
        said.append(f"and {len(found.items) - SHOWN} more; --json lists them all")
    if found.busy:
        said.append(f"not now: somebody is publishing ({found.busy})")
    return "\n".join(said)


def _told(found: CollectionPlan, done: Collected | None) -> str:
    if done is not None:
        return f"{len(done.removed)} objects removed, {done.size / 1e6:,.1f} MB; {len(done.retired)} versions retired"
    if found.is_empty:
        return "nothing to remove: everything is needed, or too young"
    return f"{_list(found)}\n{len(found.items)} objects, {found.size / 1e6:,.1f} MB, could go"


def _facts(found: CollectionPlan, done: Collected | None) -> dict[str, Any]:
    items = [asdict(item) | {"modified": item.modified.isoformat()} for item in found.items]
    listed = {"line": found.line, "retiring": found.retiring, "items": items, "size": found.size, "busy": found.busy}
    return listed | {"done": None if done is None else asdict(done)}
