"""Names of domains: `arithmetic` names an entry point, `gym/chain_sum` a task of the family that the entry point `gym` provides.

`arithmetic+equations` names a mixture of these (`mixture`).

A family is a plug-in class with a static method `tasks`; it is called with the name of one task. Any other plug-in class is
called without an argument. An entry point that was found keeps the whole name, so that another process can open it.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from everlearn.errors import UnknownDomainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.plugin import DomainPlugin

GROUP = "everlearn.domains"
MIXED = "+"
"""Between the names of the domains in a mixture."""
_LISTED = 5  # tasks in a message


def known_domains() -> tuple[str, ...]:
    """Return the names of all domains and families that installed packages provide, sorted, without tasks."""
    return tuple(sorted(entry_points(group=GROUP).names))


def tasks_of(name: str) -> tuple[str, ...]:
    """Return the names of a family's tasks, such as `gym/chain_sum`; nothing for a domain that is no family.

    Raises UnknownDomainError as `find_domain`, and where the family's library is not installed.
    """
    return tuple(f"{name}/{task}" for task in _tasks(find_domain(name)) or ())


def members_of(name: str) -> tuple[str, ...]:
    """Return the names of the domains in a mixture; of any other domain, its name."""
    return tuple(name.split(MIXED))


def find_domain(name: str) -> EntryPoint:
    """Return the entry point of the domain of that name, so that another process can open it.

    Raises:
        UnknownDomainError: no installed package provides it, or the part after the "/" is no task of it; the message
            lists the known names.
    """
    if MIXED in name:
        return _find_mixture(name)
    base, has_task, _ = name.partition("/")
    found = next(iter(entry_points(group=GROUP, name=base)), None)
    if found is None:
        raise UnknownDomainError(
            f"unknown domain {_short(name)!r}: use one of {', '.join(known_domains()) or '(none installed)'}, or install "
            f"a package that provides it as an entry point of {GROUP}"
        )
    if not has_task:
        return found
    named = EntryPoint(name=name, value=found.value, group=GROUP)
    _check_task(named)
    return named


def _find_mixture(name: str) -> EntryPoint:
    """Return an entry point of a mixture, after a look at each of its domains."""
    members = members_of(name)
    for member in members:
        find_domain(member)
    if len(set(members)) < len(members):
        raise UnknownDomainError(f"unknown domain {_short(name)!r}: it names a domain twice")
    return EntryPoint(name=name, value="everlearn.domains.mixture:Mixture", group=GROUP)


def make_plugin(entry: EntryPoint) -> DomainPlugin:
    """Return a new plug-in of an entry point that `find_domain` returned. Raises UnknownDomainError as it does."""
    if MIXED in entry.name:
        mixture: DomainPlugin = entry.load()(entry.name)
        return mixture
    _check_task(entry)
    _, has_task, task = entry.name.partition("/")
    plugin: DomainPlugin = _class_of(entry)(*([task] if has_task else []))
    return plugin


def _check_task(entry: EntryPoint) -> None:
    """Raise UnknownDomainError unless the name has a task exactly where the domain is a family, and the task is one of it."""
    base, has_task, task = entry.name.partition("/")
    tasks = _tasks(entry)
    if tasks is None:
        if has_task:
            raise UnknownDomainError(f"unknown domain {_short(entry.name)!r}: {base} has no tasks, use {base!r} alone")
    elif task not in tasks:
        some = ", ".join(f"{base}/{each}" for each in tasks[:_LISTED])
        raise UnknownDomainError(
            f"unknown domain {_short(entry.name)!r}: {base} is a family of {len(tasks)} tasks, name one of them, such as "
            f"{some} (`everlearn domain list` lists them all)"
        )


def _tasks(entry: EntryPoint) -> Sequence[str] | None:
    """Return the tasks of a family, None for a domain that is none."""
    tasks = getattr(_class_of(entry), "tasks", None)
    return None if tasks is None else tuple(tasks())


def _class_of(entry: EntryPoint) -> Any:
    """Load the plug-in's class. Raises UnknownDomainError where a package that it needs is not installed."""
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        base = entry.name.partition("/")[0]
        raise UnknownDomainError(
            f"domain {base} cannot be loaded: {error}. Install what it needs; for a domain that ships with Everlearn: "
            f"pip install 'everlearn[{base}]'"
        ) from error


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:40]}…"
