"""Rollout backend of the settings: vLLM servers, or none where this process decodes."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.training.engines.vllm import Replicas
from everlearn.training.engines.vllm_server import plan_servers, running_servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from everlearn.settings import RolloutSettings
    from everlearn.training.models.policy import Policy


@contextlib.contextmanager
def sampling(
    settings: RolloutSettings,
    *,
    base: Path,
    policy: Policy,
    threads: int,
    version: str | None = None,
    least_rank: int = 0,
    load_timeout_s: float = 600.0,
) -> Iterator[Replicas | None]:
    """Yield the vLLM servers that sample inside the block; None where this process decodes.

    They have loaded the policy's adapter as `version`; without one, they have none yet. Servers of our own take
    adapters up to `least_rank`, or the policy's rank if that is higher.

    Raises:
        ModelError: vLLM is not installed, or cannot serve this model.
        ServiceError: its server does not start, or none answers with the adapter.
    """
    if settings.engine == "local":
        yield None
        return
    rank, device = max(policy.rank, least_rank), policy.base_model.device
    with vllm_servers(settings, base=base, device=device, rank=rank, threads=threads) as (served, can_sleep):
        assert served.adapters is not None  # noqa: S101 (the settings demand it where there are servers)
        replicas = Replicas(
            served.servers,
            stops=policy.stops,
            folder=served.adapters,
            load_timeout_s=load_timeout_s,
            dtype=served.dtype,
            can_sleep=can_sleep,
        )
        try:
            if version is not None:
                replicas.load(policy, version=version)
            yield replicas
        finally:
            replicas.unload()


@contextlib.contextmanager
def vllm_servers(
    settings: RolloutSettings, *, base: Path, device: torch.device, rank: int, threads: int, learners: int = 1
) -> Iterator[tuple[RolloutSettings, bool]]:
    """Yield the settings with the addresses of servers, and whether these share a GPU with the learner.

    Without addresses in the settings servers of our own are started, or those of the block before used again.

    Raises:
        ModelError: vLLM is not installed, or cannot serve this model beside so many learners.
        ServiceError: a server does not start.
    """
    if settings.engine == "local" or settings.servers:
        yield settings, False
        return
    plans = plan_servers(base, settings=settings, device=device, rank=rank, threads=threads, learners=learners)
    urls = tuple(server.url for server in running_servers(plans))
    with tempfile.TemporaryDirectory() as folder:
        own = settings.model_copy(update={"servers": urls, "adapters": Path(folder)})
        yield own, plans[0].can_sleep
