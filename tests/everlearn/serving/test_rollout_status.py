from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.errors import StoreDownError
from everlearn.registry.acknowledgements import acknowledge
from everlearn.serving.rollout_status import RolloutStatus, read_rollout_status
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import CONFIG, WHEN, adapter, open_line, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.storage.protocol import ObjectInfo


def status_of(store: MemoryStore) -> RolloutStatus:
    line = open_line(store)
    line.state()
    return read_rollout_status(line)


def test_the_champion_and_each_consumer_are_reported() -> None:
    store = MemoryStore()
    for name in ("one", "two"):
        publish(open_line(store), name)
    for consumer, version in (("a", "v0002"), ("b", "v0001"), ("c", None)):
        acknowledge(open_line(store), consumer=consumer, version=version, sequence=2, at=WHEN)
    store.put("integration/consumers/d.json", b"?")
    status = status_of(store)
    assert status.sentences()[0].startswith("a pull of the champion now delivers v0002 (manifest ")
    assert status.sentences()[1:] == [
        "a serves v0002",
        "b serves v0001 and has not followed yet",
        "c serves the base model and has not followed yet",
        "d serves an unknown version and has not followed yet",
    ]
    facts = status.facts()
    assert facts["consumers_get"]["files"] == {
        "adapter_model.safetensors": len(adapter("two")),
        "adapter_config.json": len(CONFIG),
    }
    assert facts["consumers"][1] == {"consumer": "b", "version": "v0001", "behind": True}


def test_a_pull_is_refused_while_the_base_model_serves() -> None:
    assert status_of(MemoryStore()).sentences() == ["a pull of the champion is now refused: the base model serves"]


def test_unreadable_consumers_are_reported_not_raised() -> None:
    class NoListing(MemoryStore):
        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            if "/consumers/" in prefix:
                raise StoreDownError("refused")
            return super().list(prefix)

    store = NoListing()
    publish(open_line(store), "one")
    assert status_of(store).sentences()[-1] == "the consumers cannot be read: refused"
