"""vLLM servers of this machine, which this process starts, keeps for all steps of a night, and stops when it ends.

vLLM has a virtual environment of its own (`make vllm`), since its pins exclude ours. There is one server on each GPU
that no learner has. Where none is left, it shares the learner's: it takes `rollouts.gpu_share` of its memory, and
sleeps while an adapter is updated.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from everlearn.errors import ModelError, ServiceError
from everlearn.training.gpu import spare_gpus
from everlearn.training.memory_estimate import GIB, VLLM_CPU_CACHE
from everlearn.training.models.base_checks import read_config
from everlearn.training.models.formats.format_choice import MARKED_ARCHITECTURE
from everlearn.training.models.policy import device_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from everlearn.settings import RolloutSettings, Settings

LOG = logging.getLogger("everlearn.learn")
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The largest ranks of adapters that vLLM can be started with."""
ALONE = 0.9
"""Share of a GPU's memory of a server that has it for itself."""
START_S = 600.0
"""Seconds that a start may take: large models are read and compiled."""
POLL_S, HEALTH_S = 0.5, 30.0
LOG_LINES = 20
WITHHELD = "EVERLEARN_", "PYTHON", "AWS_"
"""Beginnings of the variables that a server does not get: its Python is another one, and it needs no keys."""
ENVIRON = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "true",  # adapters are loaded while it runs; it listens on this machine only
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # sleep and wake up
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """Configuration of a server: the model's folder, a device, vLLM's program, and the largest rank of an adapter.

    `gpu_share` is the part of a GPU's memory that it takes; with `is_shared`, a learner has the rest.
    """

    base: Path
    device: str
    is_shared: bool
    program: Path
    dtype: str
    rank: int
    gpu_share: float
    threads: int

    @property
    def can_sleep(self) -> bool:
        """Whether the server gives the memory of its device back while the learner there needs it."""
        return self.is_shared and self.device.startswith("cuda")

    def fits(self, other: ServerPlan) -> bool:
        """Whether a server with this plan can be used where one with the other plan is needed."""
        return self.rank >= other.rank and replace(self, rank=other.rank) == other

    def command(self, port: int) -> list[str]:
        """Return the command line of the server."""
        placed = ["--gpu-memory-utilization", f"{self.gpu_share:g}"]
        if self.device == "cpu":  # a prompt in two chunks makes vLLM rewind its generator, which those of a CPU cannot
            placed = ["--enforce-eager", "--no-enable-chunked-prefill"]
        elif self.can_sleep:
            placed += ["--enable-sleep-mode"]
        lora = ["--enable-lora", "--max-lora-rank", str(self.rank), "--logprobs-mode", "processed_logprobs"]
        lora += ["--max-model-len", "auto"]  # what fits into memory
        address = ["--host", "127.0.0.1", "--port", str(port)]
        return [str(self.program), "serve", str(self.base), "--dtype", self.dtype, *lora, *placed, *address]

    def environment(self) -> dict[str, str]:
        """Return the variables of the server: ours without those of our own code, and what vLLM needs."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(WITHHELD)}
        path = os.pathsep.join([str(self.program.parent), os.environ.get("PATH", os.defpath)])
        own = ENVIRON | {"PATH": path, "OMP_NUM_THREADS": str(self.threads)}
        _, _, card = self.device.partition(":")
        if card:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            own["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(card)] if visible else card
        return {"VLLM_CPU_KVCACHE_SPACE": str(VLLM_CPU_CACHE // GIB)} | ours | own


def plan_servers(
    base: Path, *, settings: RolloutSettings, device: torch.device, rank: int, threads: int, learners: int = 1
) -> list[ServerPlan]:
    """Return the plans of servers for adapters of that rank, beside `learners` processes, the first of them on `device`.

    Raises:
        ModelError: vLLM is not installed, cannot serve this model or adapters of this rank, or finds no GPU.
    """
    require_program(settings.program)
    if read_config(base).get("model_type") == MARKED_ARCHITECTURE:
        raise ModelError(
            f"vLLM does not know the architecture of {base}, with positions by index markers: set rollouts.engine: local"
        )
    fitting = [each for each in RANKS if each >= rank]
    if not fitting:
        raise ModelError(f"vLLM serves adapters up to rank {RANKS[-1]}, not {rank}: lower learn.rank")
    spare = spare_gpus(device, learners=learners)
    return [
        ServerPlan(
            base=base.resolve(),
            device=each,
            is_shared=not spare,
            program=settings.program,
            dtype=settings.dtype,
            rank=fitting[0],
            gpu_share=ALONE if spare else settings.gpu_share,
            threads=threads,
        )
        for each in spare or [str(device)]
    ]


def require_program(program: Path) -> None:
    """Raise ModelError unless vLLM's program is there."""
    if not os.access(program, os.X_OK):
        raise ModelError(
            f"rollouts.engine is vllm, but there is no program {program}: run `make vllm`, set rollouts.program to the vllm "
            "of another environment, or rollouts.servers to servers that run elsewhere"
        )


def require_vllm(base: Path, settings: Settings) -> None:
    """Raise ModelError if servers of our own are to decode on this machine and cannot: see `plan_servers`."""
    rollouts, learn = settings.rollout_backend, settings.learn
    if rollouts.engine == "vllm" and not rollouts.servers:
        plan_servers(
            base,
            settings=rollouts,
            device=device_of(settings.compute),
            rank=learn.rank,
            threads=settings.threads,
            learners=learn.processes,
        )


class OwnServer:
    """A running server of our own."""

    def __init__(self, plan: ServerPlan) -> None:
        self.plan = plan
        self._log = tempfile.NamedTemporaryFile(prefix="vllm-", suffix=".log", delete=False)  # noqa: SIM115
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        LOG.info("starting vLLM for %s on %s, log in %s", plan.base.name, plan.device, self._log.name)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "everlearn.training.engines.owned_process", *plan.command(port)],
            env=plan.environment(),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def is_alive(self) -> bool:
        """Whether it runs and its engine answers."""
        return self._process.poll() is None and is_healthy(self.url)

    def serves(self, plan: ServerPlan) -> bool:
        """Whether it runs and can be used for the plan."""
        return self.plan.fits(plan) and self.is_alive

    def wait_until_ready(self) -> None:
        """Wait until it answers. Raises ServiceError if it ends before, or takes more than `START_S`."""
        started = time.monotonic()
        while not is_healthy(self.url):
            if self._process.poll() is not None or time.monotonic() > started + START_S:
                text = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
                raise ServiceError("\n".join(["vLLM did not start; its log ends:", *text.splitlines()[-LOG_LINES:]]))
            time.sleep(POLL_S)
        LOG.info("vLLM answers after %.0f s", time.monotonic() - started)

    def stop(self) -> None:
        """Stop it and wait for its end. The log of one that had failed is kept."""
        assert self._process.stdin is not None  # noqa: S101 (it is a pipe)
        was_alive = self.is_alive
        self._process.stdin.close()
        self._process.wait()
        self._log.close()
        if was_alive:
            Path(self._log.name).unlink()


_RUNNING: list[OwnServer] = []
"""The servers that this process has started."""


def require_rank(rank: int) -> None:
    """Raise ModelError if this process's running servers take only adapters of lower ranks: they are not restarted."""
    most = min((server.plan.rank for server in _RUNNING if server.is_alive), default=rank)
    if rank > most:
        raise ModelError(f"the running vLLM takes adapters up to rank {most}, this one has {rank}: start it again")


def running_servers(plans: Sequence[ServerPlan]) -> list[OwnServer]:
    """Return this process's servers, started where there are none that fit or one is gone.

    Raises:
        ServiceError: one does not start; its log says why.
    """
    fit = len(plans) == len(_RUNNING) and all(map(OwnServer.serves, _RUNNING, plans))
    if not fit:
        stop_servers()
        _RUNNING.extend(map(OwnServer, plans))
        for server in _RUNNING:
            server.wait_until_ready()
    return list(_RUNNING)


def stop_servers() -> None:
    """Stop this process's servers, if it has any."""
    while _RUNNING:
        _RUNNING.pop().stop()


atexit.register(stop_servers)


def is_healthy(url: str) -> bool:
    """Return whether a vLLM server answers at `url` that its engine runs. One that computes may be slow to say so."""
    try:
        return httpx.get(f"{url}/health", timeout=HEALTH_S, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
