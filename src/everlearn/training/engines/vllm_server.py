"""A vLLM server of this machine, which this process starts, keeps for all steps of a night, and takes with it when it ends.

vLLM has a virtual environment of its own (`make vllm`), since its pins exclude ours. On a GPU it shares the card with the
learner: it takes `rollouts.gpu_share` of its memory, and sleeps while an adapter is updated.
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
from everlearn.training.memory_estimate import GIB, VLLM_CPU_CACHE

if TYPE_CHECKING:
    import torch

    from everlearn.settings import RolloutSettings

LOG = logging.getLogger("everlearn.learn")
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The largest ranks of adapters that vLLM can be started with."""
START_S = 600.0
"""Seconds that a start may take: large models are read and compiled."""
POLL_S = 0.5
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
    """What a server serves, and how: the model's folder, a device, vLLM's program, and the largest rank of an adapter."""

    base: Path
    device: str
    program: Path
    dtype: str
    rank: int
    gpu_share: float
    threads: int

    @property
    def can_sleep(self) -> bool:
        """Whether the server can give the memory of its device back for a while."""
        return self.device.startswith("cuda")

    def fits(self, other: ServerPlan) -> bool:
        """Whether a server of this plan does for the other one, too."""
        return self.rank >= other.rank and replace(self, rank=other.rank) == other

    def command(self, port: int) -> list[str]:
        """Return the command line of the server."""
        sharing = ["--gpu-memory-utilization", f"{self.gpu_share:g}", "--enable-sleep-mode"]
        # A prompt in two chunks makes vLLM rewind its generator, which those of a CPU cannot.
        placed = sharing if self.can_sleep else ["--enforce-eager", "--no-enable-chunked-prefill"]
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


def plan_server(base: Path, *, settings: RolloutSettings, device: torch.device, rank: int, threads: int) -> ServerPlan:
    """Return the plan of a server for adapters of that rank.

    Raises:
        ModelError: vLLM is not installed, or serves no adapters of this rank.
    """
    if not os.access(settings.program, os.X_OK):
        raise ModelError(
            f"rollouts.engine is vllm, but there is no program {settings.program}: run `make vllm`, set rollouts.program to the "
            "vllm of another environment, or rollouts.servers to servers that run elsewhere"
        )
    fitting = [each for each in RANKS if each >= rank]
    if not fitting:
        raise ModelError(f"vLLM serves adapters up to rank {RANKS[-1]}, not {rank}: lower learn.rank")
    return ServerPlan(
        base=base.resolve(),
        device=str(device),
        program=settings.program,
        dtype=settings.dtype,
        rank=fitting[0],
        gpu_share=settings.gpu_share,
        threads=threads,
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


_RUNNING: dict[str, OwnServer] = {}
"""The server of this process, if it has started one."""


def running_server(plan: ServerPlan) -> OwnServer:
    """Return this process's server, started where there is none that fits or it is gone.

    Raises:
        ServiceError: it does not start; its log says why.
    """
    kept = _RUNNING.get("server")
    if kept is not None and kept.plan.fits(plan) and kept.is_alive:
        return kept
    stop_server()
    server = _RUNNING["server"] = OwnServer(plan)
    server.wait_until_ready()
    return server


def stop_server() -> None:
    """Stop this process's server, if it has one."""
    kept = _RUNNING.pop("server", None)
    if kept is not None:
        kept.stop()


atexit.register(stop_server)


def is_healthy(url: str) -> bool:
    """Return whether a vLLM server answers at `url` that its engine runs."""
    try:
        return httpx.get(f"{url}/health", timeout=10, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
