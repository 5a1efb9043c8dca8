"""What an endpoint loads as the champion of a line changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from everlearn.errors import IntegrityError, ModelError
from everlearn.registry.acknowledgements import acknowledgements
from everlearn.serving.champion_loader import ChampionLoader
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import WHEN, open_line, publish

if TYPE_CHECKING:
    from pathlib import Path

Loads = list[tuple[str, bool, bool]]


def loader(store: MemoryStore, folder: Path, loads: Loads, *, consumer: str | None = None) -> ChampionLoader:
    def load(version: str, adapter: Path | None, manifest: str | None) -> Any:
        loads.append((version, bool(adapter and (adapter / "adapter_config.json").is_file()), manifest is not None))
        return version

    return ChampionLoader(open_line(store), folder=folder, load=load, now=lambda: WHEN, consumer=consumer)


def test_each_champion_is_loaded_once_and_a_rollback_too(tmp_path: Path) -> None:
    store, loads, used = MemoryStore(), Loads(), list[object]()
    follower = loader(store, tmp_path, loads, consumer="web-1")
    assert follower.step(used.append) == cast("object", "base")
    publish(open_line(store), "one")
    for _ in range(2):
        follower.step(used.append)
    open_line(store).rollback(reason="wrong", actor="me")
    follower.step(used.append)
    assert loads == [("base", False, False), ("v0001", True, True), ("base", False, False)]
    assert used == ["base", "v0001", "base"]
    here = acknowledgements(store, "integration")["web-1"]
    assert here is not None
    assert here.version is None


def test_a_version_that_cannot_be_loaded_is_tried_again_and_not_acknowledged(tmp_path: Path) -> None:
    store, loads = MemoryStore(), Loads()
    publish(open_line(store), "one")
    follower = loader(store, tmp_path, loads, consumer="web-1")
    with pytest.raises(ModelError):
        follower.step(_fail)
    assert not acknowledgements(store, "integration")
    assert follower.step(lambda _: None) is not None


def test_an_older_history_is_refused(tmp_path: Path) -> None:
    store, older = MemoryStore(), MemoryStore()
    publish(open_line(store), "one")
    follower = loader(store, tmp_path, Loads())
    follower.step(lambda _: None)
    follower._registry = open_line(older)
    with pytest.raises(IntegrityError, match="an older HEAD was restored"):
        follower.step(lambda _: None)


def _fail(_: object) -> None:
    raise ModelError("too large")
