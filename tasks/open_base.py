"""Find the base model before a night starts: pin its commit, download it, and check that it can be used here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.registry.connect import open_registry
from everlearn.training.memory_estimate import GIB, estimate_folder, require_memory
from everlearn.training.models.base_source import base_directory, pin_base
from tasks.night import LOG, step_task
from tasks.progress import progress

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings


@step_task
def open_base(settings: Settings) -> Settings:
    """Return the settings with the base model pinned to a commit, whose files are here.

    Raises:
        ModelError: it does not exist, access was refused, or the hub cannot be reached.
    """
    pinned = pin_base(settings, open_registry(settings))
    base_folder(pinned)
    return pinned


@step_task
def check_base_model(settings: Settings, *, trains_here: bool) -> None:
    """Check that the base model can be used, on this machine if `trains_here`, before a night is opened for it.

    Raises:
        ModelError: it is damaged or incomplete, no causal language model, or its context is too short for an answer; where it
            trains, it is too large for the memory that there is, GPUs are missing, or vLLM is to serve it and cannot.
        SettingsError: it is to learn reference answers, and is not addressed in words.
    """
    from everlearn.domains.contract import load_domain
    from everlearn.training.engines.vllm_server import require_vllm
    from everlearn.training.models.base_checks import check_base, require_answers_in_words, require_context

    folder, domain = base_folder(settings), load_domain(settings.domain)
    weights = check_base(folder)
    require_context(folder, settings.format, domain)
    require_answers_in_words(folder, settings.format, domain, epochs=settings.supervised.epochs)
    name = settings.base.model or str(folder)
    commit = f" at commit {settings.base.commit}" if settings.base.commit else ""
    LOG.info(
        "base model %s%s: %.1f M parameters (%s) in %d files",
        name,
        commit,
        weights.parameters / 1e6,
        ", ".join(weights.dtypes),
        len(weights.files),
    )
    if trains_here:
        needed, free = estimate_folder(folder, weights, settings)
        LOG.info("a night needs about %s, and %.1f GiB are free", needed, free / GIB)
        require_memory(needed, available=free, base=name)
        require_vllm(folder, settings)


def base_folder(settings: Settings) -> Path:
    """Return the folder of the base model, after downloading what is missing with a progress bar."""
    if settings.base.model is None:
        return base_directory(settings)
    with progress(f"downloading {settings.base.model}, MB") as report:
        return base_directory(settings, progress=report)
