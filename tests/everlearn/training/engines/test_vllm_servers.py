"""Rollouts from two real vLLM servers with SmolLM2-135M-Instruct, one of which is killed during a request.

`make vllm smollm2` once, then `make test-slow ARGS=tests/everlearn/training/engines/test_vllm_servers.py`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

from everlearn.training.engines.vllm import Replicas
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import load_policy
from tests.support.adapters import shake
from tests.support.tokens import end_of, tokens_of
from tests.support.vllm import SMOLLM2, Server, environment, needs_smollm2, needs_vllm, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.training.engines.decode import Completion
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy

pytestmark = [pytest.mark.slow, needs_vllm, needs_smollm2]
FLAGS = ["--enable-lora", "--max-lora-rank", "8", "--logprobs-mode", "processed_logprobs", "--dtype", "float32"]
FLAGS += ["--enforce-eager", "--max-model-len", "256", "--max-num-seqs", "64"]
QUESTIONS = [f"What is {left} + {left * 7 % 10}? {left} + {left * 7 % 10} =" for left in range(12, 20)]
GROUP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A policy and the servers that sample for it."""

    policy: Policy
    servers: tuple[Server, Server]
    replicas: Replicas

    def complete(self, *, limit: int, temperature: float, first_seed: int | None = 0) -> list[list[Completion]]:
        rows = len(QUESTIONS) * GROUP
        return self.replicas.complete(
            [tokens_of(self.policy, question) for question in QUESTIONS],
            group=GROUP,
            seeds=None if first_seed is None else [2**63 + first_seed + row for row in range(rows)],
            limits=[limit] * len(QUESTIONS),
            temperature=temperature,
        )

    def gap(self, drawn: list[list[Completion]], model: Model, *, temperature: float) -> float:
        """Return the largest difference between the servers' log-probability of a token and ours, in nats."""
        rows = [completion for group in drawn for completion in group]
        prompts = [tokens_of(self.policy, question) for question in QUESTIONS]
        with torch.no_grad():
            ours, mask = token_logprobs(model, prompts, [row.ids for row in rows], temperature=temperature)
        theirs = torch.cat([torch.tensor(row.logprobs) for row in rows])
        return float((ours[mask] - theirs).abs().max())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    policy = load_policy(SMOLLM2, rank=8, alpha=16)
    environ = environment(VLLM_CPU_OMP_THREADS_BIND="nobind")
    with contextlib.ExitStack() as stack:
        one, two = (
            stack.enter_context(serving(SMOLLM2, environ=environ, flags=FLAGS, log=folder / f"{name}.log"))
            for name in ("one", "two")
        )
        replicas = Replicas([one.url, two.url], stops={end_of(policy)}, folder=folder / "adapters")
        yield Cluster(policy=policy, servers=(one, two), replicas=replicas)


def test_real_servers_give_our_log_probabilities_for_each_version(cluster: Cluster) -> None:
    policy, models = cluster.policy, []
    for seed in (1, 2):
        shake(policy, seed=seed, size=0.01)
        cluster.replicas.load(policy, version=f"v{seed}")
        models.append(policy.snapshot())
        for first_seed, requested, reported in ((0, 0.7, 0.7), (0, 1.0, 1.0), (None, 0.7, 1.0)):
            drawn = cluster.complete(limit=24, temperature=requested, first_seed=first_seed)
            assert cluster.gap(drawn, models[-1], temperature=reported) < 0.001
            rows = [completion for group in drawn for completion in group]
            assert all(row.finished == (row.ids[-1] == end_of(policy)) == (end_of(policy) in row.ids) for row in rows)
            assert all(row.finished or len(row.ids) == 24 for row in rows)
            if seed == 2:
                assert cluster.gap(drawn, models[0], temperature=reported) > 0.1
    assert len(cluster.replicas.alive) == 2
    assert all(server.generated_tokens() for server in cluster.servers)


def test_an_answer_includes_the_end_token_and_its_log_probability(cluster: Cluster) -> None:
    with torch.no_grad():
        for _, b in cluster.policy.lora.values():
            b.zero_()
    cluster.replicas.load(cluster.policy, version="plain")
    drawn = cluster.complete(limit=80, temperature=1.0)
    rows = [completion for group in drawn for completion in group]
    ended = [row for row in rows if row.finished]
    assert ended
    assert all(row.ids.index(end_of(cluster.policy)) == len(row.ids) - 1 == len(row.logprobs) - 1 for row in ended)
    assert cluster.gap(drawn, cluster.policy.snapshot(), temperature=1.0) < 0.001


def test_requests_of_a_killed_server_are_redone_by_the_other(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Must be the last test of this file: it leaves one server."""
    shake(cluster.policy, seed=3, size=0.01)
    cluster.replicas.load(cluster.policy, version="v3")
    survivor, victim = cluster.servers
    before = victim.generated_tokens()

    def kill_during_request() -> None:
        while victim.generated_tokens() < before + 50:
            time.sleep(0.02)
        victim.kill()

    killer = threading.Thread(target=kill_during_request, daemon=True)
    killer.start()
    drawn = cluster.complete(limit=80, temperature=1.0)
    killer.join()
    assert cluster.replicas.alive == [survivor.url]
    assert [message for message in caplog.messages if victim.url in message and "is dropped, 1 left" in message]
    assert [len(group) for group in drawn] == [GROUP] * len(QUESTIONS)
    assert cluster.gap(drawn, cluster.policy.snapshot(), temperature=1.0) < 0.001
    assert cluster.gap(drawn[::-1], cluster.policy.snapshot(), temperature=1.0) > 0.5, "the order counts"
