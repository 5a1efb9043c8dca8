"""`status`, `history`, `show`, `rollback`, `promote`, `report`: the versions and nights of a line.

None of these needs torch, Great Expectations or Prefect: a rollback must work on a machine without them.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from everlearn.cli import formatting, waiting
from everlearn.cli.output import Json, Yes, confirm, is_interactive, print_note, print_result, table
from everlearn.errors import BadInputError, NotFoundError
from everlearn.orchestration.artifacts_client import show_markdown
from everlearn.orchestration.events_client import CHANGED, emit, is_configured
from everlearn.registry.events import Event, EventKind
from everlearn.registry.line_summary import summarize
from everlearn.registry.manifest import ObjectRef
from everlearn.registry.night_lookup import SHOWN, find_night
from everlearn.serving.rollout_status import read_rollout_status
from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.cli.context import Installation
    from everlearn.registry.line_state import State, VersionEntry
    from everlearn.registry.versions import Registry

app = typer.Typer()


def check_reason(reason: str) -> str:
    """Return the reason. typer.BadParameter if it is empty."""
    if not reason.strip():
        raise typer.BadParameter("the reason is empty; say why in a few words for the history")
    return reason


Ref = Annotated[
    str,
    typer.Argument(metavar="VERSION|CYCLE", help="v0001, champion, or the beginning of a cycle that `history` shows."),
]
Verification = Annotated[
    Literal["quick", "full"],
    typer.Option(help="Check of the target's bytes: compare the store's checksums, or read and hash all of them."),
]
Wait = Annotated[
    float | None,
    typer.Option(
        metavar="60s",
        parser=waiting.parse_duration,
        help="Wait so long until all consumers have followed; exit code 12 if they did not.",
    ),
]
Reason = Annotated[str, typer.Option(callback=check_reason, help="Why, for the history.")]


@app.command()
def status(context: typer.Context, *, json: Json = False) -> None:
    """Show the champion, the versions and the last event of the line.

    The champion is the version that consumers should load now. A barred version was rolled back.

    everlearn status

    everlearn status --json | jq .champion
    """
    installation: Installation = context.obj
    registry = installation.known_registry()
    state = registry.state()
    site = installation.site()
    summary = summarize(state)
    site_url = site.url if site.is_running() else None
    facts = formatting.state_facts(state, line=registry.line) | {"site": site_url}
    facts["dashboard"] = installation.dashboard
    rows = [
        ("line", facts["line"]),
        ("champion", summary.champion or "none: the base model serves"),
        ("since", summary.reason),
        ("versions", ", ".join(facts["versions"]) or None),
        ("barred", ", ".join(facts["barred"]) or None),
        ("last event", state.history[-1].sentence if state.history else None),
        ("site", site_url),
        ("dashboard", facts["dashboard"]),
    ]
    print_result(facts, as_json=json, text=table("", "", rows=rows))


@app.command()
def history(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Number of newest events.")] = 20,
    json: Json = False,
) -> None:
    """Show the events of the line, the newest first.

    Each event (published, rejected, rolled back, …) has a time, an actor and a reason. Events are never removed. The cycle
    of a night names it for `show` and `report`, also if it made no version.

        everlearn history --limit 5
    """
    installation: Installation = context.obj
    events = list(reversed(installation.known_registry().state().history))[:limit]
    rows = [
        (event.sequence, formatting.format_time(event.at), formatting.short_cycle(event), event.sentence, event.actor)
        for event in events
    ]
    names = ("#", "when (UTC)", "cycle", "what and why", "who")
    text = table(*names, rows=rows) if events else "nothing has happened yet"
    print_result([formatting.event_facts(event) for event in events], as_json=json, text=text)


@app.command()
def show(
    context: typer.Context,
    version: Ref,
    *,
    provenance: Annotated[bool, typer.Option("--provenance", help="Print its SLSA v1 provenance instead.")] = False,
    bom: Annotated[bool, typer.Option("--bom", help="Print its CycloneDX bill of materials instead.")] = False,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="Print what attacks on its verifier found instead.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a version: its origin, its files, and why it passed the gate; or a night without a version, and why.

    All facts come from signed documents, whose digest and signature are verified first: the manifest of a version, or the
    event that ended the night. Provenance, bill of materials and certificate are JSON documents that the manifest names by
    their digests.

        everlearn show v0001
        everlearn show 3f9c0a71          # a rejected or insufficient night
        everlearn show champion --json | jq .decision
        everlearn show champion --bom > bom.json
    """
    chosen = {"provenance": provenance, "bom": bom, "certificate": certificate}
    kinds = [kind for kind, is_asked in chosen.items() if is_asked]
    if len(kinds) > 1:
        raise BadInputError(
            f"{' and '.join(f'--{kind}' for kind in kinds)} are several documents; ask for one at a time"
        )
    installation: Installation = context.obj
    registry = installation.known_registry()
    entry = find_night(version, registry.state(), line=registry.line)
    if isinstance(entry, Event):
        require_no_documents(entry, asked=bool(kinds))
        print_result(formatting.event_facts(entry), as_json=json, text=formatting.night_table(entry))
        return
    manifest = registry.manifest(entry.version)
    if kinds:
        document = formatting.read_document(registry, entry, manifest, kind=kinds[0])
        print_result(document, as_json=json, text=formatting.indented_json(document))
        return
    code = formatting.read_code(registry, entry, manifest)
    facts = formatting.version_facts(entry, manifest, code=code)
    print_result(facts, as_json=json, text=formatting.version_table(entry, manifest, code=code))


def require_no_documents(night: Event, *, asked: bool) -> None:
    """Raise NotFoundError if a document of a version was asked for of a night without one."""
    if asked:
        raise NotFoundError(f"the night {str(night.cycle_key)[:SHOWN]} made no version, so it has no such document")


@app.command()
def rollback(
    context: typer.Context,
    *,
    reason: Annotated[
        str, typer.Option(callback=check_reason, help="Why, for the history and for the review of that night's data.")
    ],
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="v0001 or base; by default the last good champion.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Do not bar the version that served before.")] = False,
    verify: Verification = "quick",
    wait: Wait = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Roll the champion back to the version before it.

    The target is checked first: signature, base model, not barred, and presence, size and checksum of each object in the
    store. The version that served before is barred: it can be neither champion nor parent any more, and its night's
    data is flagged. Nothing is deleted. `--to base` returns to the base model alone. Needs neither Prefect nor the model.

        everlearn rollback --reason "wrong signs since this morning"
        everlearn rollback --to v0001 --reason "back to the start" --yes --wait 60s
    """
    installation: Installation = context.obj
    registry = installation.known_registry()
    if is_interactive(yes=yes):
        state = registry.state()
        target = to or state.last_good or "the base model"
        end = "" if keep else f" {state.champion} will be barred."
        confirm(f"Roll back {state.champion or 'nothing'}, so that {target} serves?{end if state.champion else ''}")
    done = registry.rollback(to, reason=reason, actor=getpass.getuser(), keep=keep, verify=verify)
    sentences = [done.event.sentence]
    announce(registry, done.event)
    if done.barred:
        sentences.append(f"{done.left} is barred: it can be neither champion nor parent")
    flagged = registry.cached_state.versions[done.left].data_digest
    sentences.append(f"the data of its night, {flagged[:16]}, is flagged for review")
    facts = formatting.event_facts(done.event) | {"flagged": flagged}
    print_change(registry, facts, sentences=sentences, wait=wait, as_json=json)


@app.command()
def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="v0001")],
    *,
    reason: Reason,
    verify: Verification = "quick",
    wait: Wait = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make a published version the champion, after the same checks as a rollback.

    A version that was barred by a rollback is refused until `everlearn unbar`. Promoting the champion changes nothing.

        everlearn promote v0008 --reason "it was the data source, not the version"
    """
    installation: Installation = context.obj
    registry = installation.known_registry()
    before = registry.state()
    if is_interactive(yes=yes):
        confirm(f"Make {version} the champion instead of {before.champion or 'the base model'}?")
    entry = registry.promote(version, reason=reason, actor=getpass.getuser(), verify=verify)
    print_decision(
        registry,
        EventKind.PROMOTED,
        version=entry.version,
        since=before,
        otherwise=f"{entry.version} is the champion already: nothing was changed",
        wait=wait,
        as_json=json,
    )


def print_decision(
    registry: Registry,
    kind: EventKind,
    *,
    version: str,
    since: State,
    otherwise: str,
    more: Sequence[str] = (),
    wait: float | None = None,
    as_json: bool,
) -> None:
    """Announce and print the event of that kind about a version since then, with `more` sentences; `otherwise` without one."""
    events = registry.cached_state.history[since.sequence :]
    new = next((each for each in reversed(events) if each.kind is kind and each.detail["version"] == version), None)
    facts: dict[str, Any] = {}
    if new is not None:
        announce(registry, new)
        facts = formatting.event_facts(new)
    facts |= {"version": version, "changed": new is not None}
    print_change(registry, facts, sentences=[new.sentence, *more] if new else [otherwise], wait=wait, as_json=as_json)


def announce(registry: Registry, event: Event) -> None:
    """Emit to a Prefect server, if one is configured, that the event changed the line, and show the new history there."""
    if not is_configured():
        return
    state, line = registry.cached_state, registry.line
    payload = {"what": event.sentence, "actor": event.actor, "champion": state.champion}
    if emit(CHANGED, line=line, payload=payload):
        from everlearn.reporting.history_table import history_markdown, list_markdown

        show_markdown(
            "history",
            line=line,
            markdown=history_markdown(state, line=line),
            description=f"History of line {line}",
        )
        sentences = read_rollout_status(registry).sentences()
        show_markdown(
            "champion",
            line=line,
            markdown=list_markdown(sentences),
            description=f"The champion of line {line}",
        )


def print_change(
    registry: Registry, facts: dict[str, Any], *, sentences: list[str], wait: float | None = None, as_json: bool
) -> None:
    """Print what has changed and the rollout status, and wait `wait` seconds for consumers, if given."""
    status = read_rollout_status(registry)
    print_result(facts | status.facts(), as_json=as_json, text="\n  ".join([*sentences, *status.sentences()]))
    if wait is not None:
        waiting.wait_for_consumers(registry, timeout_s=wait)


@app.command()
def report(
    context: typer.Context,
    version: Ref,
    *,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; by default in .everlearn/reports.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch the report of a night: of the one that made a version, or of one that was rejected or undecided.

    The report is one HTML page without external resources.

    everlearn report v0001

    everlearn report champion --to night.html

    everlearn report 3f9c0a71
    """
    installation: Installation = context.obj
    registry = installation.known_registry()
    night = find_night(version, registry.state(), line=registry.line)
    name, page = report_of(registry, night)
    path = to or installation.home / "reports" / f"{name}.html"
    write_whole(path, registry.get_object(page))
    made = None if isinstance(night, Event) else night.version
    facts = {"version": made, "cycle_key": night.cycle_key, "report": str(path)}
    print_result(facts, as_json=json, text=str(path))
    print_note("open it in a browser")
    site = installation.site()
    if site.is_running():
        print_note(f"the whole line: {site.url}")


def report_of(registry: Registry, night: VersionEntry | Event) -> tuple[str, ObjectRef]:
    """Return a name for the page, and the report of a night. NotFoundError if it has none."""
    if not isinstance(night, Event):
        page = registry.manifest(night.version).report
        if page is None or night.retired:
            why = "is retired, so its report was removed" if night.retired else "was published without a report"
            raise NotFoundError(f"{night.version} {why}; `everlearn show {night.version}` shows its gate decision")
        return night.version, page
    name, digest = str(night.cycle_key)[:SHOWN], night.detail.get("report")
    if digest is None:
        raise NotFoundError(f"the night {name} has no report; it ended before one was written: {night.sentence}")
    return name, ObjectRef(digest=digest, size=0)  # the event has no size; the bytes are hashed when they are read
