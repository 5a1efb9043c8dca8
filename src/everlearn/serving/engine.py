"""Answer prompts with one version at a time: requests that wait together are decoded together.

A request is decoded by the version that serves when its decoding begins. A new version takes over between two batches,
so that no request is dropped or answered by two versions. One thread decodes here; with `rollouts.engine: vllm` many
hand one request each to the servers, which batch them, and an adapter is unloaded there after its last request.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from everlearn.errors import BadInputError
from everlearn.training.rollouts import prompt_tokens, seed_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everlearn.problem import Problem
    from everlearn.serving.served_version import ServedVersion
    from everlearn.training.engines.decode import Completion
    from everlearn.training.models.formats.format import ServedFormat

MOST_ROWS = 32
"""Completions that are decoded at once."""
SENDERS = 32
"""Threads that hand requests to vLLM."""
CONVERSATION_TOKENS, MOST_TOKENS = 512, 4096
"""Tokens of an answer in a conversation, unless the request says otherwise, and the most that it may ask for."""
LEAST_TEMPERATURE = 1e-5
"""The temperature below which decoding is greedy, as with vLLM: divided by less, logits overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A request: what is asked, and how. `problem` is a problem of the domain, or else `messages` are a conversation.

    `max_tokens` None is the usual limit. At temperature 0 decoding is greedy.
    """

    problem: Problem | None
    messages: tuple[dict[str, str], ...] = ()
    count: int = 1
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """One completion: the text to show, the answer to judge, and its length; `reasoning` is kept apart."""

    text: str
    answer: str
    reasoning: str
    tokens: int
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The completions of a request, and the version that they are of."""

    version: str
    manifest: str | None
    prompt_tokens: int
    completions: tuple[Generated, ...]


@dataclass(slots=True, kw_only=True)
class _Waiting:
    request: Generation
    reply: Future[Reply] = field(default_factory=Future)

    @property
    def decoded_alike(self) -> tuple[float, bool]:
        """Temperature, and whether it is a conversation: equal for all requests of a batch."""
        return self.request.temperature, self.request.problem is None


class Engine:
    """Decode requests in threads of its own, until `close`."""

    def __init__(self, served: ServedVersion) -> None:
        self._served = served
        self._lock = threading.Lock()
        self._batches: Counter[ServedVersion] = Counter()
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        senders = SENDERS if served.sampler else 1
        self._threads = [threading.Thread(target=self._work, name="decode", daemon=True) for _ in range(senders)]
        for thread in self._threads:
            thread.start()

    @property
    def served(self) -> ServedVersion:
        """The version that the next batch is decoded by."""
        return self._served

    def use(self, served: ServedVersion) -> None:
        """Let another version take over. The one before is closed after the batches that it decodes now."""
        with self._lock:
            before, self._served = self._served, served
            is_idle = not self._batches[before]
        if is_idle:
            before.close()

    def submit(self, request: Generation) -> Future[Reply]:
        """Queue a request. The future raises BadInputError if it cannot be stated to the model, or is too long for it."""
        waiting = _Waiting(request=request)
        self._waiting.put(waiting)
        return waiting.reply

    def close(self) -> None:
        """Answer what was queued, end the threads, and close the version."""
        self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        self._served.close()

    @contextlib.contextmanager
    def _decoding(self) -> Iterator[ServedVersion]:
        """Yield the version that serves now, and close it after its last batch if another one has taken over."""
        with self._lock:
            served = self._served
            self._batches[served] += 1
        try:
            yield served
        finally:
            with self._lock:
                self._batches[served] -= 1
                is_over = served is not self._served and not self._batches[served]
                self._batches += Counter()  # keeps only what is above 0: a version that is over takes no memory
            if is_over:
                served.close()

    def _work(self) -> None:
        held: _Waiting | None = None
        while (first := held or self._waiting.get()) is not None:
            batch, held = self._batch(first)
            with self._decoding() as served:
                self._answer(batch, served=served)
        self._waiting.put(None)  # for the other threads

    def _batch(self, first: _Waiting) -> tuple[list[_Waiting], _Waiting | None]:
        """Return the requests to decode with `first`, and a request from the queue that begins the next batch, if any."""
        batch, rows = [first], first.request.count
        while self._served.sampler is None and rows < MOST_ROWS:
            try:
                another = self._waiting.get_nowait()
            except queue.Empty:
                break
            if another is None:
                self._waiting.put(None)  # the end, after this batch
                break
            rows += another.request.count
            if another.decoded_alike != first.decoded_alike or rows > MOST_ROWS:
                return batch, another
            batch.append(another)
        return batch, None

    def _answer(self, batch: list[_Waiting], *, served: ServedVersion) -> None:
        ready = list[tuple[_Waiting, list[int], int]]()
        for waiting in batch:
            if not waiting.reply.set_running_or_notify_cancel():
                continue  # its caller is gone
            try:
                prompt = _prompt(served, waiting.request)
                ready.append((waiting, prompt, _limit(served, waiting.request, prompt)))
            except Exception as error:  # noqa: BLE001 - it belongs to the caller of this request, not to the others
                waiting.reply.set_exception(error)
        if not ready:
            return
        try:
            replies = _decode(served, ready)
        except Exception as error:  # noqa: BLE001 - the thread goes on, and every caller gets the error
            for waiting, _, _ in ready:
                waiting.reply.set_exception(error)
            return
        for (waiting, _, _), reply in zip(ready, replies, strict=True):
            waiting.reply.set_result(reply)


def _prompt(served: ServedVersion, request: Generation) -> list[int]:
    """Return the tokens of the prompt: of a problem as in training, of a conversation by the template of the model."""
    if request.problem is None:
        return served.form.conversation(request.messages).ids
    return prompt_tokens(served.form, request.problem, seed=request.seed)


def _decode(served: ServedVersion, batch: Sequence[tuple[_Waiting, list[int], int]]) -> list[Reply]:
    """Decode a batch; each completion is cut at the limit of its own request."""
    rows = [
        (waiting.request, prompt, limit, number)
        for waiting, prompt, limit in batch
        for number in range(waiting.request.count)
    ]
    temperature = batch[0][0].request.temperature
    seeds = [seed_of(request.seed, "answer", number) for request, _, _, number in rows]
    decoded = served.complete(
        [prompt for _, prompt, _, _ in rows],
        seeds=seeds if temperature else None,
        limits=[limit for _, _, limit, _ in rows],
        temperature=temperature or 1.0,
    )
    completions = iter(completion for group in decoded for completion in group)
    return [
        Reply(
            version=served.version,
            manifest=served.manifest,
            prompt_tokens=len(prompt),
            completions=tuple(
                _generated(served.form, next(completions).cut(limit)) for _ in range(waiting.request.count)
            ),
        )
        for waiting, prompt, limit in batch
    ]


def _limit(served: ServedVersion, request: Generation, prompt: list[int]) -> int:
    """Return the most tokens of a completion: of an answer to a problem never more than in training.

    Raises BadInputError where the context has no room for any.
    """
    most = MOST_TOKENS if request.problem is None else served.form.max_tokens(prompt)
    limit = min(request.max_tokens or (CONVERSATION_TOKENS if request.problem is None else most), most)
    context = served.context
    if context is None:
        return limit
    if len(prompt) >= context:
        raise BadInputError(
            f"the prompt has {len(prompt)} tokens, and the context of the model is {context} tokens with the answer: shorten it"
        )
    return min(limit, context - len(prompt))


def _generated(form: ServedFormat, completion: Completion) -> Generated:
    reasoning, text = form.read(completion)
    if not text and not completion.finished:  # a format keeps a truncated text from being judged; a reader may see it
        reasoning, text = "", reasoning
    return Generated(
        text=text,
        answer=form.answer(completion),
        reasoning=reasoning,
        tokens=len(completion.ids),
        finished=completion.finished,
    )
