"""Eight processes publish, promote and roll back on one line: one winner a round, one chain, nothing lost or repeated."""

from __future__ import annotations

import json
import multiprocessing
import traceback
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

import pytest

from everlearn.errors import EverlearnError
from everlearn.registry.line_state import State, fold
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.versions import BASE, EventKind, Registry
from everlearn.storage.s3 import S3Store
from tests.support.line import LINE, VERIFIER, WHEN, candidate, open_line
from tests.support.shared_store import SharedStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

    from everlearn.registry.versions import Event
    from everlearn.storage.protocol import Store
    from tests.conftest import S3Server

RACERS = 8
TIMEOUT_S = 300.0
Intent = Literal["publish", "promote", "roll back"]
KINDS = {"publish": EventKind.PUBLISHED, "promote": EventKind.PROMOTED, "roll back": EventKind.ROLLED_BACK}
LOST = ("the night began at", "another writer was first", "is the champion already", "there is nothing to roll back")
BARRED_SINCE = "is barred"  # with mixed intents, a rollback may bar a version that another process promotes


def intents(number: int, state: State) -> list[Intent]:
    """Return what each racer tries in this round: the same, except in every fifth round."""
    if not others(state):
        return ["publish"] * RACERS
    rounds: list[list[Intent]] = [[each] * RACERS for each in ("publish", "roll back", "publish", "promote")]
    mixed: list[Intent] = ["publish", "promote", "roll back"]
    return [*rounds, [mixed[racer % 3] for racer in range(RACERS)]][number % 5]


def others(state: State) -> list[str]:
    """Return the versions that could be promoted."""
    return [name for name, entry in state.versions.items() if not entry.barred and name != state.champion]


def attempt(line: Registry, intent: Intent, *, state: State, actor: str, reason: str) -> None:
    """Carry out an intent that was formed from `state`, or raise."""
    if intent == "publish":
        manifest = candidate(line, f"{actor} in {reason}", parent=state.champion)
        line.publish(manifest, make_champion=True, actor=actor, reason=reason)
    elif intent == "promote":
        line.promote(others(state)[-1], actor=actor, reason=reason)
    else:
        line.rollback(state.last_good or BASE, actor=actor, reason=reason)


def race(open_store: Callable[[], Store], start: Barrier, racer: int, rounds: int, results: Path) -> None:
    """Run one process; put the error message of each round, None for success."""
    line = open_line(open_store())
    messages: list[str | None] = []
    try:
        for number in range(rounds):
            start.wait(TIMEOUT_S)  # all processes are idle and see the same state
            state = line.state()
            start.wait(TIMEOUT_S)
            messages.append(compete(line, number, state=state, racer=racer))
    except BaseException:
        start.abort()  # release the others if one racer fails
        results.with_suffix(".failed").write_text(traceback.format_exc(), encoding="utf-8")
        raise
    results.write_text(json.dumps(messages), encoding="utf-8")


def compete(line: Registry, number: int, *, state: State, racer: int) -> str | None:
    """Return a racer's error message in one round, None for success."""
    try:
        attempt(line, intents(number, state)[racer], state=state, actor=str(racer), reason=f"round {number}")
    except EverlearnError as error:
        return str(error)
    return None


def run(
    context: ForkServerContext | SpawnContext, open_store: Callable[[], Store], *, rounds: int, within: Path
) -> dict[tuple[str, str], str | None]:
    """Run the race; return each racer's messages by round."""
    start = context.Barrier(RACERS)
    results = [within / str(racer) for racer in range(RACERS)]
    racers = [
        context.Process(target=race, args=(open_store, start, racer, rounds, results[racer])) for racer in range(RACERS)
    ]
    for each in racers:
        each.start()
    for each in racers:
        each.join()
    failed = [path.read_text(encoding="utf-8") for path in within.glob("*.failed")]
    assert [each.exitcode for each in racers] == [0] * RACERS, "\n".join(failed)
    return {
        (str(racer), f"round {number}"): message
        for racer, path in enumerate(results)
        for number, message in enumerate(cast("list[str | None]", json.loads(path.read_text(encoding="utf-8"))))
    }


def judge(store: Store, messages: dict[tuple[str, str], str | None], *, rounds: int) -> None:
    """Compare the history with the messages of the racers."""
    line = open_line(store)
    history = line.state().history
    assert [event.sequence for event in history] == list(range(1, len(history) + 1))
    assert [event.previous for event in history[1:]] == [event.digest for event in history[:-1]]
    events = Counter((event.actor, event.reason) for event in history)
    assert set(events.values()) == {1}, "no event twice"
    lost = {key for key, message in messages.items() if message is not None}
    assert not lost & set(events), "a loser changes nothing"
    assert all(any(words in str(messages[key]) for words in (*LOST, BARRED_SINCE)) for key in lost), "with a reason"
    state = State()
    for number in range(rounds):
        events_of_round = [event for event in history if event.reason == f"round {number}"]
        judge_round(number, events_of_round, messages, state=state)
        state = fold(events_of_round, start=state)
    assert state.tip == history[-1].digest, "every event belongs to a round, and the rounds are in order"
    assert {event.kind for event in history} == set(KINDS.values())
    assert fsck(store, LINE, verifier=VERIFIER).is_clean


def judge_round(
    number: int, events_of_round: list[Event], messages: dict[tuple[str, str], str | None], *, state: State
) -> None:
    """Assert one winner, or with mixed intents that each success is in the history."""
    planned = intents(number, state)
    for racer, intent in enumerate(planned):
        mine = [event for event in events_of_round if event.actor == str(racer)]
        succeeded = messages[str(racer), f"round {number}"] is None
        assert all(event.kind is KINDS[intent] for event in mine)
        if intent != "promote":
            assert len(mine) == succeeded, "every success is in the history"
    if len(set(planned)) == 1:
        assert len(events_of_round) == 1, "one winner"
        assert planned[0] != "promote" or all(
            messages[str(racer), f"round {number}"] is None for racer in range(RACERS)
        )


def test_one_of_eight_processes_wins_each_round(tmp_path: Path) -> None:
    open_store = partial(SharedStore, tmp_path / "line", WHEN)
    messages = run(multiprocessing.get_context("forkserver"), open_store, rounds=25, within=tmp_path)
    judge(open_store(), messages, rounds=25)


@pytest.mark.slow
def test_one_of_eight_processes_wins_each_of_200_rounds(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    keys = (s3_server.access_key, s3_server.secret_key)
    open_store = partial(S3Store, bucket, endpoint_url=s3_server.endpoint_url, keys=keys)
    messages = run(multiprocessing.get_context("spawn"), open_store, rounds=200, within=tmp_path)
    judge(open_store(), messages, rounds=200)
