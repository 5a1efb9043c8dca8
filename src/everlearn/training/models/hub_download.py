"""Base models from the Hugging Face hub: look up a commit, and download its files into the hub's cache.

Only what a causal language model needs is downloaded: weights in safetensors, JSON, tokenizer files, chat templates.
Never a pickle. huggingface_hub keeps the files under HF_HOME, resumes an interrupted download, and reads HF_TOKEN,
HF_ENDPOINT and HF_HUB_OFFLINE. Imports no torch.
"""

from __future__ import annotations

import logging
import shutil
import threading
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils.tqdm import tqdm

from everlearn.errors import DiskFullError, ModelError
from everlearn.training.models.weight_files import INDEX, PICKLES, SINGLE, read_weight_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from huggingface_hub.hf_api import ModelInfo

    OnBytes = Callable[[int, int], None]

LOG = logging.getLogger("everlearn.night")
PATTERNS: dict[str, Any] = {
    "allow_patterns": ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "README.md", "LICENSE*"],
    "ignore_patterns": ["*/*", "consolidated*"],
}
"""Files of the top folder. `consolidated.safetensors` holds the same weights again, under names of another library."""
ENOUGH_TO_SHOW = 10
"""Calls of `progress` have at least this number of MB between them."""
MB = 10**6
FAILURES = (HTTPError, HfHubHTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError, RevisionResolutionError)
"""Errors of huggingface_hub that `_explain` turns into a sentence."""


def find_commit(model: str, revision: str) -> str:
    """Return the commit that a branch or tag of a model stands for, by the hub, else by the local cache.

    Raises:
        ModelError: there is no such model or revision, access was refused, the model has no safetensors, or the hub
            cannot be reached and the cache does not know the revision.
    """
    api = HfApi()
    try:
        info = api.model_info(model, revision=revision)
    except FAILURES as error:
        if not _is_unreachable(error):
            raise _explain(error, model=model, revision=revision) from None
        return _cached_commit(api, model, revision=revision, error=error)
    _require_safetensors(info, model=model, revision=revision)
    return str(api.resolve_revision(model, revision=revision).resolved)  # asks again, and remembers it in the cache


def download(model: str, commit: str, *, progress: OnBytes | None = None) -> Path:
    """Return the folder with the files of a commit, downloading what the cache lacks.

    `progress` is called with the megabytes on disk and of all files.

    Raises:
        ModelError: as `find_commit`.
        DiskFullError: the disk has no room for the files.
    """
    folder = complete_folder(model, commit)
    if folder is not None and (_is_listed(model, commit) or not _can_ask(model, commit)):
        return folder
    try:
        if folder is None:
            _require_room(model, commit)
        bar = _bar_class(progress) if progress else None
        return Path(snapshot_download(model, revision=commit, tqdm_class=bar, **PATTERNS))
    except FAILURES as error:
        raise _explain(error, model=model, revision=commit) from None
    except OSError as error:  # of the disk, or a size that is not the announced one
        raise ModelError(f"base model {model}: the download failed ({error}); run the same command again") from None


def complete_folder(model: str, commit: str) -> Path | None:
    """Return the folder of an earlier download with all files of a commit; None if there is none. Asks no server.

    Where another program filled the cache, which files there are may be unknown: then the weights are all that is
    certain.
    """
    try:
        folder = Path(snapshot_download(model, revision=commit, local_files_only=True, **PATTERNS))
        read_weight_files(folder)
    except (LocalEntryNotFoundError, ModelError):
        return None
    return folder


def _is_listed(model: str, commit: str) -> bool:
    """Return whether the cache knows all files of a commit, as it does after a download of the whole model."""
    try:
        get_cached_repo_tree(model, revision=commit)
    except CachedRepoTreeNotFoundError:
        return False
    return True


def _can_ask(model: str, commit: str) -> bool:
    """Return whether the hub answers questions about a commit, and log why not."""
    try:
        HfApi().model_info(model, revision=commit)
    except FAILURES as error:
        LOG.warning("%s; base model %s is used as the local cache has it", _first_line(error), model)
        return False
    return True


def _cached_commit(api: HfApi, model: str, *, revision: str, error: Exception) -> str:
    try:
        commit = str(api.resolve_revision(model, revision=revision, local_files_only=True).resolved)
    except RevisionResolutionError:
        raise _explain(error, model=model, revision=revision) from None
    LOG.warning(
        "%s; %s of %s is commit %s, as the local cache remembers it", _reason(error), revision, model, commit[:12]
    )
    return commit


def _require_safetensors(info: ModelInfo, *, model: str, revision: str) -> None:
    names = [file.rfilename for file in info.siblings or ()]
    if SINGLE in names or INDEX in names:
        return
    pickles = [name for name in names if name.endswith(PICKLES)]
    found = f"only as {pickles[0]}, a format that can run code when it is read" if pickles else "not"
    raise ModelError(
        f"base model {model} has its weights at {revision} {found}; set base.revision to one with {SINGLE} (many models "
        "have it under refs/pr/1), or convert it where you trust it and set base.path"
    )


def _require_room(model: str, commit: str) -> None:
    """Raise DiskFullError if the disk of the cache is too small for the files."""
    files = HfApi().model_info(model, revision=commit, files_metadata=True).siblings or ()
    size = sum(file.size or 0 for file in files if is_wanted(file.rfilename))
    place = _existing(Path(constants.HF_HUB_CACHE))
    free = shutil.disk_usage(place).free
    LOG.info("base model %s: %.2f GB in %s", model, size / 1e9, constants.HF_HUB_CACHE)
    if size > free:
        raise DiskFullError(
            f"{place} has {free / 1e9:.1f} GB free, and {model} needs {size / 1e9:.1f} GB; free space, or set HF_HOME to a "
            "folder on a larger disk"
        )


def is_wanted(name: str) -> bool:
    """Return whether a file of the top folder is downloaded."""
    allowed, ignored = (
        [fnmatch(name, each) for each in PATTERNS[kind]] for kind in ("allow_patterns", "ignore_patterns")
    )
    return any(allowed) and not any(ignored)


def _existing(folder: Path) -> Path:
    """Return the folder, or the closest one above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def _is_unreachable(error: BaseException) -> bool:
    """Return whether the hub did not answer, so that the cache may."""
    return error.response.status_code >= 500 if isinstance(error, HfHubHTTPError) else True


def _reason(error: BaseException) -> str:
    if isinstance(error, OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return f"{constants.ENDPOINT} cannot be reached ({_first_line(error)})"


def _explain(error: BaseException, *, model: str, revision: str) -> ModelError:
    """Return what is wrong, and the remedy."""
    if isinstance(error, GatedRepoError):
        remedy = f"ask for access on {constants.ENDPOINT}/{model}, then run `hf auth login` here, or set HF_TOKEN"
        return ModelError(f"base model {model} is gated, and this machine has no access to it; {remedy}")
    if isinstance(error, RepositoryNotFoundError):
        remedy = "correct base.model; for a private model run `hf auth login`, or set HF_TOKEN"
        return ModelError(f"{constants.ENDPOINT} has no model {model!r}, or does not show it here; {remedy}")
    if isinstance(error, RevisionNotFoundError):
        remedy = f"set base.revision to one that {constants.ENDPOINT}/{model}/tree/main lists"
        return ModelError(f"base model {model} has no branch, tag or commit {revision!r}; {remedy}")
    if not _is_unreachable(error):
        return ModelError(
            f"{constants.ENDPOINT} refused base model {model}: {_first_line(error)}; check the access of HF_TOKEN, or try "
            "again later"
        )
    return ModelError(
        f"base model {model} at {revision[:12]} is not in the local cache, and {_reason(error)}; connect this machine, copy "
        f"{constants.HF_HUB_CACHE} from one that has it, or set base.path to a folder"
    )


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _bar_class(progress: OnBytes) -> type[tqdm]:
    """Return a progress bar for huggingface_hub that prints nothing and reports the bytes of all files to `progress`."""

    class SilentBar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._is_total = options.get("name") == "huggingface_hub.snapshot_download"
            self._bytes, self._shown, self._guard = 0, -ENOUGH_TO_SHOW, threading.Lock()
            super().__init__(*arguments, **options | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            if self._is_total:
                with self._guard:  # several files are downloaded at once
                    self._bytes += int(n or 0)
                    self._report()
            return None

        def _report(self) -> None:
            done, of = round(self._bytes / MB), round(int(self.total or 0) / MB)
            if done - self._shown >= ENOUGH_TO_SHOW or done == of != self._shown:
                self._shown = done
                progress(done, of)

    return SilentBar
