"""What consumers will see after the champion has changed: what a pull gives them, and what each serves now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.errors import StoreError
from everlearn.registry.acknowledgements import replicas

if TYPE_CHECKING:
    from everlearn.registry.acknowledgements import Replica
    from everlearn.registry.versions import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """`version` None is the base model alone. `unknown` says why what consumers serve could not be read."""

    version: str | None
    manifest: str | None
    files: dict[str, int]
    consumers: tuple[Replica, ...]
    unknown: str | None = None

    def facts(self) -> dict[str, Any]:
        """For programs."""
        said = [{"consumer": each.consumer, "version": each.serves, "behind": each.behind} for each in self.consumers]
        given = {"version": self.version, "manifest": self.manifest, "files": self.files}
        return {"consumers_get": given, "consumers": said}

    def sentences(self) -> list[str]:
        """For people."""
        if self.manifest is None:
            told = ["from now on a pull of the champion is refused: the base model alone serves"]
        else:
            what = f"manifest {self.manifest[:12]}, {len(self.files)} files, {sum(self.files.values()):,} bytes"
            told = [f"from now on a pull of the champion gives {self.version} ({what})"]
        for each in self.consumers:
            late = " and has not followed yet" if each.behind else ""
            serves = each.serves or ("the base model" if each.acknowledged else "what cannot be read")
            told.append(f"{each.consumer} serves {serves}{late}")
        if self.unknown:
            told.append(f"what consumers serve cannot be read: {self.unknown}")
        return told


def outlook(registry: Registry) -> Outlook:
    """How things are since `registry` last looked. Consumers that cannot be listed are no error: what is done is done."""
    state = registry.cached_state
    files, manifest = {}, None
    if state.champion:
        manifest = state.versions[state.champion].manifest
        files = {name: ref.size for name, ref in registry.manifest(state.champion).files.items()}
    try:
        consumers, unknown = replicas(registry, state=state), None
    except StoreError as error:
        consumers, unknown = (), str(error)
    return Outlook(version=state.champion, manifest=manifest, files=files, consumers=consumers, unknown=unknown)
