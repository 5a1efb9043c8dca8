"""Pages of a line's site, by path, as bytes.

index.html             champion, last night, timeline, forgetting, cost, newest events
history/<number>.html  all events, 100 per page, the oldest on page 1: a page keeps its number
nights/<name>.html     one night: gate, ladder as a tree, cost, later events of its version
reports/<name>.html    the report stored with the night, byte for byte
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn.errors import BadInputError, IntegrityError, NotFoundError
from everlearn.registry.delivery import swap
from everlearn.registry.versions import EventKind
from everlearn.reporting.report import render
from everlearn.reporting.site.overview import overview
from everlearn.reporting.site.read_model import NIGHT_EVENTS, LineReader, page_name
from everlearn.reporting.templating import template

if TYPE_CHECKING:
    from everlearn.registry.events import Event
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry
    from everlearn.reporting.site.read_model import LineSnapshot, NightView

EVENTS_PER_PAGE = 100
EVENTS_ON_FIRST_PAGE = 30
MARK = ".everlearn-site"  # marks a directory that a build may replace


class Site:
    """The pages of one line. Only the newest `nights` nights have a page; None: all."""

    def __init__(self, registry: Registry, *, nights: int | None = None) -> None:
        self.reader = LineReader(registry)
        self._max_nights = nights

    def page(self, path: str, *, snapshot: LineSnapshot) -> bytes | None:
        """Return the bytes of a page, or None if it does not exist. Raises StoreDownError if the store does not respond."""
        if path == "index.html":
            return self._index(snapshot)
        match = re.fullmatch(r"(history|nights|reports)/([0-9a-f]{1,12})\.html", path)
        if match is None:
            return None
        folder, name = match.groups()
        if folder == "history":
            return self._history(snapshot, int(name) if name.isdecimal() else 0)
        event = next((event for event in self._nights(snapshot.state) if page_name(event) == name), None)
        if event is None:
            return None
        night = self.reader.nights([event])[0]
        return self._night(night, snapshot) if folder == "nights" else self._report(night)

    def paths(self, snapshot: LineSnapshot) -> list[str]:
        """Return the paths of all pages."""
        nights = self.reader.nights(self._nights(snapshot.state))
        return [
            "index.html",
            *(f"history/{number}.html" for number in range(1, pages_of(snapshot.state) + 1)),
            *(f"nights/{night.name}.html" for night in nights),
            *(f"reports/{night.name}.html" for night in nights if self.reader.has_report(night)),
        ]

    def build(self, out: Path) -> list[str]:
        """Write all pages to `out`, replaced as a whole, and return their paths.

        Raises BadInputError for a directory that is not a site.
        """
        _check(out)
        snapshot = self.reader.snapshot()
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
            fresh = Path(folder) / "fresh"
            fresh.mkdir()
            (fresh / MARK).write_text(snapshot.fingerprint, encoding="utf-8")
            written = [
                path for path in self.paths(snapshot) if _write(fresh / path, self.page(path, snapshot=snapshot))
            ]
            swap(fresh, out)
        return written

    def _nights(self, state: State) -> list[Event]:
        """Return the events of the nights that have a page, newest first."""
        return [event for event in reversed(state.history) if event.kind in NIGHT_EVENTS][: self._max_nights]

    def _event_rows(self, events: list[Event], state: State) -> list[dict[str, Any]]:
        """Return events as template rows, newest first, with the name of their night's page, if any."""
        with_page = {event.digest for event in self._nights(state)}
        return [
            {
                "event": event,
                "subject": subject(event),
                "night": page_name(event) if event.digest in with_page else None,
            }
            for event in reversed(events)
        ]

    def _index(self, snapshot: LineSnapshot) -> bytes:
        rows = self._event_rows(list(snapshot.state.history[-EVENTS_ON_FIRST_PAGE:]), snapshot.state)
        more = pages_of(snapshot.state) if snapshot.state.sequence > EVENTS_ON_FIRST_PAGE else 0
        context = overview(snapshot, self.reader)
        return _page("line.html.j2", line=snapshot.line, up="", rows=rows, more=more, **context)

    def _history(self, snapshot: LineSnapshot, number: int) -> bytes | None:
        if not 1 <= number <= pages_of(snapshot.state):
            return None
        events = list(snapshot.state.history[(number - 1) * EVENTS_PER_PAGE : number * EVENTS_PER_PAGE])
        rows, last = self._event_rows(events, snapshot.state), pages_of(snapshot.state)
        return _page("history.html.j2", line=snapshot.line, up="../", rows=rows, number=number, last=last)

    def _night(self, night: NightView, snapshot: LineSnapshot) -> bytes:
        record, missing = self.reader.record(night)
        after = [event for event in snapshot.state.history[night.event.sequence :] if night.version in _versions(event)]
        site = {"name": night.name, "report": self.reader.has_report(night), "event": night.event}
        site["stored"] = record != self.reader.summary(night)  # else its counts are unknown, not 0
        return render(record, site=site | {"missing": missing, "after": after if night.version else []}).encode()

    def _report(self, night: NightView) -> bytes | None:
        try:
            return self.reader.report(night)
        except (NotFoundError, IntegrityError):
            return None


def pages_of(state: State) -> int:
    """Return the number of history pages."""
    return -(-state.sequence // EVENTS_PER_PAGE)


def subject(event: Event) -> str:
    """Return the version that an event is about, or `from → to` for a rollback."""
    detail = event.detail
    if event.kind is EventKind.ROLLED_BACK:
        return f"{detail['from']} → {detail['to'] or 'the base model'}"
    return ", ".join(_versions(event))


def error_page(reason: str, *, title: str = "The line cannot be shown") -> bytes:
    """Return a page that explains why the requested page is not available."""
    return _page("error.html.j2", title=title, reason=reason)


def _versions(event: Event) -> list[str]:
    """Return the versions that an event names."""
    detail = event.detail
    return [name for name in (detail.get("version"), detail.get("from"), *detail.get("versions", ())) if name]


def _page(name: str, **context: Any) -> bytes:
    return template(name).render(site=True, **context).encode()


def _write(path: Path, data: bytes | None) -> bool:
    if data is None:
        return False
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return True


def _check(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise BadInputError(f"{out} is not a directory; choose a new directory or one that an earlier build wrote")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise BadInputError(f"{out} contains files that are not a site; choose another directory")
