"""`gc`: list objects that are no longer needed, and remove them."""

from __future__ import annotations

import getpass
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.output import Json, Yes, confirm, is_interactive, print_note, print_result
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from everlearn.cli.context import Installation
    from everlearn.registry.maintenance.gc import Collected
    from everlearn.registry.maintenance.gc_plan import CollectionPlan

app = typer.Typer()
MAX_LISTED = 20


@app.command()
def gc(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """List what no version and no running publisher needs, and remove it after confirmation.

    Kept are the whole history, all versions that were champion, and the newest versions; the settings under
    `retention` define how many and for how long. Without a terminal, `--yes` is required. Removing takes as long as a
    publisher's lease (15 minutes), so that a publisher can still claim an object.

        everlearn gc --dry-run
        everlearn gc --yes
        everlearn gc --dry-run --json | jq .size
    """
    from everlearn.registry.maintenance.gc import collect
    from everlearn.registry.maintenance.gc_plan import plan_collection

    installation: Installation = context.obj
    registry, retention = installation.registry(), installation.settings().retention
    plan = plan_collection(registry, retention)
    done: Collected | None = None
    if not dry_run and not plan.is_empty:
        print_note(_list(plan))
        _require_confirmation(yes=yes)
        seconds = registry.heartbeat_lifetime.total_seconds()
        print_note(f"waiting {seconds:,.0f} s, in which a running publisher can still claim objects")
        done = collect(registry, retention, actor=getpass.getuser(), wait=time.sleep)
    print_result(_facts(plan, done), as_json=json, text=_summary(plan, done))


def _require_confirmation(*, yes: bool) -> None:
    """Ask for confirmation. BadInputError if there is neither a terminal nor `--yes`."""
    if yes:
        return
    if not is_interactive():
        raise BadInputError(
            "nothing is removed without confirmation at a terminal; add --yes, or --dry-run to list only"
        )
    confirm("Remove all that?")


def _list(plan: CollectionPlan) -> str:
    lines = [f"retire {version}: never champion, and not among the last" for version in plan.retiring]
    lines += [f"remove {item.key} ({item.size:,} bytes): {item.why}" for item in plan.items[:MAX_LISTED]]
    if len(plan.items) > MAX_LISTED:
        lines.append(f"and {len(plan.items) - MAX_LISTED} more; --json lists them all")
    if plan.busy:
        lines.append(f"not now: a night is publishing ({plan.busy})")
    return "\n".join(lines)


def _summary(plan: CollectionPlan, done: Collected | None) -> str:
    if done is not None:
        return f"{len(done.removed)} objects removed, {done.size / 1e6:,.1f} MB; {len(done.retired)} versions retired"
    if plan.is_empty:
        return "nothing to remove: everything is needed, or too young"
    return f"{_list(plan)}\n{len(plan.items)} objects, {plan.size / 1e6:,.1f} MB, could go"


def _facts(plan: CollectionPlan, done: Collected | None) -> dict[str, Any]:
    items = [asdict(item) | {"modified": item.modified.isoformat()} for item in plan.items]
    listed = {"line": plan.line, "retiring": plan.retiring, "items": items, "size": plan.size, "busy": plan.busy}
    return listed | {"done": None if done is None else asdict(done)}
