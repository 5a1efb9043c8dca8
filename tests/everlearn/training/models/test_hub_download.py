"""Base models by name: the real client against a loopback hub, with every way in which a model cannot be had."""

from __future__ import annotations

import logging
import shutil
import socket
from collections import namedtuple
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants, hf_hub_download

from everlearn.errors import DiskFullError, ModelError
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.hub_download import complete_folder, download, find_commit
from everlearn.training.models.weight_files import INDEX
from tests.support.fake_hub import FakeHub
from tests.support.tiny_base import write_base

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "lab/tiny"
KEPT = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as authors upload it: with pickles, weights under other names, and folders of other formats."""
    base = write_base(tmp_path_factory.mktemp("uploaded") / "base")
    for name in ("pytorch_model.bin", "consolidated.safetensors", "train.py"):
        (base / name).write_bytes(b"never downloaded")
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    (base / "onnx").mkdir()
    (base / "onnx" / "config.json").write_text("{}")
    return base


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as running:
        running.use(monkeypatch, tmp_path / "cache")
        yield running


def disconnect(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let huggingface_hub ask an address where nothing listens, and return it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    return url


def test_a_model_is_downloaded_without_what_it_does_not_need(hub: FakeHub, folder: Path) -> None:
    commit = hub.add(MODEL, folder)
    assert find_commit(MODEL, "main") == commit
    shown: list[tuple[int, int]] = []
    place = download(MODEL, commit, progress=lambda done, of: shown.append((done, of)))
    assert {path.name for path in place.iterdir()} == KEPT | {"chat_template.jinja", "README.md"}
    assert place.name == commit
    assert len(shown) == len(set(shown))
    asked = len(hub.requests)
    assert download(MODEL, commit) == place == complete_folder(MODEL, commit)
    assert len(hub.requests) == asked, "a complete commit is served from the cache, without a request"


def test_progress_ends_with_all_megabytes(hub: FakeHub, tmp_path: Path, folder: Path) -> None:
    base = shutil.copytree(folder, tmp_path / "large")
    (base / "vocab.txt").write_bytes(bytes(33_000_000))
    shown: list[tuple[int, int]] = []
    download(MODEL, hub.add(MODEL, base), progress=lambda done, of: shown.append((done, of)))
    assert shown[-1] == (33, 33)
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)
    assert 1 < len(shown) <= 5


def test_a_branch_that_moves_leaves_the_commit_as_it_was(hub: FakeHub, folder: Path, tmp_path: Path) -> None:
    first = hub.add(MODEL, folder)
    before = fingerprint(download(MODEL, find_commit(MODEL, "main")))
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text().replace("silu", "gelu"))
    second = hub.add(MODEL, other)
    assert find_commit(MODEL, "main") == second != first
    assert fingerprint(download(MODEL, first)) == before != fingerprint(download(MODEL, second))


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/1", None], ids=str)
def test_a_tag_a_pull_request_and_a_commit_are_revisions(revision: str | None, hub: FakeHub, folder: Path) -> None:
    commit = hub.add(MODEL, folder, ref=revision or "main")
    hub.add(MODEL, folder, ref="main")
    assert find_commit(MODEL, revision or commit) == commit


def test_shards_are_downloaded_together(hub: FakeHub, tmp_path: Path) -> None:
    base = write_base(tmp_path / "sharded", shard="20KB")
    place = download(MODEL, hub.add(MODEL, base))
    assert (place / INDEX).is_file()
    assert len(list(place.glob("*.safetensors"))) == len(list(base.glob("*.safetensors"))) > 1
    assert fingerprint(place) == fingerprint(base)


def test_an_interrupted_download_resumes(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_base(tmp_path / "base")
    size = (base / "model.safetensors").stat().st_size
    commit, hub.cut = hub.add(MODEL, base), size // 2
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with_faults = download(MODEL, commit)
    assert fingerprint(with_faults) == fingerprint(base)
    assert hub.sent < 2 * sum(path.stat().st_size for path in base.iterdir()), "the first half was not sent again"


@pytest.mark.parametrize("reason", ["HF_HUB_OFFLINE is set", "cannot be reached"])
def test_without_the_hub_the_cache_is_used_and_said(
    reason: str, hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    commit = hub.add(MODEL, folder)
    place = download(MODEL, find_commit(MODEL, "main"))
    disconnect(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", reason.startswith("HF"))
    with caplog.at_level(logging.WARNING, logger="everlearn.night"):
        assert download(MODEL, find_commit(MODEL, "main")) == place
    assert reason in caplog.text
    assert f"main of {MODEL} is commit {commit[:12]}, as the local cache remembers it" in caplog.text


@pytest.mark.parametrize("reason", ["HF_HUB_OFFLINE is set", "cannot be reached"])
def test_what_is_neither_on_the_hub_nor_in_the_cache_is_named(
    reason: str, hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(MODEL, folder)
    disconnect(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", reason.startswith("HF"))
    for use in (lambda: find_commit(MODEL, "main"), lambda: download(MODEL, commit)):
        with pytest.raises(ModelError, match=rf"is not in the local cache, and .*{reason}.*connect this machine, copy"):
            use()


def test_an_incomplete_cache_is_completed_and_never_used_as_it_is(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(MODEL, folder)
    (download(MODEL, commit) / "model.safetensors").unlink()
    assert complete_folder(MODEL, commit) is None
    url, hub_url = disconnect(monkeypatch), hub.url
    with pytest.raises(ModelError, match=f"not in the local cache, and {url} cannot be reached"):
        download(MODEL, commit)
    monkeypatch.setattr(constants, "ENDPOINT", hub_url)
    assert (download(MODEL, commit) / "model.safetensors").is_file()


def test_files_that_another_program_left_out_are_downloaded(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers' own download of a model has no tokenizer and no README."""
    commit = hub.add(MODEL, folder)
    for name in ("config.json", "model.safetensors"):
        place = Path(hf_hub_download(MODEL, name, revision=commit)).parent
    disconnect(monkeypatch)
    assert download(MODEL, commit) == place
    assert len(list(place.iterdir())) == 2
    assert f"base model {MODEL} is used as the local cache has it" in caplog.text
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    assert download(MODEL, commit) == place
    assert {path.name for path in place.iterdir()} == KEPT | {"chat_template.jinja", "README.md"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("gated", "is gated, and this machine has no access to it; ask for access on .*hf auth login"),
        ("hidden", "has no model 'lab/tiny', or does not show it here; correct base.model; for a private model"),
        ("forbidden", "refused base model lab/tiny: 403 Forbidden.*check the access of HF_TOKEN"),
        ("broken", "is not in the local cache, and .* cannot be reached"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence_with_the_remedy(
    fault: str, message: str, hub: FakeHub, folder: Path
) -> None:
    commit = hub.add(MODEL, folder)
    hub.faults[MODEL] = fault
    for use in (lambda: find_commit(MODEL, "main"), lambda: download(MODEL, commit)):
        with pytest.raises(ModelError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_an_unknown_model_and_an_unknown_revision_are_named(hub: FakeHub, folder: Path) -> None:
    hub.add(MODEL, folder)
    with pytest.raises(ModelError, match="has no model 'lab/other'"):
        find_commit("lab/other", "main")
    with pytest.raises(ModelError, match=r"has no branch, tag or commit 'dev'; set base\.revision"):
        find_commit(MODEL, "dev")
    with pytest.raises(ModelError, match="has no branch, tag or commit 'ffff"):
        download(MODEL, "f" * 40)


@pytest.mark.parametrize(("names", "found"), [(["pytorch_model.bin"], "only as pytorch_model.bin"), ([], "not")])
def test_a_model_without_safetensors_is_refused(names: list[str], found: str, hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    for name in ["config.json", *names]:
        (tmp_path / "base" / name).write_text("{}")
    hub.add(MODEL, tmp_path / "base")
    with pytest.raises(ModelError, match=rf"weights at main {found}.*set base\.revision to one with model.safetensors"):
        find_commit(MODEL, "main")
    assert not (Path(constants.HF_HUB_CACHE) / "models--lab--tiny").exists()


def test_too_small_a_disk_is_named_before_the_download(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(MODEL, folder)
    usage = namedtuple("usage", "free")  # noqa: PYI024 - as shutil's own
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free=10))
    with pytest.raises(DiskFullError, match=r"0\.0 GB free, and lab/tiny needs .* set HF_HOME to"):
        download(MODEL, commit)


def test_a_full_disk_during_the_download_is_named(hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add(MODEL, folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(ModelError, match=r"the download failed \(.*No space left.*\); run the same command again"):
        download(MODEL, commit)


def test_bytes_that_changed_after_the_download_are_noticed(hub: FakeHub, folder: Path) -> None:
    place = download(MODEL, hub.add(MODEL, folder))
    path = (place / "model.safetensors").resolve()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"is damaged \(its bytes are not those that were downloaded\)"):
        fingerprint(place)
