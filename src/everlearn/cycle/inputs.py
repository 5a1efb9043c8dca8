"""Frozen inputs of a cycle: everything that decides the trained weights, and the key computed from it.

A setting enters the configuration digest in one of two ways. The settings of release 0.1.0 always do, so that keys
computed by that release stay valid. Every later setting does only where its value differs from its default, so that a
new setting changes the key of no existing configuration.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import canonical, digest_of

if TYPE_CHECKING:
    from everlearn.settings import Settings

SECTIONS = frozenset({"domain", "threads", "ingest", "ladder", "learn", "rollouts"})
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
    changed = settings.model_dump(mode="json", include=set(SECTIONS), exclude_defaults=True)
    for name, value in changed.items():
        always[name] = {**always.get(name, {}), **value} if isinstance(value, dict) else value
    return digest_of(canonical(always))
