"""The GPU of the learner, told by what torch says of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from everlearn import counters
from everlearn.errors import ModelError
from everlearn.settings import ComputeSettings, LearnSettings, Settings
from everlearn.training.gpu import compared_with_plan, describe_gpu, device_time, require_gpus, spare_gpus
from everlearn.training.memory_estimate import estimate_folder
from everlearn.training.models.base_checks import check_base

if TYPE_CHECKING:
    from pathlib import Path


def test_a_block_on_a_gpu_counts_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 5)
    monkeypatch.setattr(counters, "_GPU_PEAK", [0])
    monkeypatch.setattr("time.monotonic", iter([10.0, 15.0]).__next__)
    before = counters.snapshot()["gpu_milliseconds"]
    with device_time(torch.device("cuda")):
        pass
    assert counters.snapshot()["gpu_milliseconds"] - before == 5000
    assert counters.gpu_peak() == 5


def test_a_block_on_a_cpu_counts_none() -> None:
    before = counters.snapshot()
    with device_time(torch.device("cpu")):
        pass
    assert counters.snapshot() == before


def test_a_gpu_is_described_or_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ModelError, match="is built without CUDA: install the build for CUDA"):
        describe_gpu(ComputeSettings())
    monkeypatch.setattr(torch.version, "cuda", "12.9")
    with pytest.raises(ModelError, match=r"finds no GPU: install NVIDIA's driver for CUDA 12\.9"):
        describe_gpu(ComputeSettings())
    for name, value in {
        "is_available": True,
        "device_count": 1,
        "mem_get_info": (60 << 30, 80 << 30),
        "get_device_name": "NVIDIA H100",
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    described = describe_gpu(ComputeSettings())
    assert described.startswith("NVIDIA H100 as cuda:0, 60.0 of 80.0 GiB free, torch ")
    assert "driver unknown (no nvidia-smi), no C compiler: vLLM and liger-kernel need one, install gcc" in described
    for name, line in (("nvidia-smi", "echo 570.86.15"), ("clang", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    assert describe_gpu(ComputeSettings()).endswith(f"driver 570.86.15, C compiler {tmp_path / 'clang'}")
    with pytest.raises(ModelError, match=r"compute\.device is cpu: set it to auto or cuda"):
        describe_gpu(ComputeSettings(device="cpu"))


@pytest.mark.parametrize(
    ("device", "processes", "remedy"),
    [
        ("cuda:1", 1, None),
        ("cpu", 5, None),
        ("auto", 2, None),
        ("cuda", 2, None),
        ("cuda:1", 2, r"compute\.device is cuda:1: .* set compute\.device to cuda or learn\.processes to 1"),
        ("auto", 3, r"learn\.processes is 3, but torch sees 2 GPUs here: lower it to 2"),
    ],
)
def test_each_process_needs_a_gpu_of_its_own(
    device: str, processes: int, remedy: str | None, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    compute = ComputeSettings(device=device)
    if remedy is None:
        require_gpus(compute, processes=processes)
        return
    with pytest.raises(ModelError, match=remedy):
        estimate_folder(
            shipped, check_base(shipped), Settings(compute=compute, learn=LearnSettings(processes=processes))
        )


def test_the_first_update_is_compared_with_the_plan(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="everlearn.learn")
    monkeypatch.setattr(counters, "_GPU_PEAK", [0])
    for name, value in {
        "memory_allocated": 1 << 30,
        "max_memory_allocated": 6 << 30,
        "reset_peak_memory_stats": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    with compared_with_plan(torch.device("cuda"), limit=8.0):
        pass
    assert caplog.messages == ["the first update took 5.0 GiB of the GPU, planned: 8.0 at most"]
    with compared_with_plan(torch.device("cuda"), limit=4.0):
        pass
    assert caplog.messages[-1] == "set learn.memory_gib to 3.2 to stay below the 4.0 GiB that were meant"
    with compared_with_plan(torch.device("cpu"), limit=4.0):
        pass
    assert len(caplog.messages) == 3
    assert counters.gpu_peak() == 6 << 30, "the peak before it is kept"


def test_servers_get_the_gpus_that_no_learner_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert spare_gpus(torch.device("cuda:1"), learners=1) == ["cuda:0", "cuda:2", "cuda:3"]
    assert spare_gpus(torch.device("cuda:0"), learners=3) == ["cuda:3"]
    assert spare_gpus(torch.device("cpu"), learners=3) == []
    with pytest.raises(ModelError, match="4 processes train on all GPUs, none is left for vLLM"):
        spare_gpus(torch.device("cuda:0"), learners=4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert spare_gpus(torch.device("cuda:0"), learners=1) == []
