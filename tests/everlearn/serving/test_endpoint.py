"""The endpoint as an application sees it: the official client, the real demo model, promotions while requests are in flight."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.pool import VerifierPool
from everlearn.serving import endpoint, served_version
from everlearn.serving.endpoint import MOST_CHARACTERS, create_endpoint
from everlearn.serving.engine import Engine, Generation
from everlearn.serving.served_version import load_version
from everlearn.serving.unsolved import UnsolvedProblems
from everlearn.settings import Settings
from everlearn.storage.in_memory import MemoryStore
from everlearn.training.engines.decode import decode
from everlearn.training.models.policy import load_policy
from tests.support.adapters import shake
from tests.support.chat_models import NO_SYSTEM, write_model
from tests.support.endpoint import client_of, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from openai import OpenAI
    from openai.types import CompletionUsage

    from everlearn.serving.engine import Reply
    from everlearn.serving.served_version import ServedVersion

BASE = Path(__file__).parents[3] / "data" / "base"
EASY, HARD = "2*x + cos(x)", "x^7*exp(x)*sin(x)"
LINE = "integration"
CONTEXT = 2048
"""Tokens of a chat model of `write_model`."""


@pytest.fixture(scope="module")
def base() -> ServedVersion:
    return load_version(BASE, None, version="base", manifest=None, settings=Settings())


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> ServedVersion:
    """A version whose answers differ from those of the base."""
    folder = tmp_path_factory.mktemp("adapter")
    shake(load_policy(BASE, None), seed=1, size=0.1).save(folder)
    return load_version(BASE, folder, version="v0001", manifest="a" * 64, settings=Settings())


@pytest.fixture
def engine(base: ServedVersion) -> Iterator[Engine]:
    engine = Engine(base)
    yield engine
    engine.close()


@pytest.fixture
def client(engine: Engine) -> Iterator[OpenAI]:
    with running(create_endpoint(engine, line=LINE)) as url, client_of(url) as client:
        yield client


def ask(client: OpenAI, text: str, **options: object) -> str:
    made = client.chat.completions.create(model="champion", messages=[{"role": "user", "content": text}], **options)  # type: ignore[call-overload]
    return str(made.choices[0].message.content)


def test_the_official_client_gets_a_right_answer_with_its_version(client: OpenAI) -> None:
    made = client.chat.completions.create(model="champion", messages=[{"role": "user", "content": EASY}])
    [choice] = made.choices
    domain = load_domain("integration")
    assert domain.verify(domain.problem(EASY), str(choice.message.content)).is_correct
    assert choice.finish_reason == "stop"
    assert made.model == "integration/base"
    assert made.usage
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0
    assert {model.id for model in client.models.list()} == {"champion", "integration/base"}


def test_greedy_answers_repeat_and_sampled_ones_follow_their_seed(client: OpenAI) -> None:
    assert ask(client, EASY) == ask(client, EASY)
    drawn = [
        client.chat.completions.create(
            model=LINE, messages=[{"role": "user", "content": HARD}], n=4, temperature=1.5, seed=seed
        )
        for seed in (1, 1, 2)
    ]
    texts = [[choice.message.content for choice in made.choices] for made in drawn]
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) > 1


def test_a_stream_gives_the_same_text_and_the_usage(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="champion",
        messages=[{"role": "user", "content": [{"type": "text", "text": EASY}]}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ask(client, EASY)
    assert chunks[-1].usage is not None
    plain = client.chat.completions.create(model="champion", messages=[{"role": "user", "content": EASY}], stream=True)
    assert all(chunk.usage is None for chunk in plain)


def test_a_short_limit_cuts_the_answer_of_its_own_request_alone(base: ServedVersion) -> None:
    problem = base.domain.problem(EASY)
    engine = Engine(base)
    busy = engine.submit(Generation(problem=problem, count=16))  # the others wait for it, and are one batch
    short, whole = (engine.submit(Generation(problem=problem, max_tokens=limit)) for limit in (2, None))
    engine.close()
    [cut], [full] = (reply.result(timeout=0).completions for reply in (short, whole))
    assert (cut.tokens, cut.finished, cut.answer) == (2, False, "")
    assert full == busy.result(timeout=0).completions[0]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"model": "gpt-9"}, openai.NotFoundError, "does not serve here; integration/base does"),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "tools"),
        ({"n": 99}, openai.BadRequestError, "n: "),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": [{"role": "user", "content": "Hello!"}]}, openai.BadRequestError, "no problem of the domain"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, openai.BadRequestError, "one as the last message"),
        ({"messages": [{"role": "user", "content": "x" * (MOST_CHARACTERS + 1)}]}, openai.BadRequestError, "20000"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_with_the_reason(
    client: OpenAI, options: dict[str, object], error: type[openai.APIStatusError], says: str
) -> None:
    request = {"model": "champion", "messages": [{"role": "user", "content": EASY}]} | options
    with pytest.raises(error, match=says):
        client.chat.completions.create(**request)  # type: ignore[call-overload]
    assert ask(client, EASY), "the endpoint goes on"


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("chat/completions", b"[" * 100_000, 400, "POST /v1/chat/completions: "),
        ("embeddings", b"{}", 404, "POST /v1/embeddings: Not Found"),
        ("models", b"{}", 405, "POST /v1/models: Method Not Allowed"),
    ],
)
def test_what_no_route_takes_is_an_error_object_too(
    client: OpenAI, path: str, body: bytes, status: int, says: str
) -> None:
    headers = {"content-type": "application/json"}
    refused = httpx.post(f"{client.base_url}{path}", content=body, headers=headers, trust_env=False)
    assert refused.status_code == status
    assert refused.json()["error"]["message"].startswith(says)


def test_without_its_key_nothing_is_answered(engine: Engine) -> None:
    with running(create_endpoint(engine, line=LINE, keys=("one", "two"))) as url:
        with client_of(url, key="two") as right, client_of(url, key="three") as wrong:
            assert ask(right, EASY)
            with pytest.raises(openai.AuthenticationError):
                wrong.models.list()
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 401
        headers = {"Authorization": "bearer one"}  # schemes have no case
        assert httpx.get(f"{url}/models", headers=headers, trust_env=False).status_code == 200
        assert httpx.get(url.removesuffix("/v1") + "/health", trust_env=False).json()["version"] == "base"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Content-Length: 999999999", 401),
        ("Authorization: Bearer key\r\nContent-Length: 1000001", 413),
        ("Authorization: Bearer key\r\nTransfer-Encoding: chunked", 411),
        ("Authorization: Bearer key\r\nContent-Length: 10\r\nTransfer-Encoding: chunked", 411),  # of any length
    ],
)
def test_a_request_is_refused_by_its_head_before_its_body_is_read(engine: Engine, head: str, status: int) -> None:
    with running(create_endpoint(engine, line=LINE, keys=("key",))) as url:
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port or 0), timeout=30) as caller:
            caller.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\n{head}\r\n\r\n".encode())
            assert caller.recv(1000).startswith(f"HTTP/1.1 {status} ".encode()), "no body was sent"


def test_samples_without_a_seed_are_others_each_time(client: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter((1, 2))
    monkeypatch.setattr("secrets.randbelow", lambda _: next(drawn))

    def sample(**options: Any) -> list[str | None]:
        said: Any = [{"role": "user", "content": HARD}]
        made = client.chat.completions.create(model="champion", messages=said, n=4, temperature=1.5, **options)
        return [choice.message.content for choice in made.choices]

    assert [sample(), sample()] == [sample(seed=1), sample(seed=2)]


def test_a_temperature_next_to_nought_is_greedy(client: OpenAI) -> None:
    assert ask(client, EASY, temperature=1e-45) == ask(client, EASY)


def test_a_version_that_was_asked_for_by_name_is_not_answered_by_the_next_one(
    engine: Engine, other: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = engine.submit

    def promoted_meanwhile(request: Generation) -> Future[Reply]:
        engine.use(other)
        return submit(request)

    monkeypatch.setattr(engine, "submit", promoted_meanwhile)
    with running(create_endpoint(engine, line=LINE)) as url, client_of(url) as client:
        said: Any = [{"role": "user", "content": EASY}]
        with pytest.raises(
            openai.NotFoundError, match="'integration/base' does not serve here; integration/v0001 does"
        ):
            client.chat.completions.create(model="integration/base", messages=said)
        assert client.chat.completions.create(model=LINE, messages=said).model == "integration/v0001"


def test_null_fields_of_a_request_are_ignored(client: OpenAI) -> None:
    nothing = dict.fromkeys(("temperature", "seed", "n", "stop", "tools", "stream"))
    assert ask(client, EASY, extra_body=nothing) == ask(client, EASY)


def test_no_request_is_lost_while_versions_take_over(engine: Engine, base: ServedVersion, other: ServedVersion) -> None:
    texts = [f"{a}*x^2 + {a}*cos({b}*x)" for a in range(2, 7) for b in range(2, 10)]
    done = threading.Event()

    def promote_and_roll_back() -> None:
        while not done.wait(0.02):
            engine.use(other if engine.served is base else base)

    app = create_endpoint(engine, line=LINE)
    with running(app) as url, client_of(url) as client, ThreadPoolExecutor(8) as pool:
        expected: dict[tuple[str, str], str] = {}
        for served in (base, other):
            engine.use(served)
            expected |= {(f"{LINE}/{served.version}", text): ask(client, text) for text in texts}
        swapping = threading.Thread(target=promote_and_roll_back)
        swapping.start()
        messages = [[{"role": "user", "content": text}] for text in texts for _ in range(2)]
        made = list(pool.map(lambda each: client.chat.completions.create(model="champion", messages=each), messages))
        done.set()
        swapping.join()
    assert {answer.model for answer in made} == {"integration/base", "integration/v0001"}
    for asked, answer in zip(messages, made, strict=True):
        assert answer.choices[0].message.content == expected[answer.model, asked[0]["content"]]
        assert answer.system_fingerprint == (None if answer.model.endswith("base") else "a" * 64)


@pytest.fixture
def unsolved(tmp_path: Path) -> Iterator[UnsolvedProblems]:
    waiting = tmp_path / "waiting.jsonl"
    domain = load_domain("integration")
    with VerifierPool("integration", workers=1) as pool:
        yield UnsolvedProblems(MemoryStore(), LINE, domain=domain, judge=pool.verify_many, waiting=waiting, per_hour=3)


def test_what_is_not_solved_or_not_helpful_is_collected(
    engine: Engine, unsolved: UnsolvedProblems, tmp_path: Path
) -> None:
    app = create_endpoint(engine, line=LINE, keys=("key",), unsolved=unsolved)
    with running(app) as url, client_of(url, key="key") as client:
        raw = client.chat.completions.with_raw_response
        said = {}
        for text in (EASY, HARD):
            answer = raw.create(model="champion", messages=[{"role": "user", "content": text}])
            said[text] = answer.headers["x-everlearn-collected"]
        assert said == {EASY: "no: solved", HARD: "yes"}
        asked = client.chat.completions.create(model="champion", messages=[{"role": "user", "content": EASY}])
        headers = {"Authorization": "Bearer key"}

        def feedback(answer: str, *, solved: bool) -> httpx.Response:
            body = {"id": answer, "solved": solved}
            return httpx.post(f"{url}/feedback", json=body, headers=headers, trust_env=False)

        assert feedback(asked.id, solved=True).json() == {"collected": "no: solved"}
        assert feedback(asked.id, solved=False).json() == {"collected": "yes"}
        assert feedback(asked.id, solved=False).json() == {"collected": "no: known"}
        assert feedback("chatcmpl-0", solved=False).status_code == 404
        assert httpx.post(f"{url}/feedback", json={}, headers=headers, trust_env=False).status_code == 400
        assert httpx.post(f"{url}/feedback", json={}, trust_env=False).status_code == 401
    assert len((tmp_path / "waiting.jsonl").read_text().splitlines()) == 2


def test_an_answer_is_given_although_it_cannot_be_collected(
    engine: Engine, unsolved: UnsolvedProblems, tmp_path: Path
) -> None:
    (tmp_path / "waiting.jsonl").mkdir()
    with running(create_endpoint(engine, line=LINE, unsolved=unsolved)) as url, client_of(url) as client:
        raw = client.chat.completions.with_raw_response
        answer = raw.create(model="champion", messages=[{"role": "user", "content": HARD}])
        assert answer.headers["x-everlearn-collected"] == "no: failed"
        assert answer.parse().choices
        (tmp_path / "waiting.jsonl").rmdir()
        answer = raw.create(model="champion", messages=[{"role": "user", "content": HARD}])
        assert answer.headers["x-everlearn-collected"] == "yes", "it was not taken for known"


def test_what_cannot_be_judged_or_written_costs_no_answer(
    engine: Engine, unsolved: UnsolvedProblems, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise IndexError("the verifiers are gone")

    monkeypatch.setattr(unsolved, "judge", fail)
    monkeypatch.setattr(unsolved, "add", fail)
    with running(create_endpoint(engine, line=LINE, unsolved=unsolved)) as url, client_of(url) as client:
        raw = client.chat.completions.with_raw_response
        answer = raw.create(model="champion", messages=[{"role": "user", "content": HARD}])
        assert answer.headers["x-everlearn-collected"] == "no: failed"
        feedback = {"id": answer.parse().id, "solved": False}
        said = httpx.post(f"{url}/feedback", json=feedback, trust_env=False)
        assert (said.status_code, said.json()) == (200, {"collected": "no: failed"})


def test_an_answer_that_its_caller_cut_off_says_nothing_of_the_problem(
    engine: Engine, unsolved: UnsolvedProblems
) -> None:
    with running(create_endpoint(engine, line=LINE, unsolved=unsolved)) as url, client_of(url) as client:
        raw = client.chat.completions.with_raw_response
        cut = raw.create(model="champion", messages=[{"role": "user", "content": EASY}], max_tokens=2)
        assert cut.parse().choices[0].finish_reason == "length"
        assert cut.headers["x-everlearn-collected"] == "no: cut off by max_tokens"
        whole = raw.create(model="champion", messages=[{"role": "user", "content": HARD}], max_tokens=4096)
        assert whole.headers["x-everlearn-collected"] == "yes"


def test_feedback_can_name_the_newest_answers_alone(
    engine: Engine, unsolved: UnsolvedProblems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "REMEMBERED", 1)
    with running(create_endpoint(engine, line=LINE, unsolved=unsolved)) as url, client_of(url) as client:
        said = [{"role": "user", "content": EASY}]
        old, new = (client.chat.completions.create(model="champion", messages=said) for _ in range(2))  # type: ignore[arg-type]
        codes = [
            httpx.post(f"{url}/feedback", json={"id": answer.id, "solved": True}, trust_env=False).status_code
            for answer in (old, new)
        ]
    assert codes == [404, 200]


def test_requests_of_one_batch_are_decoded_alike_and_all_are_answered_before_the_end(base: ServedVersion) -> None:
    engine = Engine(base)
    problem = base.domain.problem(EASY)
    asked = [Generation(problem=problem, temperature=temperature) for temperature in (0.0, 0.0, 1.0, 0.0)]
    replies = [engine.submit(each) for each in asked]
    engine.close()
    texts = [reply.result(timeout=0).completions[0].text for reply in replies]
    assert texts[0] == texts[1] == texts[3]


def test_a_request_whose_caller_is_gone_disturbs_no_other(base: ServedVersion) -> None:
    engine = Engine(base)
    problem = base.domain.problem(EASY)
    engine.submit(Generation(problem=problem, count=16))  # the others wait for it
    gone, kept = (engine.submit(Generation(problem=problem)) for _ in range(2))
    assert gone.cancel()
    engine.close()
    assert kept.result(timeout=0).completions


def test_without_a_collection_there_is_no_feedback(client: OpenAI) -> None:
    assert httpx.post(f"{client.base_url}feedback", json={}, trust_env=False).status_code == 404


def test_a_chat_model_takes_any_conversation_and_problems_as_in_training(tmp_path: Path) -> None:
    settings = Settings.model_validate({"domain": "arithmetic", "format": {"name": "chat", "max_tokens": 8}})
    served = load_version(write_model(tmp_path / "m"), None, version="base", manifest=None, settings=settings)
    engine = Engine(served)
    with running(create_endpoint(engine, line="sums")) as url, client_of(url) as client:
        talk = client.chat.completions.create(
            model="champion",
            messages=[
                {"role": "developer", "content": "Be short."},
                {"role": "user", "content": "Hello!"},
                {"role": "assistant", "content": "Hi."},
                {"role": "user", "content": "How are you?"},
            ],
            temperature=0.7,
            max_tokens=20,
            seed=1,  # without one, one sampled answer in six ends within 8 tokens
        )
        assert talk.usage
        assert 8 < talk.usage.completion_tokens <= 20, "a conversation is not limited as an answer to a problem is"
        sums = client.chat.completions.create(model="sums", messages=[{"role": "user", "content": "12 + 30"}])
        assert sums.usage
        assert sums.usage.completion_tokens <= 8
    engine.close()


def test_a_prompt_and_its_answer_stay_within_the_models_context(tmp_path: Path) -> None:
    settings = Settings.model_validate({"domain": "arithmetic", "format": {"name": "chat", "max_tokens": 8}})
    served = load_version(write_model(tmp_path / "m"), None, version="base", manifest=None, settings=settings)
    engine = Engine(served)
    with running(create_endpoint(engine, line="sums")) as url, client_of(url) as client:

        def talk(characters: int) -> CompletionUsage:
            said: Any = [{"role": "user", "content": "a" * characters}]
            made = client.chat.completions.create(model="champion", messages=said, max_tokens=100, temperature=0.9)
            assert made.usage
            return made.usage

        around = talk(10).prompt_tokens - 10
        full = talk(CONTEXT - around - 5)
        assert (full.prompt_tokens, full.completion_tokens <= 5) == (CONTEXT - 5, True)
        with pytest.raises(openai.BadRequestError, match=f"the prompt has {CONTEXT} tokens, .* {CONTEXT} tokens") as no:
            talk(CONTEXT - around)
        assert (no.value.code, no.value.type) == ("too_long", "invalid_request_error")
    engine.close()


def test_a_prompt_that_fills_the_context_is_decoded_alone(tmp_path: Path) -> None:
    settings = Settings.model_validate({"domain": "arithmetic", "format": {"name": "chat"}})
    served = load_version(write_model(tmp_path / "m"), None, version="base", manifest=None, settings=settings)
    full, short = [5] * (CONTEXT - 5), [5, 6, 7]
    [[alone]] = served.complete([short], seeds=[2], limits=[20], temperature=0.9)
    rows = served.complete([full, short, short], seeds=[1, 2, 3], limits=[5, 20, 20], temperature=0.9)
    [[first], [second], [third]] = rows
    assert len(first.ids) <= 5
    assert second.ids == alone.ids
    assert third.ids != alone.ids
    [[greedy]] = served.complete([full], seeds=None, limits=[3], temperature=1.0)
    assert len(greedy.ids) <= 3
    unlimited = replace(served, model_context=None)
    assert [row.ids for [row] in unlimited.complete([short], seeds=[2], limits=[20], temperature=0.9)] == [alone.ids]


def test_more_answers_than_fit_into_memory_are_decoded_one_batch_after_another(
    base: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def counted(model: Any, prompts: Any, **options: Any) -> Any:
        rows.append(len(prompts))
        return decode(model, prompts, **options)

    monkeypatch.setattr(served_version, "decode", counted)
    given: dict[str, Any] = {"seeds": range(4), "limits": [8] * 4, "temperature": 1.0}
    prompts = [[5, 6, 7, 5, 6][:length] for length in (2, 3, 4, 5)]
    at_once = base.complete(prompts, **given)
    monkeypatch.setattr(served_version, "decoded_tokens", lambda _: 22)
    parts = base.complete(prompts, **given)
    assert rows == [4, 2, 1, 1]
    assert [row.ids for [row] in parts] == [row.ids for [row] in at_once]


def test_a_template_that_refuses_the_messages_is_the_callers_error(tmp_path: Path) -> None:
    settings = Settings.model_validate({"domain": "arithmetic", "format": {"name": "chat", "max_tokens": 4}})
    folder = write_model(tmp_path / "m", template=NO_SYSTEM)
    engine = Engine(load_version(folder, None, version="base", manifest=None, settings=settings))
    with running(create_endpoint(engine, line="sums")) as url, client_of(url) as client:
        said = [{"role": "system", "content": "x"}, {"role": "user", "content": "Hello!"}]
        with pytest.raises(openai.BadRequestError, match="no system"):
            client.chat.completions.create(model="champion", messages=said)  # type: ignore[arg-type]
    engine.close()


def test_a_failure_of_the_model_reaches_every_caller_and_the_engine_goes_on(
    engine: Engine, base: ServedVersion
) -> None:
    engine.use(replace(base, model=None))  # type: ignore[arg-type]
    with running(create_endpoint(engine, line=LINE)) as url, client_of(url) as client:
        with pytest.raises(openai.InternalServerError, match="failed on this request"):
            ask(client, EASY)
        engine.use(base)
        assert ask(client, EASY)
