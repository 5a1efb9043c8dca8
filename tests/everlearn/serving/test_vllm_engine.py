"""Requests answered by vLLM servers: the same answers as here, each by the version that it names, through promotions and lost servers."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError, ServiceError
from everlearn.local.process import wait_until
from everlearn.serving.endpoint import create_endpoint
from everlearn.serving.engine import Engine, Generation
from everlearn.serving.served_version import load_version
from everlearn.settings import Settings
from everlearn.training.models.policy import load_policy
from tests.support.adapters import shake
from tests.support.endpoint import running
from tests.support.fake_vllm import FakeVllm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.serving.engine import Reply
    from everlearn.serving.served_version import ServedVersion

BASE = Path(__file__).parents[3] / "data" / "base"
DOMAIN = load_domain("integration")
PROBLEMS = [DOMAIN.problem(f"{a}*x + cos({b}*x)") for a in range(2, 6) for b in range(2, 6)]


@pytest.fixture
def server() -> Iterator[FakeVllm]:
    with FakeVllm(load_policy(BASE, None)) as fake:
        yield fake


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shake(load_policy(BASE, None), seed=1, size=0.1).save(tmp_path_factory.mktemp("adapter"))


def load(adapter: Path | None, folder: Path | None = None, *servers: FakeVllm) -> ServedVersion:
    """Load an adapter, or the base model: into servers that read `folder`, or without any into this process alone."""
    plain: dict[str, Any] = {"engine": "vllm", "servers": [each.url for each in servers], "adapters": folder}
    settings = Settings.model_validate({"rollouts": plain if servers else {}})
    name, manifest = ("v0001", "a" * 64) if adapter else ("base", None)
    return load_version(BASE, adapter, version=name, manifest=manifest, settings=settings)


def answers(engine: Engine, **options: Any) -> list[tuple[str, ...]]:
    futures = [engine.submit(Generation(problem=problem, **options)) for problem in PROBLEMS]
    return [tuple(each.text for each in future.result(60).completions) for future in futures]


@pytest.mark.parametrize("options", [{}, {"max_tokens": 3}])
def test_vllm_gives_the_answers_of_this_process(
    server: FakeVllm, adapter: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    here, there = Engine(load(adapter)), Engine(load(adapter, tmp_path, server))
    assert answers(there, **options) == answers(here, **options)
    here.close()
    there.close()
    assert server.models == {}, "its adapter is unloaded at the end"
    assert not list(tmp_path.iterdir())


def test_answers_sampled_by_vllm_follow_their_seed(server: FakeVllm, adapter: Path, tmp_path: Path) -> None:
    engine = Engine(load(adapter, tmp_path, server))
    one, again, other = (answers(engine, temperature=1.2, count=2, seed=seed) for seed in (3, 3, 4))
    assert one == again != other
    engine.close()


def test_a_promotion_drops_no_request_and_unloads_the_version_before(
    server: FakeVllm, adapter: Path, tmp_path: Path
) -> None:
    expected = {}
    for name, path in (("base", None), ("v0001", adapter)):
        alone = Engine(load(path))
        expected[name] = answers(alone)
        alone.close()
    engine, stop = Engine(load(None, tmp_path, server)), threading.Event()

    def ask() -> list[tuple[int, Reply]]:
        said: list[tuple[int, Reply]] = []
        while not stop.is_set():
            index = len(said) % len(PROBLEMS)
            said.append((index, engine.submit(Generation(problem=PROBLEMS[index])).result(60)))
        return said

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for path in (adapter, None, adapter):
            engine.use(load(path, tmp_path, server))
        stop.set()
        replies = [each for future in asking for each in future.result()]
    assert wait_until(lambda: len(server.models) == 1, timeout_s=20)
    assert {reply.version for _, reply in replies} == {"base", "v0001"}
    for index, reply in replies:
        assert (reply.completions[0].text,) == expected[reply.version][index]
    engine.close()


def test_a_lost_server_is_replaced_by_the_other_one_and_used_again_later(
    server: FakeVllm, adapter: Path, tmp_path: Path
) -> None:
    with FakeVllm(load_policy(BASE, None)) as second:
        engine = Engine(load(adapter, tmp_path, server, second))
        second.break_down("breaks")
        expected = answers(engine)
        assert engine.served.servers_lost == [second.url], "both are asked"
        assert answers(engine) == expected
        assert engine.served.can_answer
        second.fault = None
        engine.use(engine.served.reload())
        assert engine.served.servers_lost == []
        assert answers(engine) == expected
        engine.close()
        assert server.models == second.models == {}


def test_a_request_that_is_too_long_is_refused_and_the_servers_stay(
    server: FakeVllm, adapter: Path, tmp_path: Path
) -> None:
    server.context = 40
    engine = Engine(load(adapter, tmp_path, server))
    long = DOMAIN.problem(" + ".join(f"{n}*x^{n}" for n in range(2, 12)))
    with pytest.raises(BadInputError, match="the context of the model is 40 tokens with the answer"):
        engine.submit(Generation(problem=long)).result(60)
    with running(create_endpoint(engine, line="integration")) as url:
        body = {"model": "champion", "messages": [{"role": "user", "content": long.statement}]}
        refused = httpx.post(f"{url}/chat/completions", json=body, trust_env=False, timeout=60)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "too_long")
    [cut] = engine.submit(Generation(problem=PROBLEMS[0], temperature=3.0, seed=1)).result(60).completions
    assert cut.tokens < 40
    server.context = None
    server.refuses = True
    with pytest.raises(BadInputError, match="vLLM refused 1 of 1 requests"):
        engine.submit(Generation(problem=PROBLEMS[0])).result(60)
    server.refuses = False
    assert engine.served.servers_lost == []
    assert answers(engine)
    engine.close()


def test_a_load_that_fails_leaves_nothing_behind(server: FakeVllm, adapter: Path, tmp_path: Path) -> None:
    engine = Engine(load(adapter, tmp_path, server))
    server.break_down("breaks")
    for _ in range(2):
        with pytest.raises(ServiceError):
            engine.served.reload()
    assert len(list(tmp_path.iterdir())) == len(server.models) == 1
    engine.close()
    assert (server.models, list(tmp_path.iterdir())) == ({}, [])


def test_versions_that_are_over_take_no_memory(adapter: Path) -> None:
    engine, gone = Engine(load(None)), []
    for path in (adapter, None, adapter):
        answers(engine)
        gone.append(weakref.ref(engine.served.resources))
        engine.use(load(path))
    answers(engine)
    gc.collect()
    assert [each() for each in gone] == [None] * 3
    engine.close()


def test_an_error_while_unloading_ends_no_thread(adapter: Path, caplog: pytest.LogCaptureFixture) -> None:
    served = load(adapter)
    served.resources.callback(_fail)
    engine = Engine(served)
    engine.use(load(None))
    assert answers(engine)
    assert "version v0001 was not unloaded" in caplog.text
    engine.close()


def _fail() -> None:
    raise OSError("the folder is away")


def test_without_any_server_the_endpoint_says_so(server: FakeVllm, tmp_path: Path) -> None:
    engine = Engine(load(None, tmp_path, server))
    server.break_down("resets")
    with running(create_endpoint(engine, line="integration")) as url:
        body = {"model": "champion", "messages": [{"role": "user", "content": "2*x"}]}
        for _ in range(2):
            refused = httpx.post(f"{url}/chat/completions", json=body, trust_env=False, timeout=60)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_server")
        assert httpx.get(f"{url.removesuffix('/v1')}/health", trust_env=False).status_code == 503
    assert not engine.served.can_answer
    with pytest.raises(ServiceError, match="no vLLM server is left"):
        engine.served.reload()
    engine.close()
