"""Load each new champion of a line, for an endpoint that follows promotions and rollbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.registry.acknowledgements import acknowledge, check_consumer_name
from everlearn.registry.line_state import BASE
from everlearn.serving.follow import check_sequence

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from everlearn.serving.served_version import ServedVersion

    Load = Callable[[str, Path | None, str | None], ServedVersion]
    """Maps a version, the folder of its adapter and the digest of its manifest to the loaded version."""


class ChampionLoader:
    """Deliver champions below `folder` and load them by `load`. `consumer` is the name for acknowledgements; None: none."""

    def __init__(
        self,
        registry: Registry,
        *,
        folder: Path,
        load: Load,
        now: Callable[[], datetime],
        consumer: str | None = None,
    ) -> None:
        self._registry, self._folder, self._load, self._now = registry, folder, load, now
        self._consumer = check_consumer_name(consumer) if consumer else None
        self._loaded: tuple[str, str | None] | None = None
        self._sequence = self._acknowledged = 0

    def step(self, use: Callable[[ServedVersion], None]) -> ServedVersion | None:
        """Read the champion once. If it is another one, load it, pass it to `use`, acknowledge it, and return it.

        Raises:
            IntegrityError: HEAD is older than the one read before, or the version is damaged.
            ModelError: the version cannot be loaded. What was loaded before stays.
        """
        state = self._registry.state()
        check_sequence(state, line=self._registry.line, seen=self._sequence)
        self._sequence = state.sequence
        version = state.champion or BASE
        manifest = state.versions[version].manifest if state.champion else None
        served = None
        if (version, manifest) != self._loaded:
            adapter = self._registry.pull(version, to=self._folder / version) if state.champion else None
            served = self._load(version, adapter, manifest)
            use(served)
            self._loaded = version, manifest
        if self._consumer and self._acknowledged != state.sequence:
            at = self._now()
            acknowledge(self._registry, consumer=self._consumer, version=state.champion, sequence=state.sequence, at=at)
            self._acknowledged = state.sequence
        return served
