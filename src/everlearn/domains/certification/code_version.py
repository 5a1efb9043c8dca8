"""Name the code that gives a domain's verdicts: a digest of its source files and the versions of its libraries."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, digest_of
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everlearn.domains.contract import Domain


def code_version(domain: Domain) -> str:
    """Return a SHA-256 digest that changes with a source file of the plug-in's package, or with one of its libraries.

    Raises:
        BadInputError: there are no source files.
    """
    if len(domain.parts) > 1:
        return digest_of(canonical({name: code_version(load_domain(name)) for name in domain.parts}))
    return package_digest(domain.module, libraries=domain.libraries)


def package_digest(module: str, *, libraries: Iterable[str]) -> str:
    """Return a SHA-256 digest of the source files of a module's package and of the versions of these libraries.

    Raises:
        BadInputError: there are no source files.
    """
    files = {path.as_posix(): digest_of(data) for path, data in _sources(module).items()}
    return digest_of(canonical({"files": files, "libraries": {name: _version(name) for name in libraries}}))


def _sources(module: str) -> dict[Path, bytes]:
    """Return the source files of the module's package by their path in it; of the module alone where there is none."""
    package = module.rpartition(".")[0]
    found = importlib.util.find_spec(package or module)
    if found is None or found.origin is None:
        raise BadInputError(f"the source files of {module} cannot be found, so its code has no version: install them")
    origin = Path(found.origin)
    if not package and not found.submodule_search_locations:
        return {Path(origin.name): origin.read_bytes()}
    return {path.relative_to(origin.parent): path.read_bytes() for path in sorted(origin.parent.rglob("*.py"))}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
