"""Read the settings: the environment over the profile over params.yaml, and check every name.

pydantic-settings finds and lays the layers over each other. It is imported when settings are read, because many modules
need only their types. Written here: the choice of the profile, and the refusal of unknown variables, which
pydantic-settings ignores.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from everlearn.errors import SettingsError
from everlearn.settings.all_settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping


# PyYAML's parser in C is ten times as fast; wheels have it, a build from source may not.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_USER_IN_URL = re.compile(r"[^/]*//[^/]*@")
STANDARD_PROFILES = ("quick", "nightly")
"""Profiles that may be chosen although params.yaml does not define them."""
OTHER_BASE = {"path": ("model", "revision", "commit"), "model": ("path",)}
"""The settings of `base` that mean another model than the one that the key names."""


def load(
    path: Path = Path("params.yaml"),
    *,
    profile: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read `path` if it exists, and lay the profile and the environment over it.

    The profile is `profile`, else `EVERLEARN_PROFILE`, else `profile` in the file, else quick.

    Raises:
        SettingsError: the file is not readable, a name is unknown or a value is out of range. The message names the
            setting and, where one is similar, the name that was probably meant.
    """
    from pydantic_settings import InitSettingsSource

    from everlearn.settings.environment import Environment, LayeredSettings

    in_file = read_yaml(path) if path.is_file() else {}
    profiles = _mapping(in_file.pop("profiles", {}), where=f"{path}: profiles")
    in_environment = Environment(os.environ if environ is None else environ)()
    chosen = str(profile or in_environment.get("profile") or in_file.get("profile") or "quick")
    if chosen not in {*STANDARD_PROFILES, *profiles}:
        known = ", ".join(sorted({*STANDARD_PROFILES, *profiles}))
        raise SettingsError(f"unknown profile {chosen!r}: use one of {known}, or add it to `profiles` in {path}")
    overlay = _mapping(profiles.get(chosen) or {}, where=f"{path}: profiles.{chosen}")
    layers = _with_one_base(({"profile": chosen}, in_environment, overlay, in_file))  # the first one wins
    sources = tuple(InitSettingsSource(LayeredSettings, layer) for layer in layers)
    try:
        layered = LayeredSettings(_build_sources=(sources, {}))
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    if _USER_IN_URL.match(layered.store.endpoint_url or ""):  # errors, dashboards and frozen settings show the address
        raise SettingsError(
            "setting store.endpoint_url: it has a user or a password, which S3 does not use; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY instead"
        )
    # A plain model from here on: reading it back from JSON must not read the environment again.
    return Settings.model_validate(dict(layered), context={"root": root_of(path)})


def check_profiles(path: Path = Path("params.yaml")) -> None:
    """Check the settings of every profile in the file: a scheduled night uses another one than commands do.

    Raises:
        SettingsError: as `load`. The message names the profile.
    """
    in_file = read_yaml(path) if path.is_file() else {}
    for name in _mapping(in_file.get("profiles", {}), where=f"{path}: profiles"):
        try:
            load(path, profile=str(name))
        except SettingsError as error:
            raise SettingsError(f"profile {name}: {error}") from None


def root_of(path: Path) -> Path:
    """Return the directory of a settings file; the working directory if there is no such file."""
    return path.absolute().parent if path.is_file() else Path.cwd()


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the top-level mapping of a YAML file. SettingsError if there is none."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        fault = _one_line(error)
        raise SettingsError(f"{path} is not readable as YAML: {fault}. Correct it or name another file.") from None
    return dict(_mapping({} if content is None else content, where=str(path)))


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document. yaml.YAMLError if it is none, or names something twice."""
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        _refuse_repeated_names(node)
        return None if node is None else loader.construct_document(node)
    except ValueError as error:  # a date or a number that looks like one, such as 2026-02-30
        raise yaml.YAMLError(str(error)) from None
    finally:
        loader.dispose()


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Return the dotted names of all settings in the order of their declaration."""
    dotted: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            dotted += setting_names(kind, f"{prefix}{name}.")
        else:
            dotted.append(prefix + name)
    return dotted


def _with_one_base(layers: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Hide the folder of the base model below a layer that names a model, and the model below one that names a folder."""
    hidden: tuple[str, ...] = ()
    result = []
    for layer in layers:
        base = layer.get("base")
        if not isinstance(base, dict):
            result.append(layer)
            continue
        visible = {name: value for name, value in base.items() if name not in hidden}
        result.append({**layer, "base": visible})
        if not hidden:
            chosen = [name for name in OTHER_BASE if visible.get(name) is not None]
            hidden = OTHER_BASE[chosen[0]] if len(chosen) == 1 else ()
    return tuple(result)


def _mapping(value: Any, *, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: expected `name: value` lines, found {type(value).__name__}")
    other = next((name for name in value if not isinstance(name, str)), "")
    if other != "":
        raise SettingsError(f"{where}: YAML reads the name {other!r} as {type(other).__name__}; put it in quotes")
    return value


def _refuse_repeated_names(node: yaml.Node | None) -> None:
    """Raise yaml.YAMLError for a name that a mapping has twice: the second would hide the first without a word."""
    waiting, seen = [node], set()
    while waiting:
        each = waiting.pop()
        if each in seen or not isinstance(each, yaml.CollectionNode):
            continue
        seen.add(each)
        if isinstance(each, yaml.SequenceNode):
            waiting += each.value
            continue
        names: set[str] = set()
        for name, value in each.value:
            text = str(name.value)
            if text in names:
                problem = f"{text!r} is named twice: put both values into one place"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=name.start_mark)
            names.add(text)
            waiting.append(value)


def _one_line(error: Exception) -> str:
    """Return what is wrong with a file, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        what = ", ".join(filter(None, (error.context, error.problem)))
        return f"line {error.problem_mark.line + 1}: {what}"
    return " ".join(str(error).split())


def _explain(error: ValidationError) -> str:
    """Return the first error with the setting's name as the user wrote it, and the remedy."""
    import difflib

    first = error.errors(include_url=False)[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if not dotted:
        return f"settings: {first['msg']}"  # about several of them
    if first["type"] != "extra_forbidden":
        return f"setting {dotted}: {first['msg']} (got {first['input']!r})"
    names = setting_names()
    close = difflib.get_close_matches(dotted, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the settings are {', '.join(names)}"
    return f"unknown setting {dotted}; {hint}"
