"""The part of vLLM's HTTP API that `engines.vllm` uses: completion requests and responses, and the list of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import BaseModel, Field

REFUSALS = (httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.UNPROCESSABLE_ENTITY)


class ReplicaError(Exception):
    """A fault of one replica, which drops it."""


class RefusedRequestError(Exception):
    """A fault of the request, which every other replica would refuse too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One completion to sample; greedy without a seed."""

    prompt: list[int]
    seed: int | None
    limit: int
    temperature: float

    def body(self, model: str, *, stops: list[int]) -> dict[str, Any]:
        """Return the body for vLLM's completions API.

        It overrides every sampling parameter that the model's `generation_config.json` could set.
        """
        return {
            "model": model,
            "prompt": self.prompt,
            "max_tokens": self.limit,
            "n": 1,
            "temperature": 0.0 if self.seed is None else self.temperature,
            "seed": None if self.seed is None else self.seed % 2**63,  # vLLM's seeds are signed
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "min_tokens": 0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "ignore_eos": True,
            "stop_token_ids": stops,
            "add_special_tokens": False,
            "logprobs": 0,
            "return_token_ids": True,
        }


class _Logprobs(BaseModel):
    token_logprobs: list[float]


class _Choice(BaseModel):
    token_ids: list[int]
    logprobs: _Logprobs


class CompletionResponse(BaseModel):
    """The part of a completions response that is used."""

    choices: list[_Choice] = Field(min_length=1)


class _Card(BaseModel):
    id: str
    max_model_len: int | None = None


class ModelList(BaseModel):
    """The models that a server has loaded, adapters included."""

    data: list[_Card]

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt with its answer, None where the server does not state it."""
        return min((card.max_model_len for card in self.data if card.max_model_len is not None), default=None)


async def get(client: httpx.AsyncClient, url: str) -> bytes:
    """Return the content of a response with status 200. Raises ReplicaError on any other."""
    return _content(await client.get(url))


async def post(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> bytes:
    """Post JSON and return the content of a response with status 200. Raises ReplicaError on any other."""
    return _content(await client.post(url, json=body))


async def post_completion(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> CompletionResponse:
    """Ask a server for a completion. Raises RefusedRequestError if it calls the request wrong, else as `post`."""
    response = await client.post(f"{url}/v1/completions", json=body)
    if response.status_code in REFUSALS:
        raise RefusedRequestError(response.text[:500])
    return CompletionResponse.model_validate_json(_content(response))


def _content(response: httpx.Response) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise ReplicaError(f"{response.request.url.path} returned {response.status_code}: {response.text[:500]}")
    return response.content
