"""Source of the base model: a folder, or a model of the Hugging Face hub pinned to a commit. Imports no torch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from everlearn.settings import ModelSettings, Settings

LOG = logging.getLogger("everlearn.night")


def base_directory(settings: Settings, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """Return the folder with the files of the base model, after downloading what the cache lacks.

    `progress` is called with the megabytes that are there, and those of all files.

    Raises:
        ModelError: the model or its revision does not exist, access was refused, or the hub cannot be reached.
    """
    base = settings.base
    if base.model is None:
        return settings.base_directory
    from everlearn.training.models.hub_download import download, find_commit  # 0.3 s

    return download(base.model, base.commit or find_commit(base.model, base.revision), progress=progress)


def pin_base(settings: Settings, registry: Registry | None) -> Settings:
    """Return the settings with the commit of the base model: that of the line's versions, else of its revision today.

    Without a registry, the versions are unknown.

    Raises:
        ModelError: as `base_directory`.
    """
    base = settings.base
    if base.model is None or base.commit is not None:
        return settings
    commit = _commit_of_line(base, registry)
    if commit is None:
        from everlearn.training.models.hub_download import find_commit

        commit = find_commit(base.model, base.revision)
        LOG.info("base model %s: %s is commit %s", base.model, base.revision, commit)
    return settings.model_copy(update={"base": base.model_copy(update={"commit": commit})})


def _commit_of_line(base: ModelSettings, registry: Registry | None) -> str | None:
    """Return the commit that the newest version was trained on, if it named the same model and revision."""
    versions = [] if registry is None else list(registry.state().versions)
    if registry is None or not versions:
        return None
    before = registry.manifest(versions[-1]).config.get("base", {})
    same = (before.get("model"), before.get("revision")) == (base.model, base.revision)
    return before.get("commit") if same else None
