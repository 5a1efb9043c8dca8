"""vLLM's runtime loading of adapters, straight from a line: `"model": "v0008"` in a request is enough.

    export VLLM_ALLOW_RUNTIME_LORA_UPDATING=true VLLM_PLUGINS=everlearn
    export EVERLEARN_SERVING__ADAPTERS=/var/lib/adapters             # where versions are delivered, a folder each
    export EVERLEARN_STORE__ENDPOINT_URL=… EVERLEARN_SIGNING__TRUSTED='["9f3a…"]' AWS_ACCESS_KEY_ID=…
    vllm serve /models/base --enable-lora

vLLM finds `register` under the entry point group `vllm.general_plugins` and calls it in each of its processes; without
serving.adapters it does nothing. Every byte is verified before a path is handed over, the base model's
fingerprint is compared where that model is a directory, and a version that was taken back is refused. Only versions
are resolved: a name that vLLM has loaded once it never looks up again, so `champion` would stay what it was.
"""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.errors import EverlearnError, IntegrityError, RegistryError
from everlearn.registry.connect import open_registry
from everlearn.settings import load
from everlearn.training.models.fingerprint import fingerprint

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry

NAME = "everlearn"
_VERSION = re.compile(r"v\d{4,}")
logger = logging.getLogger("everlearn.serving")


class Adapters:
    """The versions of a line as folders below `folder`, for servers that load one at a time."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._registry = registry
        self._folder = folder
        self._fingerprints: dict[str, str] = {}

    def find(self, name: str, *, base: str) -> Path | None:
        """The folder of version `name`, verified; None, with the reason in the log, where it must not be served."""
        if name == "champion":
            logger.error(
                "champion is not handed to vLLM, which would keep that of this moment: ask for it by its number"
            )
        if not _VERSION.fullmatch(name):
            return None
        try:
            return self._deliver(name, base=base)
        except EverlearnError as error:
            logger.error("%s is not handed to vLLM: %s", name, error)  # noqa: TRY400 - told to a person, not a bug
            return None

    def _deliver(self, name: str, *, base: str) -> Path:
        entry = self._registry.resolve(name)
        if entry.barred:
            raise RegistryError(f"{name} was taken back")
        if Path(base).is_dir():
            if self._fingerprint(base) != entry.base_fingerprint:
                raise IntegrityError(f"it was made for another base model than {base}")
        else:
            logger.warning("%s is no directory, so whether %s was made for it is not checked", base, name)
        return self._registry.pull(name, to=self._folder / name)

    def _fingerprint(self, base: str) -> str:
        """Of the model in directory `base`, hashed once: it is loaded already and does not change."""
        if base not in self._fingerprints:
            self._fingerprints[base] = fingerprint(Path(base))
        return self._fingerprints[base]


def register() -> None:
    """Offer the line of the settings to vLLM. What is wrong with the settings is logged: vLLM serves its base anyway."""
    try:
        settings = load()
        folder = settings.serving.adapters
        if folder is None:
            return
        adapters = Adapters(open_registry(settings), settings.resolve(folder))
    except EverlearnError as error:
        logger.error("vLLM is offered no versions: %s", error)  # noqa: TRY400 - told to a person, not a bug
        return
    logger.setLevel(logging.WARNING)  # vLLM's own level is for its own
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

    class EverlearnResolver(LoRAResolver):  # type: ignore[misc] # vLLM is absent where this is checked
        """The versions of one line."""

        async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
            """The version's folder, verified, or None where it is none or must not be served."""
            path = await asyncio.to_thread(adapters.find, lora_name, base=base_model_name)
            if path is None:
                return None
            return LoRARequest(lora_name=lora_name, lora_int_id=int(lora_name[1:]), lora_path=str(path))

    LoRAResolverRegistry.register_resolver(NAME, EverlearnResolver())
