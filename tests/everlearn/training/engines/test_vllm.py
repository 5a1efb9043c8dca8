"""Rollouts from vLLM servers, here fakes with our own decoder: requests to a lost one are repeated elsewhere."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.errors import BadInputError, ServiceError
from everlearn.settings import ComputeSettings
from everlearn.training.engines.decode import decode
from everlearn.training.engines.vllm import Replicas
from everlearn.training.models.policy import load_policy
from tests.support.adapters import shake
from tests.support.fake_vllm import FAULTS, FakeVllm
from tests.support.tiny_models import write_model
from tests.support.tokens import end_of

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
    shake(policy, seed=1, size=0.3)
    return policy


@pytest.fixture
def fake(policy: Policy) -> Iterator[Callable[..., FakeVllm]]:
    """Return a function that starts a replica."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(FakeVllm(policy, **options))


@pytest.fixture
def replicas(policy: Policy, tmp_path: Path) -> Callable[..., Replicas]:
    """Return a function that makes the client of some fakes."""
    return lambda *fakes, **options: Replicas(
        [fake.url for fake in fakes], stops={end_of(policy)}, folder=tmp_path, **options
    )


def complete(client: Replicas, *, seeds: list[int] | None = SEEDS, temperature: float = 1.0) -> list[list[Completion]]:
    return client.complete(PROMPTS, group=GROUP, seeds=seeds, limits=LIMITS, temperature=temperature)


def ours(policy: Policy, *, seeds: list[int] | None = SEEDS, temperature: float = 1.0) -> list[list[Completion]]:
    """Return what the local decoder draws, row by row as the fakes do, with seeds as signed numbers."""
    model = policy.snapshot()

    def one(row: int, k: int) -> Completion:
        own = None if seeds is None else [seeds[row * GROUP + k] % 2**63]
        limit, prompt = LIMITS[row], PROMPTS[row]
        return decode(
            model, [prompt], group=1, seeds=own, stops={end_of(policy)}, limit=limit, temperature=temperature
        )[0][0]

    return [[one(row, k) for k in range(GROUP)] for row in range(len(PROMPTS))]


@pytest.mark.parametrize(("seeds", "temperature"), [(SEEDS, 1.0), (SEEDS, 0.7), (None, 1.0)])
def test_answers_are_those_of_the_local_decoder(
    policy: Policy,
    fake: Callable[..., FakeVllm],
    replicas: Callable[..., Replicas],
    seeds: list[int] | None,
    temperature: float,
) -> None:
    crowd = fake(), fake(), fake()
    client = replicas(*crowd)
    client.load(policy, version="v1")
    drawn = complete(client, seeds=seeds, temperature=temperature)
    assert drawn == ours(policy, seeds=seeds, temperature=temperature)
    assert any(completion.finished for group in drawn for completion in group) or seeds is None
    assert all(fake.answered > 4 for fake in crowd)


@pytest.mark.slow
def test_every_replica_loads_each_version_and_unloads_the_last(
    tiny: Path, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas], tmp_path: Path
) -> None:
    policy, crowd = load_policy(tiny, rank=4, alpha=8), (fake(), fake())
    client = replicas(*crowd)
    drawn = []
    for version, seed in (("v1", 1), ("v2", 2), ("v2", 3), ("v2", 3)):
        shake(policy, seed=seed, size=0.3)
        client.load(policy, version=version)
        drawn.append(complete(client))
        assert drawn[-1] == ours(policy)
    assert drawn[0] != drawn[1] != drawn[2] == drawn[3]
    for one in crowd:
        calls = [call.partition("-")[0] for call in one.calls]
        assert calls == ["load v1", "load v2", "unload v1", "load v2", "unload v2"]
        assert len(one.models) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["v2"]


def test_sampling_parameters_of_the_model_are_overridden(
    policy: Policy, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas]
) -> None:
    one = fake()
    client = replicas(one)
    client.load(policy, version="v1")
    complete(client)
    for body in one.requests:
        assert (body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (1.0, -1, 0.0, 1.0)
        assert (body["ignore_eos"], body["stop_token_ids"]) == (True, [end_of(policy)])
        assert 0 <= body["seed"] < 2**63


@pytest.mark.parametrize(
    "case",
    [
        ({"shift": 0.3}, "differ from ours by 0.3 nats a token, more than 0.001"),
        ({"raw": True}, "start it with --logprobs-mode processed_logprobs"),
        ({"fault": "breaks"}, "/v1/completions returned 500: .*EngineCore encountered an issue"),
        ({"fault": "shortens"}, "at most 16 tokens requested, got"),
        ({"fault": "swallows"}, "it ended an answer after .* of 16 tokens without an end token"),
        ({"fault": "babbles"}, "validation error for CompletionResponse"),
    ],
)
def test_a_replica_with_wrong_log_probabilities_is_dropped(
    policy: Policy,
    fake: Callable[..., FakeVllm],
    replicas: Callable[..., Replicas],
    caplog: pytest.LogCaptureFixture,
    case: tuple[dict[str, Any], str],
) -> None:
    options, reason = case
    good, bad = fake(), fake(**options)
    client = replicas(bad, good)
    client.load(policy, version="v1")
    assert client.alive == [good.url]
    [line] = caplog.messages
    assert line.startswith(f"replica {bad.url} is dropped, 1 left: ")
    caplog.clear()
    assert complete(client) == ours(policy)
    assert re.search(reason, line)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"stale": True}, "the adapter v2-"), ({"bare": True}, "the base model without an adapter")],
)
@pytest.mark.parametrize("rounding", [0.0, 0.04])
def test_a_replica_that_answers_with_other_weights_is_dropped(
    tiny: Path,
    fake: Callable[..., FakeVllm],
    replicas: Callable[..., Replicas],
    caplog: pytest.LogCaptureFixture,
    *,
    options: dict[str, Any],
    named: str,
    rounding: float,
) -> None:
    """The weights differ by less than a server in bfloat16 may."""
    policy, good, bad = load_policy(tiny, rank=4, alpha=8), fake(rounding=rounding), fake(rounding=rounding)
    client = replicas(good, bad, dtype="bfloat16")
    for version, size in (("v1", 0.02), ("v2", 0.03), ("v3", 0.06)):
        assert client.alive == [good.url, bad.url]
        if version == "v3":
            bad.stale, bad.bare = options.get("stale", False), options.get("bare", False)
        shake(policy, seed=3, size=size)
        client.load(policy, version=version)
    assert client.alive == [good.url]
    [line] = caplog.messages
    assert f"it answers with {named}" in line


def test_a_float32_replica_is_kept_where_our_own_forward_pass_rounds(tmp_path: Path) -> None:
    """A base that is stored in bfloat16 is computed in it by the hub policy."""
    base = write_model("qwen2, biases", tmp_path / "base")
    exact, rounded = (
        load_policy(base, rank=4, alpha=8, compute=ComputeSettings.model_validate({"policy": "hub", "dtype": dtype}))
        for dtype in ("float32", "bfloat16")
    )
    with FakeVllm(exact) as one:
        client = Replicas([one.url], stops=exact.stops, folder=tmp_path / "adapters", dtype="float32")
        client.load(shake(rounded, seed=3, size=0.3), version="v1")
        assert client.alive == [one.url]


@pytest.mark.slow
def test_a_replica_that_rounds_is_kept_whatever_the_adapter(
    tiny: Path, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas]
) -> None:
    policy, one = load_policy(tiny, rank=4, alpha=8), fake(rounding=0.05)
    client = replicas(one, dtype="bfloat16")
    for step in range(12):
        shake(policy, seed=step, size=0.3 * (step / 11) ** 2)
        client.load(policy, version=f"v{step}")
    assert client.alive == [one.url]


@pytest.mark.parametrize(
    "when",
    [
        *("resets after 0", "dies after 1", "shortens after 1"),
        *(
            pytest.param(f"{fault} after 1", marks=pytest.mark.slow)
            for fault in FAULTS
            if fault not in ("dies", "shortens")
        ),
        pytest.param("resets after 3", marks=pytest.mark.slow),
    ],
)
def test_requests_of_a_lost_replica_are_redone_once_and_in_order(
    policy: Policy,
    fake: Callable[..., FakeVllm],
    replicas: Callable[..., Replicas],
    caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:
    fault, _, after = when.split()
    crowd = fake(), fake(), fake()
    client = replicas(*crowd, timeout_s=5.0 if fault == "hangs" else 60.0)
    client.load(policy, version="v1")
    crowd[1].break_down(fault, after=int(after))
    assert complete(client) == ours(policy)
    assert client.alive == [crowd[0].url, crowd[2].url]
    assert len(caplog.messages) == 1
    assert complete(client) == ours(policy)


def test_an_unreachable_replica_is_dropped_at_the_first_load(
    policy: Policy, fake: Callable[..., FakeVllm], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        silent = f"http://127.0.0.1:{probe.getsockname()[1]}"
    good = fake()
    client = Replicas([silent, good.url, f"{good.url}/"], stops={end_of(policy)}, folder=tmp_path)
    client.load(policy, version="v1")
    assert client.alive == [good.url]
    assert "ConnectError" in caplog.text
    assert complete(client) == ours(policy)


@pytest.mark.parametrize("fault", FAULTS)
def test_without_any_replica_the_error_names_the_log(
    policy: Policy, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas], fault: str
) -> None:
    crowd = fake(), fake()
    client = replicas(*crowd, timeout_s=5.0 if fault == "hangs" else 60.0)
    client.load(policy, version="v1")
    for one in crowd:
        one.break_down(fault, after=1)
    with pytest.raises(ServiceError, match=r"no vLLM server is left.*see in the log"):
        complete(client)
    with pytest.raises(ServiceError, match="no vLLM server is left"):
        client.load(policy, version="v2")


def test_replicas_need_valid_address_dtype_and_adapter(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not by \\['gpu-1:8000'\\]"):
        Replicas(["gpu-1:8000"], stops=[0], folder=tmp_path)
    with pytest.raises(BadInputError, match="choose one of float32, bfloat16"):
        Replicas(["http://gpu-1:8000"], stops=[0], folder=tmp_path, dtype="int8")
    with pytest.raises(BadInputError, match="call load first"):
        Replicas(["http://gpu-1:8000"], stops=[0], folder=tmp_path).complete([[1]], group=1, seeds=None, limits=[1])


def test_servers_that_share_a_card_sleep_until_the_next_load(
    policy: Policy, fake: Callable[..., FakeVllm], replicas: Callable[..., Replicas]
) -> None:
    one = fake()
    client = replicas(one, can_sleep=True)
    client.load(policy, version="step-0")
    client.sleep()
    client.sleep()
    client.load(policy, version="step-1")
    client.unload()
    client.unload()
    spoken = [call.rpartition("-")[0] or call for call in one.calls]
    assert spoken == ["load step-0", "/sleep?level=1", "/wake_up", "load step-1", "unload step-0", "unload step-1"]
    assert not list(client._folder.iterdir()), "no adapter is left behind"
