"""Compare the registry with a simple model under random sequences of operations."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from everlearn.canonical_json import digest_of
from everlearn.errors import EverlearnError
from everlearn.registry import event_log
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.gc import collect
from everlearn.registry.publisher_heartbeat import LIFETIME
from everlearn.registry.versions import BASE, EventKind, Registry
from everlearn.settings import RetentionSettings
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, VERIFIER, WHEN, adapter, candidate, open_line

if TYPE_CHECKING:
    from datetime import datetime

RETENTION = RetentionSettings(versions=1)
YOUNG = timedelta(hours=RETENTION.minimum_age_hours)
NIGHTS = st.sampled_from([f"night {number}" for number in range(3)])
CHOICES = st.integers(min_value=0, max_value=7)  # index of a version, modulo their number plus one that does not exist
ENDS = st.sampled_from([EventKind.REJECTED, EventKind.INSUFFICIENT])


@dataclass
class Version:
    """A version in the model."""

    night: str
    at: datetime
    parent: str | None
    barred: bool = False
    retired: bool = False
    was_champion: bool = False
    flagged: bool = False


@dataclass
class Model:
    """A model of a line without store, events or digests."""

    versions: dict[str, Version] = field(default_factory=dict)
    champions: list[str | None] = field(default_factory=lambda: [None])
    ends: dict[str, EventKind] = field(default_factory=dict)
    history: list[EventKind] = field(default_factory=list)
    uploads: dict[str, datetime] = field(default_factory=dict)
    claims: list[datetime] = field(default_factory=list)

    @property
    def champion(self) -> str | None:
        return self.champions[-1]

    def usable(self, name: str | None) -> bool:
        """Whether a night could begin at the version."""
        return name in self.versions and not (self.versions[name].barred or self.versions[name].retired)

    def promotable(self, name: str | None) -> bool:
        """Whether the version could be champion."""
        if name not in self.versions or not self.usable(name):
            return False
        version = self.versions[name]
        return version.was_champion or version.parent is None or not self.versions[version.parent].barred

    def upload(self, night: str, now: datetime) -> None:
        if night not in self.uploads or self.uploads[night] < now - LIFETIME:
            self.uploads[night] = now

    def publishes(self, night: str, parent: str | None, *, champion: bool) -> bool | None:
        """Return whether this may be published; None if it already was."""
        if night in self.ends:
            return None if self.ends[night] is EventKind.PUBLISHED else False
        if parent is not None and not self.usable(parent):
            return False
        return not champion or parent == self.champion

    def publish(self, night: str, now: datetime, *, parent: str | None, champion: bool) -> None:
        name = f"v{len(self.versions) + 1:04d}"
        self.versions[name] = Version(night, now, parent)
        self.ends[night] = EventKind.PUBLISHED
        self.history.append(EventKind.PUBLISHED)
        if champion:
            self.crown(name)

    def crown(self, name: str | None) -> None:
        self.champions.append(name)
        if name is not None:
            self.versions[name].was_champion = True

    def target(self, to: str | None) -> tuple[bool, str | None]:
        """Return whether a rollback to this target is allowed, and the resulting champion."""
        if self.champion is None:
            return False, None
        if to is None:
            fit = [each for each in self.champions if each is None or self.usable(each)]
            to = [each for each in fit if each != self.champion][-1] or BASE
        if to == BASE:
            return True, None
        return to != self.champion and self.promotable(to), to

    def roll_back(self, to: str | None, *, keep: bool) -> None:
        left = self.champions.pop()
        assert left is not None
        self.versions[left].barred = not keep
        self.versions[left].flagged = True
        if to in self.champions:
            last = len(self.champions) - 1 - self.champions[::-1].index(to)
            del self.champions[last:]
        self.crown(to)
        self.history.append(EventKind.ROLLED_BACK)

    def collect(self, now: datetime) -> None:
        old = [each for each in [*self.versions.values()][: -RETENTION.versions] if each.at < now - YOUNG]
        retiring = [each for each in old if not (each.retired or each.was_champion)]
        for each in retiring:
            each.retired = True
        if retiring:
            self.history.append(EventKind.RETIRED)
        needed = {each.night for each in self.versions.values() if not each.retired}
        self.uploads = {night: at for night, at in self.uploads.items() if night in needed or at >= now - YOUNG}


class Line(RuleBasedStateMachine):
    """Operations on one line by two users: one opens it anew each time, the other keeps it open."""

    @initialize()
    def begin(self) -> None:
        self.now = WHEN
        self.model = Model()
        self.seen: set[str] = set()
        self.looked_at = 0
        self.store = MemoryStore(lambda: self.now)
        self.steady = open_line(self.store)
        self.directory = Path(tempfile.mkdtemp())

    def teardown(self) -> None:
        assert fsck(self.store, LINE, verifier=VERIFIER).is_clean or not self.model.history
        shutil.rmtree(self.directory)

    def open(self, *, anew: bool) -> Registry:
        return open_line(self.store) if anew else self.steady

    def named(self, choice: int) -> str:
        """Return the name of a version, or of the next one, which does not exist."""
        return f"v{choice % (len(self.model.versions) + 1) + 1:04d}"

    @rule(night=NIGHTS, choice=CHOICES, fits=st.booleans(), champion=st.booleans())
    def publish(self, night: str, choice: int, *, fits: bool, champion: bool) -> None:
        parent = self.model.champion if fits else self.named(choice)
        line = open_line(self.store)  # each publisher has its own heartbeat
        manifest = candidate(line, night, parent=parent)
        self.model.upload(night, self.now)
        allowed = self.model.publishes(night, parent, champion=champion)
        if allowed is False:
            self.model.claims.append(self.now + LIFETIME)
            with pytest.raises(EverlearnError):
                line.publish(manifest, make_champion=champion, actor="night", reason="r")
            return
        entry = line.publish(manifest, make_champion=champion, actor="night", reason="r")
        if allowed:
            self.model.publish(night, self.now, parent=parent, champion=champion)
        assert self.model.versions[entry.version].night == night

    @rule(anew=st.booleans())
    def publish_the_next(self, *, anew: bool) -> None:
        """Publish a champion, the most common operation."""
        line, night = self.open(anew=anew), f"good {len(self.model.versions)}"
        parent = self.model.champion
        line.publish(candidate(line, night, parent=parent), make_champion=True, actor="night", reason="r")
        self.model.upload(night, self.now)
        self.model.publish(night, self.now, parent=parent, champion=True)

    @rule(night=NIGHTS)
    def upload(self, night: str) -> None:
        """Upload without publishing, as a process that was killed."""
        candidate(open_line(self.store), night)
        self.model.upload(night, self.now)
        self.model.claims.append(self.now + LIFETIME)

    @rule(choice=CHOICES, anew=st.booleans())
    def promote_what_can_be(self, choice: int, *, anew: bool) -> None:
        fit = [name for name in self.model.versions if self.model.promotable(name)]
        if fit:
            self._promote(fit[choice % len(fit)], anew=anew)

    @rule(keep=st.booleans(), anew=st.booleans())
    def roll_back_by_default(self, *, keep: bool, anew: bool) -> None:
        self._roll_back(None, keep=keep, anew=anew)

    @rule(night=NIGHTS, kind=ENDS, anew=st.booleans())
    def end(self, night: str, kind: EventKind, *, anew: bool) -> None:
        line = self.open(anew=anew)
        if self.model.ends.get(night, kind) is not kind:
            with pytest.raises(EverlearnError, match="ended as"):
                line.record(kind, cycle_key=key_of(night), reason="r", actor="night", detail={})
            return
        line.record(kind, cycle_key=key_of(night), reason="r", actor="night", detail={})
        if night not in self.model.ends:
            self.model.ends[night] = kind
            self.model.history.append(kind)

    @rule(choice=CHOICES, anew=st.booleans())
    def promote(self, choice: int, *, anew: bool) -> None:
        self._promote(self.named(choice), anew=anew)

    def _promote(self, name: str, *, anew: bool) -> None:
        if not self.model.promotable(name):
            with pytest.raises(EverlearnError):
                self.open(anew=anew).promote(name, reason="r", actor="ada")
            return
        assert self.open(anew=anew).promote(name, reason="r", actor="ada").version == name
        if name != self.model.champion:
            self.model.crown(name)
            self.model.history.append(EventKind.PROMOTED)

    @rule(choice=CHOICES, anew=st.booleans())
    def unbar(self, choice: int, *, anew: bool) -> None:
        name = self.named(choice)
        if name not in self.model.versions or (self.model.versions[name].barred and self.model.versions[name].retired):
            with pytest.raises(EverlearnError):
                self.open(anew=anew).unbar(name, reason="r", actor="ada")
            return
        assert not self.open(anew=anew).unbar(name, reason="r", actor="ada").barred
        version = self.model.versions[name]
        if version.barred or version.flagged:
            version.barred = version.flagged = False
            self.model.history.append(EventKind.UNBARRED)

    @rule(to=st.one_of(st.sampled_from([None, BASE]), CHOICES), keep=st.booleans(), anew=st.booleans())
    def roll_back(self, to: str | int | None, *, keep: bool, anew: bool) -> None:
        self._roll_back(self.named(to) if isinstance(to, int) else to, keep=keep, anew=anew)

    def _roll_back(self, named: str | None, *, keep: bool, anew: bool) -> None:
        allowed, target = self.model.target(named)
        if not allowed:
            with pytest.raises(EverlearnError):
                self.open(anew=anew).rollback(named, reason="r", actor="ada", keep=keep)
            return
        left = self.model.champion
        done = self.open(anew=anew).rollback(named, reason="r", actor="ada", keep=keep)
        assert (done.left, done.to, done.barred) == (left, target, not keep)
        self.model.roll_back(target, keep=keep)

    @rule(hours=st.sampled_from([0.1, 1, 13, 30]))
    def wait(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    @rule(anew=st.booleans())
    def gc(self, *, anew: bool) -> None:
        if any(until > self.now for until in self.model.claims):
            with pytest.raises(EverlearnError, match="a publication is running"):
                collect(self.open(anew=anew), RETENTION, actor="ada", wait=self.pass_time)
            return
        self.model.collect(self.now)
        collect(self.open(anew=anew), RETENTION, actor="ada", wait=self.pass_time)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(choice=st.one_of(st.none(), CHOICES), place=st.sampled_from("ab"), anew=st.booleans())
    def pull(self, choice: int | None, place: str, *, anew: bool) -> None:
        ref = "champion" if choice is None else self.named(choice)
        name = self.model.champion if choice is None else ref
        to = self.directory / place
        if name not in self.model.versions or self.model.versions[name].retired:
            before = sorted(to.iterdir()) if to.exists() else None
            with pytest.raises(EverlearnError):
                self.open(anew=anew).pull(ref, to=to)
            assert before == (sorted(to.iterdir()) if to.exists() else None)
            return
        self.open(anew=anew).pull(ref, to=to)
        assert (to / "adapter_model.safetensors").read_bytes() == adapter(self.model.versions[name].night)

    @invariant()
    def both_say_the_same(self) -> None:
        versions = self.model.versions
        is_news, self.looked_at = len(self.model.history) != self.looked_at, len(self.model.history)
        for line in (open_line(self.store), self.steady) if is_news else (self.steady,):
            state = line.state()
            assert state.champion == self.model.champion
            assert state.champions == tuple(self.model.champions)
            assert self.model.champion is None or state.last_good == self.model.target(None)[1]
            assert [event.kind for event in state.history] == self.model.history
            assert list(state.versions) == list(versions)
            assert state.barred == tuple(name for name, each in versions.items() if each.barred)
            assert [name for name in versions if state.versions[name].retired] == [
                n for n in versions if versions[n].retired
            ]
            assert set(state.ever_champion) == {name for name, each in versions.items() if each.was_champion}

    @invariant()
    def what_is_needed_is_there_and_what_was_collected_is_gone(self) -> None:
        held = {info.key: info.modified for info in self.store.list(f"{LINE}/objects/")}
        for night in self.seen | {*self.model.uploads}:
            assert held.get(object_key(LINE, digest_of(adapter(night)))) == self.model.uploads.get(night)
        self.seen |= {*self.model.uploads}


def key_of(night: str) -> str:
    return digest_of(f"cycle {night}".encode())


@pytest.fixture(autouse=True)
def _snapshot_at_every_third_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 3)


def test_registry_agrees_with_its_model() -> None:
    chosen = settings(max_examples=40, stateful_step_count=40, deadline=None, derandomize=True)
    run_state_machine_as_test(Line, settings=chosen)
