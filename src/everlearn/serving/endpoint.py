"""The OpenAI-compatible endpoint of a line: chat completions by the version that serves, whose name is in every answer.

    POST /v1/chat/completions   the last message is a problem of the line's domain, or, for a chat model, any conversation
    POST /v1/feedback           a caller says that an answer did not help; only with a collection of unsolved problems
    GET  /v1/models             the version that serves
    GET  /health

Decoding is greedy unless a request has a temperature: that is what the gate measures. What the endpoint cannot do
(tools, log-probabilities, a response format, stop texts) is refused instead of ignored. A request with a temperature
and no seed gets other samples each time.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import secrets
import time
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from everlearn.errors import BadInputError, GrammarError, ServiceError
from everlearn.serving.engine import LEAST_TEMPERATURE, Generation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from everlearn.problem import Problem
    from everlearn.serving.engine import Engine, Reply
    from everlearn.serving.served_version import ServedVersion
    from everlearn.serving.unsolved import UnsolvedProblems

LOG = logging.getLogger("everlearn.serving")
CHAMPION = "champion"
"""The model name that always means the version that serves."""
REMEMBERED = 10_000
"""Answers that feedback can name, the newest ones."""
MOST_CHOICES, MOST_CHARACTERS, MOST_BYTES = 16, 20_000, 1_000_000


class ContentPart(BaseModel):
    """A part of a message. Only texts are known."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart]

    @property
    def text(self) -> str:
        """The text of all parts."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(BaseModel):
    """The accepted fields of a chat completion. Any other one is refused, unless it is null.

    `user`, `metadata` and `store` have no effect.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = CHAMPION
    messages: list[Message] = Field(min_length=1)
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    seed: int | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        """Read null as absent, as the OpenAI API defines its optional fields."""
        return {k: v for k, v in fields.items() if v is not None} if isinstance(fields, dict) else fields


class Feedback(BaseModel):
    """A caller's verdict on an answer. `id` is that of the completion."""

    model_config = ConfigDict(extra="forbid")

    id: str
    solved: bool


class _RefusedError(Exception):
    """A request that is answered with an error object."""

    def __init__(self, status: int, message: str, *, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def create_endpoint(
    engine: Engine, *, line: str, keys: Sequence[str] = (), unsolved: UnsolvedProblems | None = None
) -> FastAPI:
    """Return the endpoint as an ASGI app.

    With `keys`, every request but /health needs one of them as bearer token, before its body is read. `unsolved`
    collects problems that were not solved.
    """
    app = FastAPI(title="Everlearn", docs_url=None, redoc_url=None, openapi_url=None)
    routes = _Routes(engine, line=line, keys=keys, unsolved=unsolved)
    app.middleware("http")(routes.admit)
    app.add_exception_handler(_RefusedError, _refuse)
    app.add_exception_handler(RequestValidationError, _explain)
    app.add_exception_handler(HTTPException, _name_request)
    app.add_api_route("/health", routes.health)
    app.add_api_route("/v1/models", routes.models)
    app.add_api_route("/v1/chat/completions", routes.complete, methods=["POST"])
    if unsolved is not None:
        app.add_api_route("/v1/feedback", routes.feedback, methods=["POST"])
    return app


class _Routes:
    """The handlers of the endpoint, and the problems that were asked, by the ids of their answers."""

    def __init__(self, engine: Engine, *, line: str, keys: Sequence[str], unsolved: UnsolvedProblems | None) -> None:
        self._engine, self._line, self._keys, self._unsolved = engine, line, keys, unsolved
        self._asked: OrderedDict[str, Problem] = OrderedDict()

    async def admit(self, request: Request, handle: Callable[[Request], Awaitable[Response]]) -> Response:
        """Refuse a request without a key, or with a large body, by its headers, before its body is read."""
        try:
            request.state.caller = "" if request.url.path == "/health" else _authenticate(request, self._keys)
            _require_small(request)
        except _RefusedError as error:
            return _refuse(request, error)
        return await handle(request)

    def health(self) -> JSONResponse:
        served = self._engine.served
        if not served.can_answer:
            return JSONResponse({"status": "no server", "version": served.version}, status_code=503)
        return JSONResponse({"status": "ok", "version": served.version})

    def models(self) -> dict[str, Any]:
        names = (CHAMPION, _name(self._line, self._engine.served.version))
        return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": self._line} for name in names]}

    async def complete(self, request: Request, body: ChatRequest) -> Response:
        served = self._engine.served
        _require_model(body.model, line=self._line, version=served.version)
        generation = _generation(body, served)
        reply = await self._reply(generation)
        _require_model(body.model, line=self._line, version=reply.version)  # another one may have taken over
        content = _content(reply, line=self._line)
        headers = {"x-everlearn-version": reply.version, "x-everlearn-manifest": reply.manifest or ""}
        if generation.problem and self._unsolved is not None:
            self._remember(content["id"], generation.problem)
            judge = partial(_judge, self._unsolved, generation, reply, caller=request.state.caller)
            headers["x-everlearn-collected"] = await _collected(judge)
        if not body.stream:
            return JSONResponse(content, headers=headers)
        events = _events(content, with_usage=bool((body.stream_options or {}).get("include_usage")))
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _reply(self, generation: Generation) -> Reply:
        """Return the reply of the engine. Raises _RefusedError where there is none."""
        try:
            return await asyncio.wrap_future(self._engine.submit(generation))
        except GrammarError as error:
            raise _RefusedError(400, str(error), code="not_a_problem") from None
        except BadInputError as error:
            raise _RefusedError(400, str(error), code="too_long") from None
        except ServiceError:
            LOG.warning("a request found no server")
            message = "no vLLM server answers at the moment: ask again in a minute"
            raise _RefusedError(503, message, code="no_server") from None
        except Exception as error:
            LOG.exception("a request failed")
            message = (
                f"the model failed on this request ({type(error).__name__}); the log of the endpoint has the details"
            )
            raise _RefusedError(500, message, code="model_failed") from error

    async def feedback(self, request: Request, body: Feedback) -> dict[str, str]:
        assert self._unsolved is not None  # noqa: S101 (the route is there only with a collection)
        if body.id not in self._asked:
            raise _RefusedError(404, f"no answer {body.id} to a problem is known here any more", code="unknown_answer")
        if body.solved:
            return {"collected": "no: solved"}
        problem, caller = self._asked[body.id], request.state.caller
        return {"collected": await _collected(partial(self._unsolved.add, problem, caller=caller))}

    def _remember(self, answer: str, problem: Problem) -> None:
        self._asked[answer] = problem
        while len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)


def _judge(unsolved: UnsolvedProblems, generation: Generation, reply: Reply, *, caller: str) -> str:
    """Collect the problem if no answer solves it. Answers that the caller's own limit has cut off say nothing about that."""
    assert generation.problem is not None  # noqa: S101 (a conversation is not judged)
    cut = generation.max_tokens
    whole = [each.answer for each in reply.completions if each.finished or each.answer or each.tokens != cut]
    return unsolved.judge(generation.problem, whole, caller=caller) if whole else "no: cut off by max_tokens"


async def _collected(add: Callable[[], str]) -> str:
    """Return what `add` returns in a thread: "yes", or "no: " and the reason. An error is logged: the answer is there."""
    try:
        return await asyncio.to_thread(add)
    except Exception:
        LOG.exception("an unsolved problem was not collected")
        return "no: failed"


def _refuse(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, _RefusedError)  # noqa: S101 (the handler of this exception)
    return _error(error.status, str(error), code=error.code)


def _explain(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (the handler of this exception)
    where, message = error.errors()[0]["loc"][1:], error.errors()[0]["msg"]
    return _error(400, f"{'.'.join(map(str, where)) or 'the request'}: {message}", code="invalid_request")


def _name_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (the handler of this exception)
    return _error(error.status_code, f"{request.method} {request.url.path}: {error.detail}", code="invalid_request")


def _authenticate(request: Request, keys: Sequence[str]) -> str:
    """Return the key of the caller, empty where none is needed."""
    given = re.sub("^bearer ", "", request.headers.get("authorization", ""), flags=re.IGNORECASE).strip()
    if not keys:
        return ""
    if not any(hmac.compare_digest(given.encode(), key.encode()) for key in keys):
        raise _RefusedError(401, "the API key is missing or wrong: send it as a bearer token", code="invalid_api_key")
    return given


def _require_small(request: Request) -> None:
    length = request.headers.get("content-length", "0" if request.method == "GET" else "")
    if not length.isdecimal() or "transfer-encoding" in request.headers:  # whose chunks count, and not the length
        raise _RefusedError(
            411, "the request does not state the length of its body: send Content-Length", code="no_length"
        )
    if int(length) > MOST_BYTES:
        raise _RefusedError(413, f"the body has {length} bytes, and at most {MOST_BYTES} are read", code="too_long")


def _require_model(name: str, *, line: str, version: str) -> None:
    known = (CHAMPION, line, _name(line, version))
    if name not in known:
        message = f"model {name!r} does not serve here; {known[-1]} does, also under the name {CHAMPION!r}"
        raise _RefusedError(404, message, code="model_not_found")


def _name(line: str, version: str) -> str:
    return f"{line}/{version}"


def _generation(body: ChatRequest, served: ServedVersion) -> Generation:
    """Return the request for the engine: a problem where the last message is one, otherwise the conversation."""
    text = body.messages[-1].text.strip()
    if sum(len(message.text) for message in body.messages) > MOST_CHARACTERS:
        raise _RefusedError(400, f"the messages have more than {MOST_CHARACTERS} characters", code="too_long")
    messages: tuple[dict[str, str], ...] = ()
    problem = None
    try:
        problem = served.domain.problem(text) if body.messages[-1].role == "user" else None
    except GrammarError as error:
        if not served.form.asks_in_words:
            message = f"the last message is no problem of the domain {served.domain.name}: {error}"
            raise _RefusedError(400, message, code="not_a_problem") from None
    if problem is None:
        roles = {"developer": "system"}
        messages = tuple({"role": roles.get(each.role, each.role), "content": each.text} for each in body.messages)
    temperature = body.temperature if body.temperature >= LEAST_TEMPERATURE else 0.0
    seed = body.seed
    if seed is None:
        seed = secrets.randbelow(2**31) if temperature else 0
    return Generation(
        problem=problem,
        messages=messages,
        count=body.n,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=temperature,
        seed=seed,
    )


def _content(reply: Reply, *, line: str) -> dict[str, Any]:
    said = sum(each.tokens for each in reply.completions)
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": _name(line, reply.version),
        "system_fingerprint": reply.manifest,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": each.text}
                | ({"reasoning_content": each.reasoning} if each.reasoning else {}),
                "finish_reason": "stop" if each.finished else "length",
                "logprobs": None,
            }
            for index, each in enumerate(reply.completions)
        ],
        "usage": {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": said,
            "total_tokens": reply.prompt_tokens + said,
        },
    }


def _events(content: dict[str, Any], *, with_usage: bool) -> Iterator[str]:
    """Yield a completion as server-sent events: it is decoded as a whole, so each choice is one chunk."""
    about = {name: content[name] for name in ("id", "created", "model", "system_fingerprint")}
    about["object"] = "chat.completion.chunk"
    for choice in content["choices"]:
        chunk = {"index": choice["index"], "delta": choice["message"], "finish_reason": choice["finish_reason"]}
        yield f"data: {json.dumps(about | {'choices': [chunk]})}\n\n"
    if with_usage:
        yield f"data: {json.dumps(about | {'choices': [], 'usage': content['usage']})}\n\n"
    yield "data: [DONE]\n\n"


def _error(status: int, message: str, *, code: str) -> JSONResponse:
    kind = {401: "authentication_error", 500: "server_error", 503: "server_error"}.get(status, "invalid_request_error")
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": code}}, status_code=status)
