"""Frozen inputs of a cycle: everything that decides the trained weights, and the key computed from it.

A setting enters the configuration digest in one of two ways. The settings of release 0.1.0 always do, so that keys
computed by that release stay valid. Every later setting does only where its value differs from its default, so that a
new setting changes the key of no existing configuration.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from everlearn.canonical_json import canonical, digest_of
from everlearn.errors import CycleError
from everlearn.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS = frozenset({"domain", "threads", "compute", "format", "ingest", "supervised", "ladder", "learn", "rollouts"})
"""The settings and sections that change the weights."""

ALWAYS_INCLUDED: dict[str, Any] = {
    "domain": True,
    "threads": True,
    "ingest": frozenset(["max_bad_share", "holdout_share", "min_target_items"]),
    "ladder": frozenset(["rungs", "depth", "breadth", "tries", "temperature", "rollouts", "answer_temperature"]),
    "learn": frozenset(
        [
            "seed",
            "steps",
            "prompts",
            "group",
            "temperature",
            "curriculum",
            "replay",
            "frontier",
            "regrow",
            "rank",
            "alpha",
            "rate",
            "warmup",
            "decay",
            "loss",
            "loss_length",
            "importance",
            "scale_rewards",
            "clip_low",
            "clip_high",
            "truncate",
            "kl",
            "max_norm",
            "tokens",
            "memory_gib",
            "bf16",
            "checkpoint_every",
            "max_kl",
            "min_entropy",
            "max_unended",
            "staleness",
            "processes",
        ]
    ),
}
"""The settings of release 0.1.0, which enter the digest even where they have their default. Never extend this table."""
NEVER_INCLUDED: dict[str, Any] = {"learn": {"checkpoint_minutes"}, "rollouts": {"program", "gpu_share"}}
"""Settings of these sections that change no weights."""
MEMORY_GIB = 4.0
"""What `learn.memory_gib` counts as where it is not set: its default in release 0.1.0, and still that of a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleInputs:
    """Everything that decides which weights a cycle makes. `parent` is a version, or None for the base model.

    `config_digest` covers only the settings that change the weights, including the seed.
    """

    data_digest: str
    config_digest: str
    parent: str | None
    base_fingerprint: str
    code_version: str


def cycle_key(inputs: CycleInputs) -> str:
    """Return the SHA-256 over the inputs. Equal inputs are the same cycle."""
    return digest_of(canonical(asdict(inputs)))


def freeze_inputs(settings: Settings, *, data_digest: str, parent: str | None, base_fingerprint: str) -> CycleInputs:
    """Return the inputs of a cycle that starts now with the installed release."""
    return CycleInputs(
        data_digest=data_digest,
        config_digest=config_digest(settings),
        parent=parent,
        base_fingerprint=base_fingerprint,
        code_version=version("everlearn"),
    )


def config_digest(settings: Settings) -> str:
    """Return the SHA-256 over the settings that change the weights."""
    always = settings.model_dump(mode="json", include=ALWAYS_INCLUDED)
    always["learn"]["memory_gib"] = settings.learn.memory_gib or MEMORY_GIB
    changed = settings.model_dump(mode="json", include=set(SECTIONS), exclude=NEVER_INCLUDED, exclude_defaults=True)
    for name, value in changed.items():
        if value == {} or (name == "supervised" and not settings.supervised.epochs):
            continue  # nothing but settings that change no weights
        always[name] = {**always.get(name, {}), **value} if isinstance(value, dict) else value
    return digest_of(canonical(always))


def freeze_settings(settings: Settings) -> dict[str, str]:
    """Return the settings as notes of an open cycle."""
    return {"settings": settings.model_dump_json()}


def restore_settings(notes: Mapping[str, str], *, current: Settings) -> Settings:
    """Return the settings that were frozen in `notes`, except where the bucket, the key and relative paths are.

    Those come from `current`: the bucket may have moved to another server meanwhile, the project to another directory.

    Raises:
        CycleError: another release froze a setting that this one does not know or does not accept.
    """
    try:
        frozen = Settings.model_validate_json(notes["settings"], context={"root": current.root})
    except ValidationError as error:
        names = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        raise CycleError(
            f"the open cycle was started by another version of Everlearn with settings that this one does not accept "
            f"({names}); finish it with that version, or abandon it with `everlearn cycle --abandon`"
        ) from None
    return frozen.model_copy(update={"store": current.store, "signing": current.signing})
