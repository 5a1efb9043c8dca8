"""SmolLM2-135M-Instruct served by a real vLLM that the endpoint starts, through a promotion while requests are in flight.

`make vllm smollm2` once, then `make test-slow ARGS=tests/everlearn/serving/test_vllm_engine_server.py`. About three
minutes on two cores.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.contract import load_domain
from everlearn.serving.engine import Engine, Generation
from everlearn.serving.served_version import load_version
from everlearn.settings import Settings
from everlearn.training.engines.vllm_server import stop_servers
from everlearn.training.models.policy import load_policy
from tests.support.adapters import shake
from tests.support.vllm import PROGRAM, SMOLLM2, needs_smollm2, needs_vllm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everlearn.serving.engine import Reply
    from everlearn.serving.served_version import ServedVersion

pytestmark = [pytest.mark.slow, needs_vllm, needs_smollm2]
DOMAIN = load_domain("arithmetic")
PROBLEMS = [DOMAIN.problem(f"{n} + {10 - n}") for n in range(1, 10)]
ASKED = {"domain": "arithmetic", "format": {"name": "chat", "answer_prefix": "{statement} = ", "max_tokens": 8}}
VLLM = {"rollouts": {"engine": "vllm", "program": PROGRAM, "dtype": "float32"}}


def load(adapter: Path | None, *, vllm: bool) -> ServedVersion:
    settings = Settings.model_validate(ASKED | (VLLM if vllm else {}))
    name, manifest = ("v0001", "a" * 64) if adapter else ("base", None)
    return load_version(SMOLLM2, adapter, version=name, manifest=manifest, settings=settings)


@pytest.fixture(autouse=True)
def _no_server_is_left() -> Iterator[None]:
    yield
    stop_servers()


def test_vllm_answers_as_this_process_does_through_a_promotion(tmp_path: Path) -> None:
    adapter = shake(load_policy(SMOLLM2, None, rank=8, alpha=16), seed=1, size=0.02).save(tmp_path / "adapter")
    expected = {}
    for name, path in (("base", None), ("v0001", adapter)):
        here = Engine(load(path, vllm=False))
        expected[name] = [here.submit(Generation(problem=problem)).result(120) for problem in PROBLEMS]
        here.close()
    assert [each.completions for each in expected["base"]] != [each.completions for each in expected["v0001"]]

    engine, stop = Engine(load(None, vllm=True)), threading.Event()
    replies: list[tuple[int, Reply]] = []

    def ask() -> None:
        while not stop.is_set():
            index = len(replies) % len(PROBLEMS)
            replies.append((index, engine.submit(Generation(problem=PROBLEMS[index])).result(120)))

    asking = threading.Thread(target=ask)
    asking.start()
    engine.use(load(adapter, vllm=True))
    while replies[-1][1].version != "v0001":
        stop.wait(0.1)
    stop.set()
    asking.join()
    engine.close()
    assert {reply.version for _, reply in replies} == {"base", "v0001"}
    for index, reply in replies:
        assert reply == expected[reply.version][index]
