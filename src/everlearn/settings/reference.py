"""docs/settings.md, from the descriptions of the settings: `python -m everlearn.settings.reference`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from everlearn.settings.all_settings import Settings
from everlearn.settings.environment import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

INTRODUCTION = """# Settings

<!-- Written by `make docs` from src/everlearn/settings/. -->

Settings come from four layers. A later one wins, setting by setting:

1. the defaults below,
2. `params.yaml` in the working directory, or the file named by `everlearn --params FILE`,
3. the profile, `quick`, `nightly`, `laptop-lm` or one of your own: the part of that file below `profiles`,
4. the environment: `EVERLEARN_LEARN__SEED=7` is `learn: {seed: 7}`. Values are YAML: `true`, `[a, b]`, `null`.

An unknown name is refused in every layer, with the name that was probably meant, and so is a name that a file has twice
in one place. Relative paths start at the directory of `params.yaml`. A night that was cut off resumes with the settings
that it started with, except `store` and `signing`. Settings that are part of the cycle's key decide which weights a
night makes: another value is another night.

Secrets are not settings. `EVERLEARN_SIGNING_KEY` holds the private key that signs versions (or `signing.key_file` is the
file with it), the AWS variables hold the keys of the S3 server, and `EVERLEARN_POSTGRES` the address of Prefect's
database (`everlearn up --postgres`). `EVERLEARN_LOG` chooses the format of log lines: `text` or `json`.
`EVERLEARN_API_KEYS` holds the API keys of `everlearn serve`, separated by commas.
"""
TYPES = {str: "text", Path: "path", bool: "true or false", int: "integer", float: "number"}
BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def settings_page() -> str:
    """Return the page as Markdown: a table for each section."""
    parts = [INTRODUCTION, _section("General", Settings, prefix="")]
    parts += [_section(f"`{name}`", section, prefix=f"{name}.") for name, section in _sections()]
    return "\n".join(parts)


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def _section(title: str, section: type[BaseModel], *, prefix: str) -> str:
    lines = [f"## {title}", "", " ".join(str(section.__doc__).split()), ""]
    lines += ["| setting | type and range | default | what it does | variable |", "| --- | --- | --- | --- | --- |"]
    nested = {name for name, _ in _sections()} if section is Settings else set()
    for name, field in section.model_fields.items():
        if name not in nested:
            dotted = prefix + name
            variable = PREFIX + dotted.replace(".", "__").upper()
            cells = (f"`{dotted}`", _type_of(field), _default_of(field), field.description, f"`{variable}`")
            lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def _type_of(field: FieldInfo) -> str:
    """Return the type and range of a setting in words: `integer ≥ 1`."""
    bounds = [
        f"{sign} {getattr(part, name):g}"
        for name, sign in BOUNDS
        for part in field.metadata
        if getattr(part, name, None) is not None
    ]
    limits = [f"at least {part.min_length} characters" for part in field.metadata if hasattr(part, "min_length")]
    limits += [f"matching `{part.pattern}`" for part in field.metadata if getattr(part, "pattern", None)]
    return ", ".join([f"{_words(field.annotation)} {' and '.join(bounds)}".rstrip(), *limits])


def _words(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _words(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return "mapping"
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if NoneType in arguments:
        return f"{_words(Union[tuple(part for part in arguments if part is not NoneType)])}, or null"  # noqa: UP007
    return TYPES[kind]


def _default_of(field: FieldInfo) -> str:
    if field.default is None:
        return "null"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{list(field.default) if isinstance(field.default, tuple) else field.default}`"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
