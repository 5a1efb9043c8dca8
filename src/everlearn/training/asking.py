"""How a model is asked when it is measured: the settings that decoding and judging share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Required, TypedDict

if TYPE_CHECKING:
    from everlearn.settings import ComputeSettings, FormatSettings, RolloutSettings, Settings


class Asking(TypedDict, total=False):
    """Keyword arguments of everything that measures a model; those left out have the defaults of the settings.

    threads     CPU threads
    verifiers   processes that judge; 0: this process
    compute     what the model runs on
    form        how it is addressed
    rollouts    who decodes
    """

    threads: Required[int]
    verifiers: int
    compute: ComputeSettings | None
    form: FormatSettings | None
    rollouts: RolloutSettings | None


def asking_of(settings: Settings) -> Asking:
    """Return how a line's model is asked."""
    return {
        "threads": settings.threads,
        "verifiers": settings.verifiers,
        "compute": settings.compute,
        "form": settings.format,
        "rollouts": settings.rollout_backend,
    }
