"""`init`: make a new project, with the demonstration's base model, suite and example problems.

A project is a directory of its own: settings, base model, suites, problems and the deployments of scheduled nights. The
files come from the checkout that Everlearn was installed from, or from the installed wheel, which has the same ones.
"""

from __future__ import annotations

import re
import sysconfig
from dataclasses import dataclass
from json import dumps as json_of  # `json` is the name of an option
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli.output import Json, print_result
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer()
CHECKOUT = Path(__file__).parents[3]
INSTALLED = Path("share/everlearn")
"""Below the data directory of the environment; see `shared-data` in pyproject.toml."""

COPIED = {
    "data/base": "data/base",
    "data/suites": "data/suites",
    "data/example": "examples",
    "infra/prefect.yaml": "infra/prefect.yaml",
    "infra/automations.yaml": "infra/automations.yaml",
    "infra/notifications.yaml": "infra/notifications.yaml",
}
"""Files and folders of a new project: from where, to where."""

IGNORED = "# State, keys and downloads of this machine.\n.everlearn/\n"
LINE = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """Where a project was made, its files that were written, and those that were there and are unchanged."""

    directory: Path
    written: tuple[str, ...]
    kept: tuple[str, ...]


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the project; made if there is none.")],
    *,
    base: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Base model of your own, used where it is; by default a copy of the demo's."),
    ] = None,
    line: Annotated[str, typer.Option(metavar="NAME", help="Name of the line.")] = "integration",
    force: Annotated[
        bool, typer.Option("--force", help="Accept a directory that has files. None of them is changed.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a new project: settings, .gitignore, the demonstration's base model, suite and example problems.

    The project is self-contained: it needs this repository no more. A directory with files is refused without `--force`.

        everlearn init demo
        cd demo && everlearn cycle --data examples
        everlearn init mine --base /models/Qwen2.5-0.5B-Instruct --line mine
    """
    made = make_project(directory, base=base, line=line, force=force)
    facts = {"project": str(made.directory), "written": made.written, "kept": made.kept}
    lines = [
        f"{len(made.written)} files in {directory}",
        *(f"  kept as it was: {name}" for name in made.kept),
        "one night on its example problems, in minutes:",
        f"  cd {directory} && everlearn cycle --data examples",
    ]
    print_result(facts, as_json=json, text="\n".join(lines))


def make_project(directory: Path, *, base: Path | None, line: str, force: bool) -> NewProject:
    """Write a project into a directory. Existing files are never changed.

    Raises:
        BadInputError: the directory has files and `force` is not set, or is a file; the line cannot be a name.
        ModelError: `base` is no base model.
    """
    if directory.exists() and not directory.is_dir():
        raise BadInputError(f"{directory} is a file; name a directory")
    if not force and directory.is_dir() and any(directory.iterdir()):
        raise BadInputError(f"{directory} is not empty; name another directory, or add --force to keep what it has")
    if not LINE.fullmatch(line):
        raise BadInputError(f"{line!r} cannot name a line: use lower-case letters, digits, dots, dashes or underscores")
    if base is not None:
        from everlearn.training.models.base_checks import check_base  # imports transformers

        check_base(base)  # as each night does
    source = starter_files()
    contents = {
        "params.yaml": params_text((source / "params.yaml").read_text(encoding="utf-8"), base=base, line=line).encode(),
        ".gitignore": IGNORED.encode(),
    }
    contents |= {name: path.read_bytes() for path, name in copies(source, with_base=base is None)}
    kept = sorted(name for name in contents if (directory / name).exists())
    for name in sorted(contents.keys() - {*kept}):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(contents[name])
    written = tuple(sorted(contents.keys() - {*kept}))
    return NewProject(directory=directory.absolute(), written=written, kept=tuple(kept))


def starter_files() -> Path:
    """Return the directory with the files of a new project: the checkout, else the data of the installed wheel.

    Raises:
        BadInputError: neither has them.
    """
    places = [CHECKOUT, Path(sysconfig.get_path("data")) / INSTALLED]
    for place in places:
        if all((place / each).exists() for each in ("params.yaml", *COPIED)):
            return place
    raise BadInputError(
        f"the files of a new project are neither in {places[0]} nor in {places[1]}; install Everlearn from a wheel or a checkout"
    )


def copies(source: Path, *, with_base: bool) -> Iterator[tuple[Path, str]]:
    """Yield every file to copy, and its name in the project."""
    for start, name in COPIED.items():
        if name == "data/base" and not with_base:
            continue
        if (source / start).is_file():
            yield source / start, name
            continue
        for path in sorted(path for path in (source / start).rglob("*") if path.is_file()):
            yield path, f"{name}/{path.relative_to(source / start)}"


def params_text(text: str, *, base: Path | None, line: str) -> str:
    """Return the shipped settings with the name of the line, and with the path of the user's own base model."""
    text = re.sub(r"(?m)^  line: .*$", f"  line: {line}", text, count=1)
    if base is not None:
        text = text.replace("  path: data/base\n", f"  path: {json_of(str(base.absolute()))}\n")
    return text
