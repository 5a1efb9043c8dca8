from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.errors import StoreDownError
from everlearn.registry.acknowledgements import acknowledge
from everlearn.serving.rollout_status import Outlook, outlook
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import CONFIG, WHEN, adapter, open_line, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.storage.protocol import ObjectInfo


def look(store: MemoryStore) -> Outlook:
    line = open_line(store)
    line.state()
    return outlook(line)


def test_it_tells_what_a_pull_gives_and_what_each_consumer_serves() -> None:
    store = MemoryStore()
    for name in ("one", "two"):
        publish(open_line(store), name)
    for consumer, version in (("a", "v0002"), ("b", "v0001"), ("c", None)):
        acknowledge(open_line(store), consumer=consumer, version=version, sequence=2, at=WHEN)
    store.put("integration/consumers/d.json", b"?")
    seen = look(store)
    assert seen.sentences()[0].startswith("from now on a pull of the champion gives v0002 (manifest ")
    assert seen.sentences()[1:] == [
        "a serves v0002",
        "b serves v0001 and has not followed yet",
        "c serves the base model and has not followed yet",
        "d serves what cannot be read and has not followed yet",
    ]
    facts = seen.facts()
    assert facts["consumers_get"]["files"] == {
        "adapter_model.safetensors": len(adapter("two")),
        "adapter_config.json": len(CONFIG),
    }
    assert facts["consumers"][1] == {"consumer": "b", "version": "v0001", "behind": True}


def test_where_the_base_model_serves_a_pull_is_refused_and_that_is_told() -> None:
    told = "from now on a pull of the champion is refused: the base model alone serves"
    assert look(MemoryStore()).sentences() == [told]


def test_consumers_that_cannot_be_listed_are_no_error() -> None:
    class Mute(MemoryStore):
        def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
            if "/consumers/" in prefix:
                raise StoreDownError("refused")
            return super().list(prefix)

    store = Mute()
    publish(open_line(store), "one")
    assert look(store).sentences()[-1] == "what consumers serve cannot be read: refused"
