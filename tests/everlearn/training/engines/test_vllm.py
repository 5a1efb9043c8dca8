"""Rollouts from any number of vLLM servers, here fakes that decode by themselves: what is asked of a lost one is redone."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
import torch

from everlearn.errors import BadInputError, ServiceError
from everlearn.training.engines.decode import decode
from everlearn.training.engines.vllm import Replicas
from everlearn.training.models.policy import load_policy
from tests.support.fake_vllm import FAULTS, FakeVllm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from everlearn.training.engines.decode import Completion
    from everlearn.training.models.policy import Policy

PROMPTS = [[1, 9, 14, 20], [1, 30], [1, 12, 8], [1, 25, 26, 27, 28]]
LIMITS = [5, 9, 12, 7]
GROUP = 3
SEEDS = [2**63 + row for row in range(len(PROMPTS) * GROUP)]


@pytest.fixture(scope="module")
def policy(tiny: Path) -> Policy:
    policy = load_policy(tiny, rank=4, alpha=8)
    shake(policy, seed=1)
    return policy


def shake(policy: Policy, *, seed: int) -> None:
    """Make the adapter change something, by other weights for another seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, b in policy.lora.values():
            b.normal_(0, 0.3, generator=generator)


@pytest.fixture
def fake(policy: Policy) -> Iterator[Callable[..., FakeVllm]]:
    """Starts a replica."""
    with contextlib.ExitStack() as stack:
        yield lambda **how: stack.enter_context(FakeVllm(policy, **how))


@pytest.fixture
def replicas(policy: Policy, tmp_path: Path) -> Callable[..., Replicas]:
    """What speaks to those that were started."""
    return lambda *fakes, **how: Replicas([fake.url for fake in fakes], end=policy.end, folder=tmp_path, **how)


def complete(asked: Replicas, *, seeds: list[int] | None = SEEDS, temperature: float = 1.0) -> list[list[Completion]]:
    return asked.complete(PROMPTS, group=GROUP, seeds=seeds, limits=LIMITS, temperature=temperature)


def ours(policy: Policy, *, seeds: list[int] | None = SEEDS, temperature: float = 1.0) -> list[list[Completion]]:
    """What the local decoder draws, row by row as the fakes do, with seeds as signed numbers."""
    return [
        [
            decode(
                policy.merged(), [prompt], group=1, seeds=None if seeds is None else [seeds[row * GROUP + k] % 2**63],
                end=policy.end, limit=LIMITS[row], temperature=temperature,
            )[0][0]
            for k in range(GROUP)
        ]
        for row, prompt in enumerate(PROMPTS)
    ]  # fmt: skip


@pytest.mark.parametrize(("seeds", "temperature"), [(SEEDS, 1.0), (SEEDS, 0.7), (None, 1.0)])
def test_answers_are_those_of_the_local_decoder_whoever_gave_them(
    policy: Policy,
    fake: Callable[..., FakeVllm],
    replicas: Callable[..., Replicas],
    seeds: list[int] | None,
    temperature: float,
) -> None:
    crowd = fake(), fake(), fake()
    asked = replicas(*crowd)
    asked.load(policy, version="v1")
    drawn = complete(asked, seeds=seeds, temperature=temperature)
    assert drawn == ours(policy, seeds=seeds, temperature=temperature)
    assert any(completion.finished for group in drawn for completion in group) or seeds is None
    assert all(fake.answered > 4 for fake in crowd)


def test_every_replica_is_told_of_each_version_and_forgets_the_one_before(
    tiny: Path, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas], tmp_path: Path
) -> None:
    policy, crowd = load_policy(tiny, rank=4, alpha=8), (fake(), fake())
    asked = replicas(*crowd)
    drawn = []
    for version, seed in (("v1", 1), ("v2", 2), ("v2", 3), ("v2", 3)):
        shake(policy, seed=seed)
        asked.load(policy, version=version)
        drawn.append(complete(asked))
        assert drawn[-1] == ours(policy)
    assert drawn[0] != drawn[1] != drawn[2] == drawn[3]
    for one in crowd:
        said = [call.partition("-")[0] for call in one.calls]
        assert said == ["load v1", "load v2", "unload v1", "load v2", "unload v2"]
        assert len(one.models) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["v2"]


def test_a_model_s_own_sampling_parameters_are_overruled(
    policy: Policy, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas]
) -> None:
    one = fake()
    asked = replicas(one)
    asked.load(policy, version="v1")
    complete(asked)
    for body in one.asked:
        assert (body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (1.0, -1, 0.0, 1.0)
        assert (body["ignore_eos"], body["stop_token_ids"]) == (True, [policy.end])
        assert 0 <= body["seed"] < 2**63


@pytest.mark.parametrize(
    "case",
    [
        ({"shift": 0.3}, "differ from ours by 0.3 nats a token, more than 0.001"),
        ({"raw": True}, "start it with --logprobs-mode processed_logprobs"),
        ({"fault": "breaks"}, "/v1/completions says 500: .*EngineCore encountered an issue"),
        ({"fault": "shortens"}, "asked for 16 tokens, it gave"),
        ({"fault": "babbles"}, "validation error for _Answer"),
    ],
)
def test_a_replica_that_does_not_say_what_the_policy_says_is_dropped_when_it_loads(
    policy: Policy, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas], caplog: pytest.LogCaptureFixture,
    case: tuple[dict[str, Any], str],
) -> None:  # fmt: skip
    how, words = case
    good, bad = fake(), fake(**how)
    asked = replicas(bad, good)
    asked.load(policy, version="v1")
    assert asked.alive == [good.url]
    [line] = caplog.messages
    assert line.startswith(f"replica {bad.url} is dropped, 1 left: ")
    caplog.clear()
    assert complete(asked) == ours(policy)
    assert re.search(words, line)


def test_a_replica_that_goes_on_with_the_version_before_is_dropped(
    tiny: Path, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas]
) -> None:
    policy, good, bad = load_policy(tiny, rank=4, alpha=8), fake(), fake(stale=True)
    asked = replicas(good, bad)
    for seed in (1, 2):
        assert asked.alive == [good.url, bad.url]
        shake(policy, seed=seed)
        asked.load(policy, version=f"v{seed}")
    assert asked.alive == [good.url]


@pytest.mark.parametrize("when", ["resets after 0", "resets after 3", *(f"{fault} after 1" for fault in FAULTS)])
def test_what_a_lost_replica_was_asked_is_redone_in_order_nothing_lost_or_doubled(
    policy: Policy, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas], caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:  # fmt: skip
    fault, _, after = when.split()
    crowd = fake(), fake(), fake()
    asked = replicas(*crowd, timeout_s=5.0 if fault == "hangs" else 60.0)
    asked.load(policy, version="v1")
    crowd[1].break_down(fault, after=int(after))
    assert complete(asked) == ours(policy)
    assert asked.alive == [crowd[0].url, crowd[2].url]
    assert len(caplog.messages) == 1
    assert complete(asked) == ours(policy)


def test_a_replica_that_nobody_hears_is_dropped_before_it_is_asked(
    policy: Policy, fake: Callable[..., FakeVllm], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        silent = f"http://127.0.0.1:{probe.getsockname()[1]}"
    good = fake()
    asked = Replicas([silent, good.url, f"{good.url}/"], end=policy.end, folder=tmp_path)
    asked.load(policy, version="v1")
    assert asked.alive == [good.url]
    assert "ConnectError" in caplog.text
    assert complete(asked) == ours(policy)


@pytest.mark.parametrize("fault", FAULTS)
def test_without_a_replica_the_error_says_where_to_look(
    policy: Policy, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas], fault: str
) -> None:
    crowd = fake(), fake()
    asked = replicas(*crowd, timeout_s=5.0 if fault == "hangs" else 60.0)
    asked.load(policy, version="v1")
    for one in crowd:
        one.break_down(fault, after=1)
    with pytest.raises(ServiceError, match=r"no vLLM server is left.*see in the log"):
        complete(asked)
    with pytest.raises(ServiceError, match="no vLLM server is left"):
        asked.load(policy, version="v2")


def test_nothing_is_asked_of_replicas_that_are_named_wrongly_or_have_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not by \\['gpu-1:8000'\\]"):
        Replicas(["gpu-1:8000"], end=0, folder=tmp_path)
    with pytest.raises(BadInputError, match="choose one of float32, bfloat16"):
        Replicas(["http://gpu-1:8000"], end=0, folder=tmp_path, dtype="int8")
    with pytest.raises(BadInputError, match="call load first"):
        Replicas(["http://gpu-1:8000"], end=0, folder=tmp_path).complete([[1]], group=1, seeds=None, limits=[1])
