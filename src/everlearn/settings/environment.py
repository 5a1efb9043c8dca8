"""The environment as a layer of the settings: EVERLEARN_LEARN__SEED=7 is `learn: {seed: 7}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from everlearn.errors import SettingsError
from everlearn.settings.all_settings import Settings
from everlearn.settings.layers import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

PREFIX = "EVERLEARN_"
# Variables with the prefix that are not settings: secrets, a value for infra/prefect.yaml, the log format, and what
# `everlearn watch --exec CMD` tells CMD, which may be another command of ours.
OTHER_VARIABLES = frozenset(
    {
        "EVERLEARN_SIGNING_KEY",
        "EVERLEARN_POSTGRES",
        "EVERLEARN_NOTIFY",
        "EVERLEARN_DIRECTORY",
        "EVERLEARN_LOG",
        "EVERLEARN_API_KEYS",
        "EVERLEARN_VERSION",
        "EVERLEARN_PATH",
    }
)


class LayeredSettings(Settings, BaseSettings):
    """The settings while their layers are put together."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", case_sensitive=True)


class Environment(EnvSettingsSource):
    """EVERLEARN_* variables. Their values are YAML, as in params.yaml: `7`, `true`, `[a, b]`, `null`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(LayeredSettings)
        names = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in OTHER_VARIABLES]
        self.env_vars = {
            PREFIX + name.removeprefix(PREFIX).lower(): _parse_variable(name, environ[name]) for name in names
        }

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ARG002
        """Return the value, which is parsed already."""
        return value

    def __call__(self) -> dict[str, Any]:
        """Return the values by section and name, unknown names and nulls included, so that validation refuses them."""
        values = super().__call__()
        for name, value in self.env_vars.items():
            section, *rest = name.removeprefix(PREFIX).split("__")
            if section not in Settings.model_fields or (value is None and not rest):
                values[section] = None
        return values


def _parse_variable(name: str, text: str) -> Any:
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise SettingsError(f"{name}={text!r} is not a YAML value; quote it or unset it") from None
    is_number = value is not None and not isinstance(value, str | list | dict)
    return text if is_number and name.removeprefix(PREFIX).lower() in _TEXTS else value  # a line may be called 2024


def _names_of_texts(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Yield the settings that are text, as variables name them without their prefix: `store__line`."""
    for name, field in model.model_fields.items():
        if field.annotation is str:
            yield prefix + name
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names_of_texts(field.annotation, f"{prefix}{name}__")


_TEXTS = frozenset(_names_of_texts())
