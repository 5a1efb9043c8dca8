"""Rollouts from vLLM: any number of servers that answer with the policy's newest adapter.

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=true vllm serve /models/base --enable-lora --max-lora-rank 16 \
        --logprobs-mode processed_logprobs

    replicas = Replicas(["http://gpu-1:8000", "http://gpu-2:8000"], end=policy.end, folder=shared / "adapters")
    replicas.load(policy, version="step-0007")
    replicas.complete(prompts, group=8, seeds=seeds, limits=limits)

Tokens go in and tokens come out, so that no tokenizer stands between the sampler and the trainer. What is loaded is
proved: each replica answers a few probes, and the log-probabilities that it reports must be those of our own forward
pass. A replica that fails in any way is dropped, with one line in the log, and does not come back; what it was asked is
asked again of the others. `folder` is read by the servers, at the same path. A seed gives the same answer again only as
far as the server's rounding does, which changes with what else is in its batch.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
import shutil
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import torch
from pydantic import BaseModel, Field, ValidationError

from everlearn.errors import BadInputError, ServiceError
from everlearn.training.engines.decode import Completion
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy

LOG = logging.getLogger("everlearn.learn")
TOLERANCE = {"float32": 0.001, "bfloat16": 0.1}
"""Nats a token, on average, that a server of that dtype may differ from our own float32 forward pass."""
IN_FLIGHT = 64
"""Requests that one replica is given at a time, at most; it batches them itself."""
IDLE_S = 2.0
"""How long a connection may rest; vLLM closes it after 5 seconds, and what is sent at that moment would be lost."""
PROBES, PROBE_TOKENS, PROBE_TEMPERATURE = 4, 16, 0.5


class _FailedError(Exception):
    """What is wrong with a replica, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One answer that is wanted; greedy without a seed."""

    prompt: list[int]
    seed: int | None
    limit: int
    temperature: float

    def body(self, model: str, *, end: int) -> dict[str, Any]:
        """As vLLM's completions API takes it; what a model's `generation_config.json` would change is named here."""
        return {
            "model": model, "prompt": self.prompt, "max_tokens": self.limit, "n": 1,
            "temperature": 0.0 if self.seed is None else self.temperature,
            "seed": None if self.seed is None else self.seed % 2**63,  # theirs is signed
            "top_p": 1.0, "top_k": -1, "min_p": 0.0, "min_tokens": 0,
            "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
            "ignore_eos": True, "stop_token_ids": [end], "add_special_tokens": False,
            "logprobs": 0, "return_token_ids": True,
        }  # fmt: skip


class _Logprobs(BaseModel):
    token_logprobs: list[float]


class _Choice(BaseModel):
    token_ids: list[int]
    logprobs: _Logprobs


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class _Card(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Card]


class Replicas:
    """Any number of vLLM servers that answer prompts with the policy's newest adapter."""

    def __init__(
        self, urls: Sequence[str], *, end: int, folder: Path, timeout_s: float = 600.0, dtype: str = "float32"
    ) -> None:
        wrong = [url for url in urls if not url.startswith(("http://", "https://"))]
        if wrong or not urls:
            raise BadInputError(f"replicas are named by addresses such as http://gpu-1:8000, not by {wrong}")
        if dtype not in TOLERANCE:
            raise BadInputError(f"no dtype of replicas: {dtype!r}; choose one of {', '.join(TOLERANCE)}")
        self._alive = list(dict.fromkeys(url.rstrip("/") for url in urls))
        self._end = end
        self._folder = folder.resolve()
        self._timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0))
        self._tolerance = TOLERANCE[dtype]
        self._model, self._path = "", self._folder

    @property
    def alive(self) -> list[str]:
        """The addresses that are still asked."""
        return list(self._alive)

    def load(self, policy: Policy, *, version: str) -> None:
        """Hand the adapter to every replica and see that each answers with it; the one before it is unloaded.

        The servers know it as `version` and the beginning of its digest: vLLM keeps the keys and values of prefixes by
        that name, which therefore must never mean other weights.

        Raises:
            ServiceError: no replica is left.
        """
        path = policy.save(self._folder / version)
        digest = hashlib.sha256((path / WEIGHTS).read_bytes() + (path / CONFIG).read_bytes()).hexdigest()
        model, before = f"{version}-{digest[:12]}", self._model
        ours, probes = policy.merged(), _probes(policy)

        async def renew(client: httpx.AsyncClient, url: str) -> None:
            known = {card.id for card in _Models.model_validate_json(await _get(client, f"{url}/v1/models")).data}
            if model not in known:
                await _post(client, f"{url}/v1/load_lora_adapter", {"lora_name": model, "lora_path": str(path)})
            told: dict[int, Completion] = {}

            async def ask(index: int) -> None:
                told[index] = await self._ask(client, url, probes[index], model=model)

            async with anyio.create_task_group() as asking:
                for index in range(PROBES):
                    asking.start_soon(ask, index)
            _compare(ours, probes, [told[index] for index in range(PROBES)], tolerance=self._tolerance)
            if before in known - {model}:
                await _post(client, f"{url}/v1/unload_lora_adapter", {"lora_name": before})

        anyio.run(self._everywhere, renew)
        if self._path not in {self._folder, path}:
            shutil.rmtree(self._path, ignore_errors=True)
        self._model, self._path = model, path

    def complete(
        self,
        prompts: Sequence[list[int]],
        *,
        group: int,
        seeds: Sequence[int] | None,
        limits: Sequence[int],
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        """`group` completions for each prompt, in the order of the prompts, at most `limits[prompt]` tokens long.

        `seeds` holds `len(prompts) * group` numbers, ordered by prompt; without them answers are greedy, and their
        log-probabilities are those at temperature 1.

        Raises:
            BadInputError: nothing is loaded yet.
            ServiceError: no replica is left.
        """
        if not self._model:
            raise BadInputError("the replicas have no adapter yet: call load first")
        wanted = [
            _Request(
                prompt=prompt,
                seed=None if seeds is None else seeds[index * group + k],
                limit=limit,
                temperature=temperature,
            )
            for index, (prompt, limit) in enumerate(zip(prompts, limits, strict=True))
            for k in range(group)
        ]
        answers = anyio.run(self._answers, wanted)
        return [answers[start : start + group] for start in range(0, len(answers), group)]

    async def _answers(self, wanted: list[_Request]) -> list[Completion]:
        """One completion a request: all replicas take from one queue, and what a dropped one held goes back to it."""
        todo = deque(range(len(wanted)))
        done: dict[int, Completion] = {}

        async def serve(client: httpx.AsyncClient, url: str) -> None:
            held: set[int] = set()

            async def work() -> None:
                while todo:
                    held.add(index := todo.popleft())
                    done[index] = await self._ask(client, url, wanted[index], model=self._model)
                    held.remove(index)

            try:
                async with anyio.create_task_group() as workers:  # one that fails cancels the others of its replica
                    for _ in range(width):
                        workers.start_soon(work)
            finally:
                todo.extendleft(sorted(held, reverse=True))

        width = 0
        while todo:  # again where a replica failed when the others had done their part
            width = min(IN_FLIGHT, math.ceil(len(todo) / len(self._alive)))
            await self._everywhere(serve)
        return [done[index] for index in range(len(wanted))]

    async def _everywhere(self, act: Callable[[httpx.AsyncClient, str], Awaitable[None]]) -> None:
        """Do it with every replica at once; one that fails is dropped."""

        async def attempt(client: httpx.AsyncClient, url: str) -> None:
            try:
                await act(client, url)
            except* (_FailedError, httpx.HTTPError, ValidationError) as errors:
                self._drop(url, _first(errors))

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_S)
        # Groups of anyio, as in httpx: a cancellation of asyncio's would leave connections open that it is closing.
        async with (
            httpx.AsyncClient(timeout=self._timeout, limits=limits, trust_env=False) as client,
            anyio.create_task_group() as attempts,
        ):
            for url in self._alive:
                attempts.start_soon(attempt, client, url)
        if not self._alive:
            raise ServiceError(
                "no vLLM server is left: see in the log why each was dropped, and start again with sound ones"
            )

    def _drop(self, url: str, error: Exception) -> None:
        self._alive.remove(url)
        why = f"{type(error).__name__} {error}".strip() if isinstance(error, httpx.HTTPError) else str(error)
        LOG.warning("replica %s is dropped, %d left: %s", url, len(self._alive), why)

    async def _ask(self, client: httpx.AsyncClient, url: str, request: _Request, *, model: str) -> Completion:
        told = await _post(client, f"{url}/v1/completions", request.body(model, end=self._end))
        choice = _Answer.model_validate_json(told).choices[0]
        ids, logprobs = choice.token_ids, choice.logprobs.token_logprobs
        if not 0 < len(ids) == len(logprobs) <= request.limit or not all(map(math.isfinite, logprobs)):
            raise _FailedError(f"asked for {request.limit} tokens, it gave {ids} with log-probabilities {logprobs}")
        return Completion(ids=ids, logprobs=logprobs, finished=ids[-1] == self._end)


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    return _content(await client.get(url))


async def _post(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> bytes:
    return _content(await client.post(url, json=body))


def _content(answer: httpx.Response) -> bytes:
    if answer.status_code != httpx.codes.OK:
        raise _FailedError(f"{answer.request.url.path} says {answer.status_code}: {answer.text[:500]}")
    return answer.content


def _first(error: BaseException) -> Exception:
    """The first error inside groups of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)  # noqa: S101 (what is no Exception is not caught)
    return error


def _probes(policy: Policy) -> list[_Request]:
    """Prompts of arbitrary tokens, always the same: adapters show on them, and no server has special cases for them."""
    rng = random.Random(0)
    return [
        _Request(
            prompt=[rng.randrange(policy.plain.vocabulary) for _ in range(8)],
            seed=seed,
            limit=PROBE_TOKENS,
            temperature=PROBE_TEMPERATURE,
        )
        for seed in range(PROBES)
    ]


def _compare(model: Model, probes: Sequence[_Request], answers: Sequence[Completion], *, tolerance: float) -> None:
    """Fail the replica whose log-probabilities are not ours."""
    gap = _gap(model, probes, answers, temperature=PROBE_TEMPERATURE)
    if gap <= tolerance:
        return
    words = f"its log-probabilities differ from ours by {gap:.3g} nats a token, more than {tolerance:g}"
    if _gap(model, probes, answers, temperature=1.0) <= tolerance:
        words = f"{words}; they are those before the temperature: start it with --logprobs-mode processed_logprobs"
    raise _FailedError(words)


@torch.no_grad()
def _gap(model: Model, probes: Sequence[_Request], answers: Sequence[Completion], *, temperature: float) -> float:
    """Mean absolute difference in nats a token."""
    told = [torch.tensor(answer.logprobs) for answer in answers]
    ours, mask = token_logprobs(
        model, [probe.prompt for probe in probes], [answer.ids for answer in answers], temperature=temperature
    )
    return float((ours[mask] - torch.cat(told)).abs().mean())
