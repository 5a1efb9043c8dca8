"""GPUs of the learner: their description, which ones are spare, and the time and memory that a block of code uses."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import torch

from everlearn import counters
from everlearn.errors import ModelError
from everlearn.training.memory_estimate import GIB
from everlearn.training.models.policy import device_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.settings import ComputeSettings

LOG = logging.getLogger("everlearn.learn")
SMI_S = 10.0
"""Seconds that nvidia-smi may take."""


def describe_gpu(compute: ComputeSettings) -> str:
    """Return name, memory and versions of the GPU that the settings choose, and the C compiler.

    Raises:
        ModelError: PyTorch cannot use it, or the settings choose a CPU.
    """
    build = f"torch {torch.__version__}"
    if torch.version.cuda is None:
        raise ModelError(f"{build} is built without CUDA: install the build for CUDA (docs/operations.md)")
    if not torch.cuda.is_available():
        raise ModelError(
            f"{build} finds no GPU: install NVIDIA's driver for CUDA {torch.version.cuda}, see `nvidia-smi`"
        )
    device = device_of(compute)
    if device.type != "cuda":
        raise ModelError("compute.device is cpu: set it to auto or cuda")
    free, total = torch.cuda.mem_get_info(device)
    name = torch.cuda.get_device_name(device)
    compiler = _compiler()
    return (
        f"{name} as {device}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, {build}, CUDA {torch.version.cuda}, "
        f"driver {_driver()}, "
        + (f"C compiler {compiler}" if compiler else "no C compiler: vLLM and liger-kernel need one, install gcc")
    )


def _driver() -> str:
    """Return the version of NVIDIA's driver, as `nvidia-smi` reports it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SMI_S).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return "unknown (no nvidia-smi)"
    return lines[0] if lines else "unknown"


def _compiler() -> str | None:
    """Return the C compiler that Triton would run; None without one."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC", "gcc"), "gcc", "clang"))), None)


def card_of(compute: ComputeSettings) -> str:
    """Return the name of the card that the settings choose on this machine, or "cpu". Raises ModelError as `device_of`."""
    device = device_of(compute)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def require_gpus(compute: ComputeSettings, *, processes: int) -> None:
    """Raise ModelError unless each process of a training has a GPU of its own, where they train on GPUs."""
    there = torch.cuda.device_count()
    if processes == 1 or device_of(compute).type != "cuda":
        return
    if compute.device not in {"auto", "cuda"}:
        raise ModelError(
            f"learn.processes is {processes}, and compute.device is {compute.device}: each process needs a GPU of its own, "
            "set compute.device to cuda or learn.processes to 1"
        )
    if processes > there:
        raise ModelError(f"learn.processes is {processes}, but torch sees {there} GPUs here: lower it to {there}")


def spare_gpus(device: torch.device, *, learners: int) -> list[str]:
    """Return the GPUs of this process that no learner has; none where the only learner has the only one, or on a CPU.

    Raises:
        ModelError: several learners have all GPUs.
    """
    if device.type != "cuda":
        return []
    first = device.index or 0
    taken = {(first + number) % torch.cuda.device_count() for number in range(learners)}
    spare = [f"cuda:{number}" for number in range(torch.cuda.device_count()) if number not in taken]
    if learners > 1 and not spare:
        raise ModelError(f"{learners} processes train on all GPUs, none is left for vLLM: lower learn.processes")
    return spare


@contextlib.contextmanager
def device_time(device: torch.device) -> Iterator[None]:
    """Count the seconds for which the block holds the GPU, idle ones included; nothing on a CPU."""
    if device.type != "cuda":
        yield
        return
    started = time.monotonic()
    try:
        yield
    finally:
        counters.increment("gpu_milliseconds", by=round(1000 * (time.monotonic() - started)))
        counters.note_gpu_memory(torch.cuda.max_memory_allocated(device))


@contextlib.contextmanager
def compared_with_plan(device: torch.device, *, limit: float) -> Iterator[None]:
    """Log the memory that the block, an update, takes on a GPU beside what is there, and warn if it is above `limit` GiB.

    The plan (`memory_plan`) counts what layers save; kernels have workspaces of their own. Does nothing on a CPU.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.memory_allocated(device)
    counters.note_gpu_memory(torch.cuda.max_memory_allocated(device))  # the next line forgets it
    torch.cuda.reset_peak_memory_stats(device)
    yield
    taken = (torch.cuda.max_memory_allocated(device) - before) / GIB
    LOG.info("the first update took %.1f GiB of the GPU, planned: %.1f at most", taken, limit)
    if taken > limit:
        LOG.warning("set learn.memory_gib to %.1f to stay below the %.1f GiB that were meant", limit**2 / taken, limit)
