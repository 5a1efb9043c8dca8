"""Settings of a measurement: how a model is addressed and decoded, and by how many processes its answers are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Required, TypedDict

if TYPE_CHECKING:
    from everlearn.settings import ComputeSettings, FormatSettings, RolloutSettings, Settings


class Asking(TypedDict, total=False):
    """Keyword arguments of the functions that measure a model; those left out have the defaults of the settings.

    threads     CPU threads
    verifiers   processes that judge; 0: this process
    compute     device, dtype and policy of the model
    form        format of prompts and completions
    rollouts    backend that decodes: this process or vLLM servers
    """

    threads: Required[int]
    verifiers: int
    compute: ComputeSettings | None
    form: FormatSettings | None
    rollouts: RolloutSettings | None


def asking_of(settings: Settings) -> Asking:
    """Return these arguments as the settings of a line have them."""
    return {
        "threads": settings.threads,
        "verifiers": settings.verifiers,
        "compute": settings.compute,
        "form": settings.format,
        "rollouts": settings.rollout_backend,
    }
