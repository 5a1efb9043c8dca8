"""The GPUs of a server's workers: whoever decodes or trains has one to itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from prefect.concurrency.sync import concurrency
from prefect.runtime import deployment, flow_run

from everlearn import logs
from tasks.night import speak_plainly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.settings import Settings

GPU = "gpu"
"""Prefect's global concurrency limit: as many slots as there are GPUs (`prefect gcl update gpu --limit 4`)."""
LEASE_S = 60.0
"""A slot whose holder gives no sign of life comes free after that."""


@contextlib.contextmanager
def hold_gpu(settings: Settings) -> Iterator[None]:
    """One of the slots, as soon as one is free. A run that no worker runs has this machine to itself, and asks nobody."""
    speak_plainly()
    with logs.bound(line=settings.store.line, run=flow_run.id):
        if deployment.id is None:
            yield
            return
        with concurrency(GPU, occupy=1, lease_duration=LEASE_S):
            yield
