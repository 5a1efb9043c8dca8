"""A training whose answers are sampled by vLLM replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.settings import LadderSettings, LearnSettings, RolloutSettings
from everlearn.training.job import TrainingJob
from everlearn.training.ladder_growth import plant
from everlearn.training.models.policy import load_policy
from everlearn.training.trainer import train
from tests.support.fake_vllm import FakeVllm

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DOMAIN = load_domain("integration")
STATEMENTS = ["3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "x*cos(x) - 2*x + 5"]
SETTINGS = LearnSettings(steps=3, prompts=2, group=4, warmup=1, temperature=1.3, bf16=False)


def test_each_step_samples_its_own_weights_despite_a_lost_replica(
    shipped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
    policy = load_policy(shipped)
    with FakeVllm(policy) as steady, FakeVllm(policy, fault="breaks", sound=6) as frail:
        servers = RolloutSettings(
            engine="vllm", servers=(steady.url, frail.url), adapters=tmp_path / "adapters", dtype="float32"
        )
        job = TrainingJob(
            base=shipped,
            adapter=None,
            ladder=ladder,
            workdir=tmp_path,
            settings=SETTINGS,
            ladder_settings=LadderSettings(rollouts=1),
            seed=5,
            threads=1,
            rollouts=servers,
        )
        trained = train(job)
    assert [point.step for point in trained.curve] == [1, 2, 3]
    loaded = [call.partition("-")[2].rpartition("-")[0] for call in steady.calls if call.startswith("load ")]
    assert loaded == ["0", "1", "2", "3"], "the last one answers for the pass rates after the training"
    assert "1 left" in caplog.text
    assert all(point.stopped is None for point in trained.curve)
