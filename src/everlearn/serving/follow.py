"""Following the champion: a folder for each version, beside each other, and a link to the one that serves.

    DIR/v0007/           delivered whole, never written again: a server that has loaded it goes on undisturbed
    DIR/v0008/
    DIR/current          symbolic link to the champion's folder; gone while the base model alone serves
    DIR/.followed.json   what was followed last: a restart does nothing twice, and believes no older HEAD

A change is delivered, then linked, then told to a command, then acknowledged. The command runs once a change. If it
fails, the change is not acknowledged, so that `everlearn replicas` shows the consumer as behind; the next change, or a
restart of the watch, runs it again.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, EverlearnError, IntegrityError
from everlearn.registry.acknowledgements import acknowledge, check_consumer_name
from everlearn.registry.delivery import Receipt
from everlearn.registry.line_state import BASE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry

CURRENT, MEMORY = "current", ".followed.json"
GRACE_S = 10.0
_FOLDER = re.compile(r"v\d{4,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What a directory follows. `version` None is the base model alone; `told` is whether the command knows of it."""

    line: str
    version: str | None
    manifest: str | None
    sequence: int
    told: bool

    @classmethod
    def of(cls, directory: Path) -> Self | None:
        """What was remembered in `directory`; None where it is nothing that can be read."""
        try:
            return cls(**parse((directory / MEMORY).read_bytes(), name=MEMORY))
        except (OSError, IntegrityError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionChange:
    """Another champion serves. `path` is its folder, None for the base model; `exit` how the command ended."""

    version: str
    path: Path | None
    exit: int


class Follower:
    """Keeps directory `to` at the champion, one `step` at a time, and acknowledges for `consumer` if it has a name.

    `now` dates the acknowledgements. Of the folders the newest `keep` stay, or all. Raises BadInputError when `to`
    follows another line, or the command is none.
    """

    def __init__(
        self,
        registry: Registry,
        to: Path,
        *,
        now: Callable[[], datetime],
        command: str | None = None,
        consumer: str | None = None,
        keep: int | None = None,
    ) -> None:
        self._registry = registry
        self._to = to.absolute()
        self._now = now
        self._command = split(command) if command else []
        self._consumer = check_consumer_name(consumer) if consumer else None
        self._keep = keep
        self._followed = Followed.of(self._to)
        self._is_verified = False
        self._is_tried = False
        self._said: tuple[str | None, int] | None = None
        if self._followed is not None and self._followed.line != registry.line:
            raise BadInputError(f"{to} follows line {self._followed.line}; choose another one for {registry.line}")

    def step(self) -> ChampionChange | None:
        """Look once, and follow if there is something to follow; None if not. After an error it may be tried again."""
        state = self._registry.state()
        self._check_age(state)
        wanted = self._wanted(state)
        is_new = self._followed is None or self._followed.manifest != wanted.manifest
        if is_new or not self._is_verified:
            self._deliver(wanted)
        change = None
        if not wanted.told and not self._is_tried:
            change = self._tell(wanted)
        self._remember(wanted, told=wanted.told or (change is not None and change.exit == 0))
        self._acknowledge()
        return change

    def _wanted(self, state: State) -> Followed:
        """What should be followed; `told` if nobody has to be told any more."""
        before, version = self._followed, state.champion
        manifest = state.versions[version].manifest if version else None
        # Who has just begun serves the base model anyway.
        told = version is None if before is None else before.told and before.manifest == manifest
        return Followed(
            line=self._registry.line, version=version, manifest=manifest, sequence=state.sequence, told=told
        )

    def _check_age(self, state: State) -> None:
        seen = self._followed.sequence if self._followed else 0
        if state.sequence < seen:
            raise IntegrityError(
                f"{self._registry.line}/HEAD is older than it must be: {state.sequence} events, but {seen} were there "
                "before; somebody has put an old one back: run `everlearn fsck`"
            )

    def _deliver(self, wanted: Followed) -> None:
        """The folder, whole; then the link, in one move."""
        link = self._to / CURRENT
        if link.exists() and not link.is_symlink():
            raise BadInputError(f"{link} is no link that a watch has made; choose another directory")
        if wanted.version is None:
            link.unlink(missing_ok=True)
        else:
            self._registry.pull(wanted.version, to=self._to / wanted.version)
            draft = self._to / f".{CURRENT}"
            draft.unlink(missing_ok=True)
            draft.symlink_to(wanted.version)
            draft.replace(link)
        self._is_verified, self._is_tried = True, False

    def _tell(self, wanted: Followed) -> ChampionChange:
        """Run the command, if there is one."""
        path = self._to / wanted.version if wanted.version else None
        version = wanted.version or BASE
        told = {"EVERLEARN_VERSION": version, "EVERLEARN_PATH": str(path or "")}
        code = run(self._command, environ=told) if self._command else 0
        self._is_tried = True
        return ChampionChange(version=version, path=path, exit=code)

    def _remember(self, wanted: Followed, *, told: bool) -> None:
        self._followed = replace(wanted, told=told)
        self._to.mkdir(parents=True, exist_ok=True)
        draft = self._to / f"{MEMORY}.draft"
        draft.write_bytes(canonical(asdict(self._followed)))
        draft.replace(self._to / MEMORY)
        if told and self._keep is not None:
            prune(self._to, keep=self._keep, serving=wanted.version)

    def _acknowledge(self) -> None:
        """Once for each champion and each newer event; nothing while the command has not taken it up."""
        now = self._followed
        if now is None or not now.told or self._consumer is None or self._said == (now.manifest, now.sequence):
            return
        acknowledge(self._registry, consumer=self._consumer, version=now.version, sequence=now.sequence, at=self._now())
        self._said = (now.manifest, now.sequence)


def prune(directory: Path, *, keep: int, serving: str | None) -> None:
    """Remove the folders of all but the newest `keep` versions, and never the one that serves."""
    folders = [path for path in directory.iterdir() if _FOLDER.fullmatch(path.name) and Receipt.of(path)]
    oldest_first = sorted(folders, key=lambda path: int(path.name[1:]))
    for path in oldest_first[: max(0, len(folders) - keep)]:
        if path.name != serving:
            shutil.rmtree(path)


def split(command: str) -> list[str]:
    """The words of a command, without a shell. BadInputError if there is no such program."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInputError(f"--exec {command!r}: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise BadInputError(f"--exec {command!r}: there is no such program here; give its path")
    return words


def run(words: list[str], *, environ: Mapping[str, str]) -> int:
    """Run a command to its end, its output on our standard error. When we are stopped, it is, too."""
    process = subprocess.Popen(words, env=os.environ | dict(environ), stdout=2)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def follow(
    step: Callable[[], ChampionChange | None], *, pause: Callable[[], None], say: Callable[[ChampionChange | str], None]
) -> None:
    """Step for ever, with a pause between; what cannot be done now is said once, and tried again.

    Ends only by an exception that is no EverlearnError, such as the one with which a signal is answered, or by a
    BadInputError, which no waiting heals.
    """
    trouble = ""
    while True:
        try:
            change = step()
        except BadInputError:
            raise
        except EverlearnError as error:
            if str(error) != trouble:
                say(f"{error} (waiting; what was delivered last stays in place)")
            trouble = str(error)
        else:
            if trouble:
                say("going on")
            trouble = ""
            if change is not None:
                say(change)
        pause()
