"""Rollout status after a change of the champion: what a pull delivers, and what each consumer serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.errors import StoreError
from everlearn.registry.acknowledgements import replicas

if TYPE_CHECKING:
    from everlearn.registry.acknowledgements import Replica
    from everlearn.registry.versions import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatus:
    """The champion and its consumers.

    `version` and `manifest` are None while the base model serves; `files` maps names to bytes; `error` is the reason
    why the consumers could not be read.
    """

    version: str | None
    manifest: str | None
    files: dict[str, int]
    consumers: tuple[Replica, ...]
    error: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return the status as JSON."""
        consumers = [
            {"consumer": each.consumer, "version": each.serves, "behind": each.behind} for each in self.consumers
        ]
        delivered = {"version": self.version, "manifest": self.manifest, "files": self.files}
        return {"consumers_get": delivered, "consumers": consumers}

    def sentences(self) -> list[str]:
        """Return the status in sentences, the champion first."""
        if self.manifest is None:
            sentences = ["a pull of the champion is now refused: the base model serves"]
        else:
            size = f"manifest {self.manifest[:12]}, {len(self.files)} files, {sum(self.files.values()):,} bytes"
            sentences = [f"a pull of the champion now delivers {self.version} ({size})"]
        for each in self.consumers:
            behind = " and has not followed yet" if each.behind else ""
            serves = each.serves or ("the base model" if each.acknowledged else "an unknown version")
            sentences.append(f"{each.consumer} serves {serves}{behind}")
        if self.error:
            sentences.append(f"the consumers cannot be read: {self.error}")
        return sentences


def read_rollout_status(registry: Registry) -> RolloutStatus:
    """Return the status for the last state that `registry` read; a store error is part of the status.

    The change of the champion has been made by now, so an error of the listing must not look like its failure.
    """
    state = registry.cached_state
    files, manifest = {}, None
    if state.champion:
        manifest = state.versions[state.champion].manifest
        files = {name: ref.size for name, ref in registry.manifest(state.champion).files.items()}
    try:
        consumers, error = replicas(registry, state=state), None
    except StoreError as raised:
        consumers, error = (), str(raised)
    return RolloutStatus(version=state.champion, manifest=manifest, files=files, consumers=consumers, error=error)
