"""Rollouts from vLLM servers, which sample with the policy's newest adapter.

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=true vllm serve /models/base --enable-lora --max-lora-rank 16 \
        --logprobs-mode processed_logprobs

    replicas = Replicas(["http://gpu-1:8000", "http://gpu-2:8000"], stops=policy.stops, folder=shared / "adapters")
    replicas.load(policy, version="step-0007")
    replicas.complete(prompts, group=8, seeds=seeds, limits=limits)

Requests and answers are token ids, so that both sides cannot tokenize differently. After each load, a replica answers a
few probes, and the log-probabilities that it reports must be those of our own forward pass, and neither those of the
adapter before nor those of the bare base (`sampled_weights`). A replica that fails in any way is dropped, with one line
in the log, and is not used again; its requests go to the others. Several threads may send requests at once. The servers
read `folder` at the same path. Equal seeds give equal answers only up to the server's rounding, which depends on its
batch.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import math
import shutil
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import torch
from pydantic import ValidationError

from everlearn.errors import BadInputError, ServiceError
from everlearn.registry.adapter_settings import CONFIG, WEIGHTS
from everlearn.training.engines import collectives
from everlearn.training.engines.decode import Completion
from everlearn.training.engines.replica_probes import check_logprobs, probes_of
from everlearn.training.engines.vllm_api import (
    CompletionRequest,
    ModelList,
    RefusedRequestError,
    ReplicaError,
    get,
    post,
    post_completion,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from pathlib import Path

    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy

LOG = logging.getLogger("everlearn.learn")
TOLERANCE = {"float32": 0.001, "bfloat16": 0.1}
"""Mean difference from our own forward pass, in nats a token, that a server may have; dtype is the coarser one of the two."""
MAX_IN_FLIGHT = 64
"""Concurrent requests to one replica; it batches them itself."""
CONNECT_S, UNLOAD_S = 10.0, 10.0
"""Seconds that a server has to accept a connection, and to unload an adapter; one that hangs keeps it."""
IDLE_S = 2.0
"""Seconds that an idle connection is kept: vLLM closes it after 5, and a request sent at that moment would be lost."""
BARE = "the base model without an adapter"


class Replicas:
    """vLLM servers that complete prompts with the policy's newest adapter. See `rollouts.Sampler`."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        stops: Collection[int],
        folder: Path,
        timeout_s: float = 600.0,
        load_timeout_s: float = 600.0,
        dtype: str = "float32",
        can_sleep: bool = False,
    ) -> None:
        wrong = [url for url in urls if not url.startswith(("http://", "https://"))]
        if wrong or not urls:
            raise BadInputError(f"replicas are named by addresses such as http://gpu-1:8000, not by {wrong}")
        if dtype not in TOLERANCE:
            raise BadInputError(f"unknown dtype of replicas: {dtype!r}; choose one of {', '.join(TOLERANCE)}")
        self._alive = list(dict.fromkeys(url.rstrip("/") for url in urls))
        self._all = tuple(self._alive)
        self._stops = sorted(stops)
        self._folder = folder.resolve()
        self._timeout_s, self._load_timeout_s, self._tolerance = timeout_s, load_timeout_s, TOLERANCE[dtype]
        self._contexts: list[int] = []
        self._model, self._path = "", self._folder
        self._before: Model | None = None
        self._can_sleep, self._is_asleep = can_sleep, False
        self._lock, self._turns = threading.Lock(), itertools.count()

    @property
    def alive(self) -> list[str]:
        """The addresses still in use."""
        return list(self._alive)

    @property
    def lost(self) -> list[str]:
        """The addresses that were dropped."""
        alive = self.alive
        return [url for url in self._all if url not in alive]

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt with its answer; None where no server states it."""
        return min(self._contexts, default=None)

    def load(self, policy: Policy, *, version: str) -> None:
        """Load the adapter into every replica, check that it answers with it, and unload the one before.

        Of several processes that train together the first one does it for all. The servers know the adapter as
        `version` and the beginning of its digest: vLLM caches the keys and values of prefixes by that name, which
        therefore must never mean other weights.

        Raises:
            ServiceError: all replicas failed.
        """
        if collectives.rank() == 0:
            self._wake_up()
            policy.save(self._folder / version)
        collectives.wait_for_all()
        path = self._folder / version
        digest = hashlib.sha256((path / WEIGHTS).read_bytes() + (path / CONFIG).read_bytes()).hexdigest()
        model = f"{version}-{digest[:12]}"
        ours, before = policy.snapshot(), (self._model, self._path)
        self._model, self._path = model, path  # from here on `unload` removes it, whatever happens
        if collectives.rank() == 0:
            self._replace(policy, *before, ours=ours)
        collectives.wait_for_all()
        self._before = ours

    def _replace(self, policy: Policy, before: str, before_path: Path, *, ours: Model) -> None:
        """Load the newest adapter, check the answers with it, and unload and remove the one before."""
        path, model, probes = self._path, self._model, probes_of(policy)
        allowed = self._tolerance if ours.head.dtype == torch.float32 else TOLERANCE["bfloat16"]
        others = {BARE: policy.base_model} | ({f"the adapter {before}": self._before} if self._before else {})

        async def replace_adapter(client: httpx.AsyncClient, url: str) -> None:
            models = ModelList.model_validate_json(await get(client, f"{url}/v1/models"))
            loaded = {card.id for card in models.data}
            self._contexts += [] if models.context is None else [models.context]
            if model not in loaded:
                await post(client, f"{url}/v1/load_lora_adapter", {"lora_name": model, "lora_path": str(path)})
            answers = await self._complete_all(client, url, probes, model=model)
            check_logprobs(ours, probes, answers, tolerance=allowed, others=others)
            if before in loaded - {model}:
                await post(client, f"{url}/v1/unload_lora_adapter", {"lora_name": before})

        anyio.run(self._on_all, replace_adapter, self._load_timeout_s)
        if before_path not in {self._folder, path}:
            shutil.rmtree(before_path, ignore_errors=True)

    def sleep(self) -> None:
        """Let the servers give the memory of their device back until the next load, where they can."""
        if self._can_sleep and not self._is_asleep:  # a shared GPU has one learner
            self._post_to_all("/sleep?level=1", {})
            self._is_asleep = True

    def _wake_up(self) -> None:
        if self._is_asleep:
            self._post_to_all("/wake_up", {})
            self._is_asleep = False

    def unload(self) -> None:
        """Unload the newest adapter, also from servers that were dropped, and remove its file. Errors are ignored."""
        collectives.wait_for_all()
        if not self._model or collectives.rank():
            return
        self._alive = list(self._all)
        with contextlib.suppress(ServiceError):
            self._wake_up()
            self._post_to_all("/v1/unload_lora_adapter", {"lora_name": self._model}, timeout_s=UNLOAD_S)
        shutil.rmtree(self._path, ignore_errors=True)
        self._model, self._path, self._before = "", self._folder, None

    def complete(
        self,
        prompts: Sequence[list[int]],
        *,
        group: int,
        seeds: Sequence[int] | None,
        limits: Sequence[int],
        temperature: float = 1.0,
    ) -> list[list[Completion]]:
        """Return `group` completions for each prompt, in the order of the prompts, at most `limits[prompt]` tokens long.

        `seeds` holds `len(prompts) * group` numbers, ordered by prompt; without them answers are greedy, and their
        log-probabilities are those at temperature 1.

        Raises:
            BadInputError: no adapter was loaded yet, or a replica calls a request wrong, such as a prompt that is too long.
            ServiceError: all replicas failed.
        """
        if not self._model:
            raise BadInputError("the replicas have no adapter yet: call load first")
        requests = [
            CompletionRequest(
                prompt=prompt,
                seed=None if seeds is None else seeds[index * group + k],
                limit=limit,
                temperature=temperature,
            )
            for index, (prompt, limit) in enumerate(zip(prompts, limits, strict=True))
            for k in range(group)
        ]
        answers = anyio.run(self._distribute, requests)
        return [answers[start : start + group] for start in range(0, len(answers), group)]

    async def _distribute(self, requests: list[CompletionRequest]) -> list[Completion]:
        """Return one completion a request. All replicas take from one queue; a dropped one returns what it held."""
        todo = deque(range(len(requests)))
        done: dict[int, Completion] = {}
        refused: list[RefusedRequestError] = []

        async def serve(client: httpx.AsyncClient, url: str) -> None:
            held: set[int] = set()

            async def work() -> None:
                while todo:
                    held.add(index := todo.popleft())
                    try:
                        done[index] = await self._complete_one(client, url, requests[index], model=self._model)
                    except RefusedRequestError as error:
                        refused.append(error)
                    held.remove(index)

            try:
                async with anyio.create_task_group() as workers:  # a failure cancels the other requests to this replica
                    for _ in range(width):
                        workers.start_soon(work)
            finally:
                todo.extendleft(sorted(held, reverse=True))

        width = 0
        while todo:  # another round if a replica failed after the others had emptied the queue
            width = min(MAX_IN_FLIGHT, math.ceil(len(todo) / max(1, len(self._alive))))
            await self._on_all(serve)
        if refused:
            raise BadInputError(f"vLLM refused {len(refused)} of {len(requests)} requests: {refused[0]}")
        return [done[index] for index in range(len(requests))]

    async def _on_all(
        self, action: Callable[[httpx.AsyncClient, str], Awaitable[None]], timeout_s: float | None = None
    ) -> None:
        """Run the action on every replica at once, and drop those on which it fails."""

        async def attempt(client: httpx.AsyncClient, url: str) -> None:
            try:
                await action(client, url)
            except* (ReplicaError, RefusedRequestError, httpx.HTTPError, ValidationError) as errors:
                self._drop(url, _first(errors))

        allowed = timeout_s or self._timeout_s
        timeout = httpx.Timeout(allowed, connect=min(allowed, CONNECT_S))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_S)
        # A machine that was suspended or overloaded meanwhile sees its attempts to connect as timed out, all at once.
        transport = httpx.AsyncHTTPTransport(limits=limits, retries=1, trust_env=False)
        # Task groups of anyio, which httpx uses, too: asyncio's cancellation would leave connections half-closed.
        async with (
            httpx.AsyncClient(timeout=timeout, transport=transport, trust_env=False) as client,
            anyio.create_task_group() as attempts,
        ):
            for url in self._in_turn():
                attempts.start_soon(attempt, client, url)
        if not self._alive:
            raise ServiceError("no vLLM server is left: see in the log why each was dropped, fix them and start again")

    def _in_turn(self) -> list[str]:
        """Return the replicas in use, another one first each time: the first one takes a single request."""
        alive, turn = self.alive, next(self._turns)
        return [alive[(turn + place) % len(alive)] for place in range(len(alive))]

    def _post_to_all(self, path: str, body: dict[str, Any], *, timeout_s: float | None = None) -> None:
        async def request(client: httpx.AsyncClient, url: str) -> None:
            await post(client, f"{url}{path}", body)

        anyio.run(self._on_all, request, timeout_s)

    def _drop(self, url: str, error: Exception) -> None:
        with self._lock:
            if url not in self._alive:
                return  # another thread was first
            self._alive.remove(url)
        reason = f"{type(error).__name__} {error}".strip() if isinstance(error, httpx.HTTPError) else str(error)
        LOG.warning("replica %s is dropped, %d left: %s", url, len(self._alive), reason)

    async def _complete_all(
        self, client: httpx.AsyncClient, url: str, requests: list[CompletionRequest], *, model: str
    ) -> list[Completion]:
        """Return the completions of one replica for all requests, sent at once."""
        answers: dict[int, Completion] = {}

        async def complete(index: int) -> None:
            answers[index] = await self._complete_one(client, url, requests[index], model=model)

        async with anyio.create_task_group() as group:
            for index in range(len(requests)):
                group.start_soon(complete, index)
        return [answers[index] for index in range(len(requests))]

    async def _complete_one(
        self, client: httpx.AsyncClient, url: str, request: CompletionRequest, *, model: str
    ) -> Completion:
        choice = (await post_completion(client, url, request.body(model, stops=self._stops))).choices[0]
        ids, logprobs = choice.token_ids, choice.logprobs.token_logprobs
        if not 0 < len(ids) == len(logprobs) <= request.limit or not all(map(math.isfinite, logprobs)):
            raise ReplicaError(f"at most {request.limit} tokens requested, got {ids} with log-probabilities {logprobs}")
        if len(ids) < request.limit and ids[-1] not in self._stops:
            raise ReplicaError(f"it ended an answer after {len(ids)} of {request.limit} tokens without an end token")
        return Completion(ids=ids, logprobs=logprobs, finished=ids[-1] in self._stops)


def _first(error: BaseException) -> Exception:
    """Return the first error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)  # noqa: S101 (only Exceptions are caught)
    return error
