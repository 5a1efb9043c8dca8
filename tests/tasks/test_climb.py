"""Waiting for the run that trains a night."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Completed, Pending

from tasks import climb

if TYPE_CHECKING:
    from collections.abc import Callable

RUN: Any = SimpleNamespace(id="1", name="climb")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Any]], None]:
    """Let the client give these answers, one after another: a state, or an error that it raises."""

    def prepare(answers: list[Any]) -> None:
        class Client:
            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def read_flow_run(self, _: str) -> Any:
                answer = answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return SimpleNamespace(state=answer)

        monkeypatch.setattr(climb, "get_client", lambda **_: Client())
        monkeypatch.setattr(climb, "POLL_S", 0.0)

    return prepare


def status(code: int) -> PrefectHTTPStatusError:
    request = httpx.Request("GET", "http://127.0.0.1")
    response = httpx.Response(code, request=request)
    return PrefectHTTPStatusError("refused", request=request, response=response)


def test_a_server_that_is_away_is_waited_for_and_said_from_time_to_time(
    answering: Callable[[list[Any]], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, *(30.0 * number for number in range(1, 100))])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    answering([httpx.ConnectError("away")] * 12 + [status(503)] + [Pending()] * 3 + [Completed()])
    assert climb._await_final_state(RUN).is_completed()
    said = [record.getMessage() for record in caplog.records]
    assert 1 < len(said) < 10, "not at every poll"
    assert said[0] == "the Prefect server does not answer (away); still waiting for 'climb'"


@pytest.mark.parametrize("code", [401, 403])
def test_a_server_that_refuses_to_tell_ends_the_wait(answering: Callable[[list[Any]], None], code: int) -> None:
    answering([status(code)])
    with pytest.raises(PrefectHTTPStatusError):
        climb._await_final_state(RUN)
