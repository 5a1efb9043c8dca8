"""Follow the champion: one folder for each version, and a symbolic link to the one that serves.

    DIR/v0007/           a delivered version, never written again: a server that has loaded it is not disturbed
    DIR/v0008/
    DIR/current          symbolic link to the champion's folder; absent while the base model serves
    DIR/.followed.json   the last state, so that a restart repeats nothing and an older HEAD is detected

A change is delivered, linked, passed to a command, and acknowledged, in this order. The command runs once for each
change. If it fails, the change is not acknowledged, so that `everlearn replicas` shows the consumer as behind; the next
change, or a restart, runs the command again.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, EverlearnError, IntegrityError
from everlearn.registry.acknowledgements import acknowledge, check_consumer_name
from everlearn.registry.delivery import Receipt
from everlearn.registry.line_state import BASE, version_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Registry

CURRENT, STATE_FILE = "current", ".followed.json"
TERMINATE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedState:
    """The state that a directory has reached; `version` None is the base model.

    `is_announced` is whether the command has succeeded for it; in the file it is called `told`.
    """

    line: str
    version: str | None
    manifest: str | None
    sequence: int
    is_announced: bool

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Return the state of `directory`; None if its file is missing or unreadable."""
        try:
            fields = parse((directory / STATE_FILE).read_bytes(), name=STATE_FILE)
            return cls(is_announced=fields.pop("told"), **fields)
        except (OSError, IntegrityError, TypeError, KeyError):
            return None

    def save(self, directory: Path) -> None:
        """Write the file that `load` reads, atomically."""
        fields = {"line": self.line, "version": self.version, "manifest": self.manifest, "sequence": self.sequence}
        directory.mkdir(parents=True, exist_ok=True)
        draft = directory / f"{STATE_FILE}.draft"
        draft.write_bytes(canonical(fields | {"told": self.is_announced}))
        draft.replace(directory / STATE_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionChange:
    """A new champion: its folder (None for the base model) and the exit code of the command."""

    version: str
    path: Path | None
    exit_code: int


class Follower:
    """Keep directory `to` at the champion of a line.

    `command` runs for each change, `consumer` is the name for acknowledgements (None: no acknowledgements), `now` dates
    them, and `keep` is the number of the newest folders to keep (None: all).

    Raises:
        BadInputError: `to` follows another line, or the program of `command` does not exist.
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
        self._command = split_command(command) if command else []
        self._consumer = check_consumer_name(consumer) if consumer else None
        self._keep = keep
        self._state = FollowedState.load(self._to)
        self._is_verified = False  # the folder was checked by this process
        self._has_run_command = False  # for the present champion, by this process
        self._acknowledged: tuple[str | None, int] | None = None
        if self._state is not None and self._state.line != registry.line:
            raise BadInputError(f"{to} follows line {self._state.line}; choose another directory for {registry.line}")

    def step(self) -> ChampionChange | None:
        """Read the champion once and follow it; return the change, if any. After an error it can be called again."""
        state = self._registry.state()
        check_sequence(state, line=self._registry.line, seen=self._state.sequence if self._state else 0)
        target = self._target(state)
        is_new = self._state is None or self._state.manifest != target.manifest
        if is_new or not self._is_verified:
            self._deliver(target)
        change = None
        if not target.is_announced and not self._has_run_command:
            change = self._run_command(target)
        has_succeeded = change is not None and change.exit_code == 0
        self._save(replace(target, is_announced=target.is_announced or has_succeeded))
        self._acknowledge()
        return change

    def _target(self, state: State) -> FollowedState:
        """Return the state to reach; it is announced already if the command has succeeded for this manifest before."""
        previous, version = self._state, state.champion
        manifest = state.versions[version].manifest if version else None
        # A consumer that has just started serves the base model, so a missing champion needs no announcement.
        is_base = previous is None and version is None
        was_announced = previous is not None and previous.is_announced and previous.manifest == manifest
        return FollowedState(
            line=self._registry.line,
            version=version,
            manifest=manifest,
            sequence=state.sequence,
            is_announced=is_base or was_announced,
        )

    def _deliver(self, target: FollowedState) -> None:
        """Deliver the whole folder first, then switch the link atomically."""
        link = self._to / CURRENT
        if link.exists() and not link.is_symlink():
            raise BadInputError(f"{link} is not a symbolic link of a follower; choose another directory")
        if target.version is None:
            link.unlink(missing_ok=True)
        else:
            self._registry.pull(target.version, to=self._to / target.version)
            draft = self._to / f".{CURRENT}"
            draft.unlink(missing_ok=True)
            draft.symlink_to(target.version)
            draft.replace(link)
        self._is_verified, self._has_run_command = True, False

    def _run_command(self, target: FollowedState) -> ChampionChange:
        path = self._to / target.version if target.version else None
        version = target.version or BASE
        variables = {"EVERLEARN_VERSION": version, "EVERLEARN_PATH": str(path or "")}
        exit_code = run_command(self._command, environ=variables) if self._command else 0
        self._has_run_command = True
        return ChampionChange(version=version, path=path, exit_code=exit_code)

    def _save(self, state: FollowedState) -> None:
        self._state = state
        state.save(self._to)
        if state.is_announced and self._keep is not None:
            prune(self._to, keep=self._keep, serving=state.version)

    def _acknowledge(self) -> None:
        """Acknowledge each champion and each newer event once; nothing before the command has succeeded."""
        state = self._state
        if self._consumer is None or state is None or not state.is_announced:
            return
        if self._acknowledged == (state.manifest, state.sequence):
            return
        at = self._now()
        acknowledge(self._registry, consumer=self._consumer, version=state.version, sequence=state.sequence, at=at)
        self._acknowledged = (state.manifest, state.sequence)


def check_sequence(state: State, *, line: str, seen: int) -> None:
    """Raise IntegrityError if HEAD is older than the one with `seen` events that was followed before."""
    if state.sequence < seen:
        raise IntegrityError(
            f"{line}/HEAD has {state.sequence} events, but {seen} were seen before: "
            "an older HEAD was restored; run `everlearn fsck`"
        )


def prune(directory: Path, *, keep: int, serving: str | None) -> None:
    """Delete the folders of all versions but the newest `keep`, and never the one that serves."""
    folders = {
        number: path
        for path in directory.iterdir()
        if (number := version_number(path.name)) is not None and Receipt.of(path)
    }
    for _, path in sorted(folders.items())[: max(0, len(folders) - keep)]:
        if path.name != serving:
            shutil.rmtree(path)


def split_command(command: str) -> list[str]:
    """Split a command into words, without a shell. BadInputError if the program does not exist."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInputError(f"--exec {command!r}: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise BadInputError(f"--exec {command!r}: there is no such program here; give its path")
    return words


def run_command(words: list[str], *, environ: Mapping[str, str]) -> int:
    """Run a command and return its exit code; its output goes to stderr. It is terminated if we are interrupted."""
    process = subprocess.Popen(words, env=os.environ | dict(environ), stdout=2)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(TERMINATE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def follow(
    step: Callable[[], ChampionChange | None],
    *,
    pause: Callable[[], None],
    report: Callable[[ChampionChange | str], None],
) -> None:
    """Call `step` and `pause` in an endless loop; report each change, and each error once until it is gone.

    Raises:
        BadInputError: A fault that waiting does not cure. Exceptions that are no EverlearnError, such as
            KeyboardInterrupt, end the loop, too.
    """
    last_error = ""
    while True:
        try:
            change = step()
        except BadInputError:
            raise
        except EverlearnError as error:
            if str(error) != last_error:
                report(f"{error} (waiting; the delivered version stays in place)")
            last_error = str(error)
        else:
            if last_error:
                report("the error is gone; following the champion again")
            last_error = ""
            if change is not None:
                report(change)
        pause()
