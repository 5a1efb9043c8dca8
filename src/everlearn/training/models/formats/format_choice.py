"""Choice of a model's format: the one that is set, or `marked` for the architecture of the demo, else `chat`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from everlearn.errors import SettingsError
from everlearn.settings import FormatSettings
from everlearn.training.models.formats import marked_notation
from everlearn.training.models.formats.chat import ChatFormat
from everlearn.training.models.formats.marked import MarkedFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem
    from everlearn.training.models.adapted_base import Policy
    from everlearn.training.models.formats.format import ServedFormat

MARKED_ARCHITECTURE = "marked_llama"


def choose_format(policy: Policy, domain: Domain, settings: FormatSettings) -> ServedFormat:
    """Return the format for the policy's model.

    A domain with `request_tokens` writes complete requests: they get no system text, no examples and no beginning of an
    answer.

    Raises:
        SettingsError: `marked` is set for a domain whose problems are not sums of terms.
    """
    if domain.request_tokens is not None:
        settings = FormatSettings(
            name="chat", max_tokens=domain.request_tokens, reasoning=settings.reasoning, template=settings.template
        )
    if _is_marked(settings, domain=domain, is_marked_model=policy.is_marked):
        return MarkedFormat(tokenizer=policy.tokenizer, domain=domain, stops=policy.stops)
    return ChatFormat(policy.tokenizer, domain=domain, settings=settings, stops=policy.stops)


def checker(base: Path | None, settings: FormatSettings) -> Callable[[Domain, Problem], None]:
    """Return a check whether a problem can be stated to the model, without loading it. The check raises GrammarError.

    `base` is the folder of the model, None if it is not known yet.
    """
    is_marked_model = _architecture(base) == MARKED_ARCHITECTURE

    def check(domain: Domain, problem: Problem) -> None:
        if _is_marked(settings, domain=domain, is_marked_model=is_marked_model):
            marked_notation.require_markers(len(domain.split(problem.statement)))
        else:
            domain.question(problem)

    return check


def is_asked_in_words(base: Path | None, settings: FormatSettings, domain: Domain) -> bool:
    """Return whether a line of that domain addresses its model in words, without loading the model.

    `base` is the folder of the model, None if it is not known yet.
    """
    return not _is_marked(settings, domain=domain, is_marked_model=_architecture(base) == MARKED_ARCHITECTURE)


def _is_marked(settings: FormatSettings, *, domain: Domain, is_marked_model: bool) -> bool:
    if settings.name == "marked" and not domain.has_terms:
        raise SettingsError(
            f"format.name is marked, but problems of {domain.name} are no sums of terms: set it to chat"
        )
    return settings.name == "marked" or (settings.name == "auto" and is_marked_model and domain.has_terms)


def _architecture(base: Path | None) -> str | None:
    if base is None or not (base / "config.json").is_file():
        return None
    try:
        architecture: str | None = json.loads((base / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError):
        return None  # a damaged file is reported when the model is loaded
    return architecture
