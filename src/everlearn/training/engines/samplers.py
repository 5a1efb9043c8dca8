"""The sampler that the settings name: vLLM's, or none, where the learner's own forward pass decodes."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.errors import ModelError
from everlearn.training.engines.vllm import Replicas
from everlearn.training.engines.vllm_server import plan_server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.settings import RolloutSettings
    from everlearn.training.models.policy import Policy


@contextlib.contextmanager
def sampling(settings: RolloutSettings, *, base: Path, policy: Policy, threads: int) -> Iterator[Replicas | None]:
    """Yield the sampler of every answer inside the block, or None for the local one; it has no adapter yet.

    A vLLM server of our own is started where none runs, and is kept for the next block.

    Raises:
        ModelError: vLLM is not installed, or cannot serve this model.
        ServiceError: the server does not start.
    """
    if settings.engine == "local":
        yield None
        return
    with contextlib.ExitStack() as stack:
        folder, servers, can_sleep = settings.adapters, settings.servers, False
        if not servers:
            if policy.is_marked:
                raise ModelError(
                    f"vLLM does not know the architecture of {base}, with positions by index markers: set rollouts.engine: local"
                )
            device = policy.base_model.device
            server = running_server(
                plan_server(base, settings=settings, device=device, rank=policy.rank, threads=threads)
            )
            folder, servers, can_sleep = None, (server.url,), server.plan.can_sleep
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        replicas = Replicas(servers, stops=policy.stops, folder=folder, dtype=settings.dtype, can_sleep=can_sleep)
        stack.callback(replicas.unload)
        yield replicas
