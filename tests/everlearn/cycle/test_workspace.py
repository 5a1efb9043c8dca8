from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.canonical_json import canonical
from everlearn.cycle import workspace as module
from everlearn.cycle.workspace import Workspace
from everlearn.errors import BadInputError, ConflictError, CycleBusyError, IntegrityError, NotFoundError
from everlearn.storage.immutable_objects import write_file_once
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.storage.protocol import Store
    from everlearn.storage.s3 import S3Store

KEY = "k" * 64
INDEX = f"{LINE}/work/{KEY}/index.json"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def work(store: MemoryStore) -> Workspace:
    return Workspace(store, LINE, KEY, token=1)


def test_any_worker_can_read_a_result(store: MemoryStore, work: Workspace) -> None:
    assert not work.has("ladder")
    work.put("ladder", b"rungs")
    reader = Workspace(store, LINE, KEY)
    assert reader.has("ladder")
    assert reader.get("ladder") == b"rungs"
    assert reader.names() == ("ladder",)


def test_a_result_can_be_replaced_and_dropped(work: Workspace) -> None:
    work.put("ladder", b"rungs")
    work.put("ladder", b"more rungs")
    assert work.get("ladder") == b"more rungs"
    work.drop("ladder")
    work.drop("ladder")
    assert work.names() == ()


def test_a_cleared_workspace_holds_nothing(store: MemoryStore, work: Workspace) -> None:
    work.clear()
    work.put("ladder", b"rungs")
    work.append("segments", b"one")
    work.clear()
    assert work.names() == ()
    assert list(store.list(f"{LINE}/work/{KEY}/sha256/")) == []
    with pytest.raises(CycleBusyError, match="taken over"):
        Workspace(store, LINE, KEY, token=0).clear()


def test_a_replaced_checkpoint_leaves_no_bytes_behind(store: MemoryStore, work: Workspace, tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"the ladder")
    work.put("ladder", b"the ladder")
    for step in range(5):
        (tmp_path / "weights").write_bytes(b"%d" % step)
        work.put_tree("checkpoint", tmp_path)
        assert len(list(store.list(f"{LINE}/work/{KEY}/sha256/"))) == 2
    work.drop("checkpoint")
    assert work.get("ladder") == b"the ladder", "bytes of another result are kept"
    assert len(list(store.list(f"{LINE}/work/{KEY}/sha256/"))) == 1


def test_a_sequence_grows_without_writing_its_beginning_again(store: MemoryStore, work: Workspace) -> None:
    assert work.parts("growth") == []
    for part in (b"one", b"two", b"one"):
        work.append("growth", part)
    assert Workspace(store, LINE, KEY).parts("growth") == [b"one", b"two", b"one"]
    assert len(list(store.list(f"{LINE}/work/{KEY}/sha256/"))) == 2
    work.drop("growth")
    assert list(store.list(f"{LINE}/work/{KEY}/sha256/")) == []


def test_a_late_worker_cannot_append(store: MemoryStore, work: Workspace) -> None:
    Workspace(store, LINE, KEY, token=2).fence()
    with pytest.raises(CycleBusyError, match="taken over"):
        work.append("growth", b"late")
    assert work.parts("growth") == []


def test_an_unchanged_file_of_a_tree_is_not_uploaded_again(
    work: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded: list[bytes] = []

    def upload(store: Store, key: str, path: Path, *, digest: str) -> str | None:
        uploaded.append(path.read_bytes())
        return write_file_once(store, key, path, digest=digest)

    monkeypatch.setattr(module, "write_file_once", upload)
    for weights in (b"1", b"2"):
        (tmp_path / "ladder").write_bytes(b"the ladder")
        (tmp_path / "weights").write_bytes(weights)
        work.put_tree("checkpoint", tmp_path)
    assert uploaded == [b"the ladder", b"1", b"2"]


def test_a_missing_result_is_not_found(work: Workspace) -> None:
    with pytest.raises(NotFoundError, match="has no result 'ladder' yet"):
        work.get("ladder")


def test_a_directory_is_restored_unchanged(work: Workspace, tmp_path: Path) -> None:
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "a.bin").write_bytes(b"a")
    (tmp_path / "from" / "deep" / "b.bin").write_bytes(b"b")
    work.put_tree("checkpoint", tmp_path / "from")
    there = work.get_tree("checkpoint", tmp_path / "to")
    found = {path.relative_to(there).as_posix(): path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert found == {"a.bin": b"a", "deep/b.bin": b"b"}


def test_an_empty_directory_is_a_result(work: Workspace, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    work.put_tree("nothing", tmp_path / "from")
    assert list(work.get_tree("nothing", tmp_path / "to").iterdir()) == []


def test_an_older_token_cannot_write(store: MemoryStore, work: Workspace, tmp_path: Path) -> None:
    work.put("ladder", b"by the first")
    Workspace(store, LINE, KEY, token=2).fence()
    attempts: tuple[Callable[[], None], ...] = (
        lambda: work.put("ladder", b"late"),
        lambda: work.put_tree("tree", tmp_path),
        lambda: work.drop("ladder"),
        work.fence,
    )
    for attempt in attempts:
        with pytest.raises(CycleBusyError, match="was taken over by another run; this one must not write"):
            attempt()
    assert work.get("ladder") == b"by the first"


def test_a_reader_cannot_write(store: MemoryStore) -> None:
    with pytest.raises(CycleBusyError, match="for reading only"):
        Workspace(store, LINE, KEY).put("ladder", b"rungs")


def test_two_simultaneous_steps_keep_both_results(work: Workspace, store: MemoryStore) -> None:
    other = Workspace(store, LINE, KEY, token=1)
    original = work._write

    def disturbed(index: module._Index, etag: str | None) -> None:
        if not other.has("other"):
            other.put("other", b"2")
        original(index, etag)

    work._write = disturbed  # type: ignore[method-assign]
    work.put("mine", b"1")
    assert work.names() == ("mine", "other")


def test_writes_stop_after_too_many_conflicts(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise ConflictError("another writer")

    monkeypatch.setattr(module, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(work, "_write", lost)
    with pytest.raises(ConflictError, match="run the same command again"):
        work.put("ladder", b"rungs")


def test_a_write_whose_answer_was_lost_is_not_repeated() -> None:
    class Lossy(MemoryStore):
        """Carries out every conditional write, and then says what a second attempt would find."""

        def replace(self, key: str, data: bytes, *, etag: str) -> str:
            super().replace(key, data, etag=etag)
            raise ConflictError("there are other bytes")

    store = Lossy()
    work = Workspace(store, LINE, KEY, token=1)
    for part in (b"1", b"2", b"3"):
        work.append("journal", part)
        work.put("checkpoint", part)
    assert work.parts("journal") == [b"1", b"2", b"3"]
    work.drop("checkpoint")
    work.put("ladder", b"rungs")
    assert sum("/sha256/" in info.key for info in store.list()) == 4, "no checkpoint fills the bucket"


def test_a_damaged_result_is_an_integrity_error(store: MemoryStore, work: Workspace) -> None:
    work.put("ladder", b"rungs")
    key = next(info.key for info in store.list() if "/sha256/" in info.key)
    store.put(key, b"wrong")
    with pytest.raises(IntegrityError, match="is damaged"):
        work.get("ladder")


@pytest.mark.parametrize("path", ["../up", "/etc/x", "a/../../up", ""])
def test_paths_outside_the_directory_are_refused(
    store: MemoryStore, work: Workspace, tmp_path: Path, path: str
) -> None:
    work.put("ladder", b"rungs")
    digest = next(info.key for info in store.list() if "/sha256/" in info.key).rpartition("/")[2]
    store.put(INDEX, canonical({"token": 1, "names": {"evil": {path: digest}}}))
    with pytest.raises(IntegrityError, match="outside its directory"):
        work.get_tree("evil", tmp_path / "to")


def test_a_directory_that_cannot_be_written_is_named(work: Workspace, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(b"a")
    work.put_tree("tree", tmp_path / "from")
    (tmp_path / "to" / "a").mkdir(parents=True)
    with pytest.raises(BadInputError, match="cannot be written"):
        work.get_tree("tree", tmp_path / "to")


def test_it_works_on_a_real_server(s3_store: S3Store, tmp_path: Path) -> None:
    work = Workspace(s3_store, LINE, KEY, token=1)
    work.fence()
    work.put("ladder", b"rungs")
    assert Workspace(s3_store, LINE, KEY).get("ladder") == b"rungs"
