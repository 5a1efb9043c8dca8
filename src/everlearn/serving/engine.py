"""Answer prompts with one version at a time, in one thread: requests that wait together are decoded together.

A request is decoded by the version that serves when its decoding begins. A new version takes over between two batches, so that
no request is dropped or answered by two versions.
"""

from __future__ import annotations

import queue
import random
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.training.engines.decode import Completion, decode
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem
    from everlearn.settings import Settings
    from everlearn.training.models.formats.format import ServedFormat
    from everlearn.training.models.llama import Model

MOST_ROWS = 32
"""Completions that are decoded at once."""
CONVERSATION_TOKENS, MOST_TOKENS = 512, 4096
"""Tokens of an answer in a conversation, unless the request says otherwise, and the most that it may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedVersion:
    """A version in memory, its adapter merged. `manifest` is the digest of its manifest; None: the base model alone."""

    version: str
    manifest: str | None
    model: Model
    form: ServedFormat
    domain: Domain


def load_version(
    base: Path, adapter: Path | None, *, version: str, manifest: str | None, settings: Settings
) -> ServedVersion:
    """Load a version. Raises ModelError if the base or the adapter cannot be used."""
    policy, domain = load_policy(base, adapter, compute=settings.compute), load_domain(settings.domain)
    return ServedVersion(
        version=version,
        manifest=manifest,
        model=policy.snapshot(),
        form=choose_format(policy, domain, settings.format),
        domain=domain,
    )


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
        """What all rows of a batch have in common."""
        return self.request.temperature, self.request.problem is None


class Engine:
    """Decode requests in a thread of its own, until `close`."""

    def __init__(self, served: ServedVersion) -> None:
        self._served = served
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)
        self._thread.start()

    @property
    def served(self) -> ServedVersion:
        """The version that the next batch is decoded by."""
        return self._served

    def use(self, served: ServedVersion) -> None:
        """Let another version take over after the batch that is being decoded."""
        self._served = served

    def submit(self, request: Generation) -> Future[Reply]:
        """Queue a request. The future raises GrammarError if the format cannot state the problem."""
        waiting = _Waiting(request=request)
        self._waiting.put(waiting)
        return waiting.reply

    def close(self) -> None:
        """Answer what was queued, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        held: _Waiting | None = None
        while True:
            first = held or self._waiting.get()
            held = None
            if first is None:
                return
            batch = [first]
            while sum(each.request.count for each in batch) < MOST_ROWS and not self._waiting.empty():
                another = self._waiting.get()
                if another is None:
                    self._waiting.put(None)  # after this batch
                    break
                rows = sum(each.request.count for each in batch) + another.request.count
                if another.decoded_alike != first.decoded_alike or rows > MOST_ROWS:
                    held = another
                    break
                batch.append(another)
            self._answer(batch)

    def _answer(self, batch: list[_Waiting]) -> None:
        served, ready = self._served, list[tuple[_Waiting, list[int]]]()
        for waiting in batch:
            if not waiting.reply.set_running_or_notify_cancel():
                continue  # its caller is gone
            try:
                ready.append((waiting, _prompt(served, waiting.request)))
            except Exception as error:  # noqa: BLE001 - it belongs to the caller of this request, not to the others
                waiting.reply.set_exception(error)
        if not ready:
            return
        try:
            replies = _decode(served, ready)
        except Exception as error:  # noqa: BLE001 - the thread goes on, and every caller gets the error
            for waiting, _ in ready:
                waiting.reply.set_exception(error)
            return
        for (waiting, _), reply in zip(ready, replies, strict=True):
            waiting.reply.set_result(reply)


def _prompt(served: ServedVersion, request: Generation) -> list[int]:
    """Return the tokens of the prompt: of a problem as in training, of a conversation by the template of the model."""
    if request.problem is None:
        return served.form.conversation(request.messages).ids
    rng = random.Random(seed_of(request.seed, "prompt", request.problem.statement))  # noqa: S311 - no secret
    return served.form.prompt(request.problem, rng=rng).ids


def _decode(served: ServedVersion, batch: Sequence[tuple[_Waiting, list[int]]]) -> list[Reply]:
    """Decode a batch; each completion is cut at the limit of its own request."""
    limits = [_limit(served.form, waiting.request, prompt) for waiting, prompt in batch]
    rows = [(waiting.request, prompt) for waiting, prompt in batch for _ in range(waiting.request.count)]
    temperature = batch[0][0].request.temperature
    numbers = [number for waiting, _ in batch for number in range(waiting.request.count)]
    seeds = [seed_of(request.seed, "answer", number) for (request, _), number in zip(rows, numbers, strict=True)]
    decoded = decode(
        served.model,
        [prompt for _, prompt in rows],
        group=1,
        seeds=seeds if temperature else None,
        stops=served.form.stops,
        limit=max(limits),
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
        for (waiting, prompt), limit in zip(batch, limits, strict=True)
    ]


def _limit(form: ServedFormat, request: Generation, prompt: list[int]) -> int:
    """Return the most tokens of a completion: of an answer to a problem never more than in training."""
    if request.problem is None:
        return min(request.max_tokens or CONVERSATION_TOKENS, MOST_TOKENS)
    most = form.max_tokens(prompt)
    return min(request.max_tokens or most, most)


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
