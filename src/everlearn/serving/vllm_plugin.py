"""Plugin for vLLM: resolve LoRA adapters by version at run time, so that `"model": "v0008"` in a request suffices.

    export VLLM_ALLOW_RUNTIME_LORA_UPDATING=true VLLM_PLUGINS=everlearn
    export EVERLEARN_SERVING__ADAPTERS=/var/lib/adapters             # one folder for each delivered version
    export EVERLEARN_STORE__ENDPOINT_URL=… EVERLEARN_SIGNING__TRUSTED='["9f3a…"]' AWS_ACCESS_KEY_ID=…
    vllm serve /models/base --enable-lora

vLLM calls `register`, an entry point of the group `vllm.general_plugins`, in each of its processes; without the setting
`serving.adapters` it does nothing. Before a path is returned, all bytes are verified, the base model's fingerprint is
compared (where the model is a directory), and barred versions are refused. Only version numbers are resolved: vLLM
resolves each name once, so `champion` would always mean the first champion.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.errors import EverlearnError, IntegrityError, RegistryError
from everlearn.registry.base_identity import is_same_base
from everlearn.registry.connect import open_registry
from everlearn.registry.line_state import version_number
from everlearn.settings import load
from everlearn.training.models.fingerprint import fingerprint

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry

NAME = "everlearn"
logger = logging.getLogger("everlearn.serving")


class Adapters:
    """The versions of a line, delivered below `folder` when they are requested."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._registry = registry
        self._folder = folder
        self._fingerprints: dict[str, str] = {}

    def find(self, name: str, *, base: str) -> Path | None:
        """Return the verified folder of version `name`; None, with the reason in the log, if it must not be served."""
        if name == "champion":
            logger.error("champion is not loaded: vLLM would never update it; request a version such as v0008")
        if version_number(name) is None:
            return None
        try:
            return self._deliver(name, base=base)
        except EverlearnError as error:
            logger.error("%s is not loaded: %s", name, error)  # noqa: TRY400 - for the operator; no traceback needed
            return None

    def _deliver(self, name: str, *, base: str) -> Path:
        entry = self._registry.resolve(name)
        if entry.barred:
            raise RegistryError(f"{name} was rolled back")
        if Path(base).is_dir():
            if not is_same_base(self._fingerprint(base), entry.base_fingerprint):
                raise IntegrityError(f"it was trained on another base model than {base}")
        else:
            logger.warning("%s is not a directory: the base model of %s is not checked", base, name)
        return self._registry.pull(name, to=self._folder / name)

    def _fingerprint(self, base: str) -> str:
        """Return the fingerprint of the model in directory `base`, computed once: a loaded model does not change."""
        if base not in self._fingerprints:
            self._fingerprints[base] = fingerprint(Path(base))
        return self._fingerprints[base]


def register() -> None:
    """Register a resolver for the line of the settings. An invalid setting is logged: vLLM still serves its base model."""
    try:
        settings = load()
        folder = settings.serving.adapters
        if folder is None:
            return
        adapters = Adapters(open_registry(settings), settings.resolve(folder))
    except EverlearnError as error:
        logger.error("no versions can be loaded: %s", error)  # noqa: TRY400 - for the operator; no traceback needed
        return
    logger.setLevel(logging.WARNING)  # vLLM configures only its own loggers
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

    class EverlearnResolver(LoRAResolver):  # type: ignore[misc] # vLLM is not installed where mypy runs
        """Resolves the versions of one line."""

        async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
            """Return a request for the verified folder of a version; None if the name cannot be served."""
            path = await asyncio.to_thread(adapters.find, lora_name, base=base_model_name)
            if path is None:
                return None
            return LoRARequest(lora_name=lora_name, lora_int_id=int(lora_name[1:]), lora_path=str(path))

    LoRAResolverRegistry.register_resolver(NAME, EverlearnResolver())
