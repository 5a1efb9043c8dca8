"""`init`: make a new project, for the demonstration or for a model and a domain of the user's own.

A project is a directory of its own: settings, base model, suites, problems and the deployments of scheduled nights. The
files come from the checkout that Everlearn was installed from, or from the installed wheel, which has the same ones.
"""

from __future__ import annotations

import re
import shlex
import sysconfig
from dataclasses import dataclass
from json import dumps as json_of  # `json` is the name of an option
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from pydantic import ValidationError

from everlearn.cli.output import Json, print_result
from everlearn.errors import BadInputError
from everlearn.settings.layers import parse_yaml
from everlearn.settings.sections import ModelSettings
from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer()
CHECKOUT = Path(__file__).parents[3]
INSTALLED = Path("share/everlearn")
"""Below the data directory of the environment; see `shared-data` in pyproject.toml."""

DEMO = {"data/base": "data/base", "data/suites": "data/suites", "data/example": "examples"}
"""Files of the demonstration, which has a domain and a model of its own: from where, to where."""

COPIED = {
    name: name
    for name in ("data/general", *(f"infra/{each}.yaml" for each in ("prefect", "automations", "notifications")))
}
"""Files and folders of every new project: from where, to where."""

IGNORED = "# State, keys and downloads of this machine.\n.everlearn/\n"
LINE = re.compile(r"[a-z0-9][a-z0-9._-]*")
DEMO_DOMAIN = "integration"
IN_WORDS = """
# For a model that answers in words; docs/formats.md says how it can be addressed.
format: {name: chat}
learn: {rate: 4.0e-4, max_kl: 20}

# Measure what the line does not train, and may destroy (240 requests; docs/gate.md). It makes each night longer.
# data: {general: data/general}
"""
"""Settings for a language model, written after `base`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """Where a project was made, its files that were written, and those that were there and are unchanged."""

    directory: Path
    written: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectChoices:
    """What a project is about: by default the demonstration. `base` is a folder, `model` a name on the Hugging Face hub.

    Raises:
        BadInputError: two models, a domain without a model for it, or a name that cannot be one.
    """

    domain: str = DEMO_DOMAIN
    base: Path | None = None
    model: str | None = None
    line: str = DEMO_DOMAIN

    def __post_init__(self) -> None:
        if self.base is not None and self.model is not None:
            raise BadInputError("--base is a folder, --model a name on the Hugging Face hub: give one of them")
        if self.has_demo_model and not self.is_demo_domain:
            raise BadInputError(
                f"the demonstration's model answers no problems of {self.domain}: name one with --model or --base"
            )
        if not LINE.fullmatch(self.line):
            raise BadInputError(
                f"{self.line!r} cannot name a line: use lower-case letters, digits, dots, dashes or underscores"
            )
        if self.model is not None:
            try:
                ModelSettings(model=self.model)
            except ValidationError:
                raise BadInputError(
                    f"{self.model!r} is no name on the Hugging Face hub, such as Qwen/Qwen2.5-1.5B-Instruct; a folder is --base"
                ) from None

    @property
    def is_demo_domain(self) -> bool:
        """Whether the demonstration's suites and examples are of the domain."""
        return self.domain == DEMO_DOMAIN

    @property
    def has_demo_model(self) -> bool:
        """Whether the base is the demonstration's."""
        return self.base is None and self.model is None


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the project; made if there is none.")],
    *,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Base model on the Hugging Face hub; by default the demo's.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Base model in a folder, used where it is, instead of --model.")
    ] = None,
    domain: Annotated[
        str, typer.Option(metavar="NAME", help="Domain of the problems; `everlearn domain list` shows all.")
    ] = DEMO_DOMAIN,
    line: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the line; by default that of the domain.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Accept a directory that has files. None of them is changed.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a new project: settings, .gitignore, deployments; by default with the demonstration's model and examples.

    The project is self-contained: it needs this repository no more.
    A directory with files is refused without `--force`.

        everlearn init demo
        cd demo && everlearn cycle --data examples
        everlearn init mine --model Qwen/Qwen2.5-1.5B-Instruct --domain arithmetic
        everlearn init mine --base /models/Qwen2.5-0.5B-Instruct --line mine
    """
    choices = ProjectChoices(
        domain=domain, base=base, model=model, line=line or domain.replace("/", "-").replace("+", "-")
    )
    made = make_project(directory, choices, force=force)
    facts = {"project": str(made.directory), "written": made.written, "kept": made.kept}
    lines = [
        f"{len(made.written)} files in {directory}",
        *(f"  kept as it was: {name}" for name in made.kept),
        *next_steps(directory, choices),
    ]
    print_result(facts, as_json=json, text="\n".join(lines))


def next_steps(directory: Path, choices: ProjectChoices) -> list[str]:
    """Return what to type next."""
    enter = f"  cd {shlex.quote(str(directory))} && everlearn"
    if choices.has_demo_model:
        return [
            "one night on its example problems, in minutes:",
            f"{enter} cycle --data examples",
        ]
    if choices.is_demo_domain:
        return [
            "look at settings and machine, then run one night on the example problems; how long it takes depends on model and machine:",
            f"{enter} up && everlearn doctor && everlearn cycle --data examples",
        ]
    from everlearn.domains.contract import load_domain  # imports sympy

    domain, generate = load_domain(choices.domain), f"{enter} domain generate {choices.domain}"
    row = '{"problem": "…", "answer": "…"}' if domain.takes_references else '{"problem": "…"}'
    generated = [
        "or write some, and a suite that guards what the model can do already:",
        f"{generate} --count 500 --size 6 --to rows/problems.jsonl",
        f"{generate} --suite kept --count 400 --size 2 --to data/suites/kept.jsonl",
    ]
    return [
        f"put a few hundred problems into {directory}/rows/*.jsonl, one a line such as {row}",
        *(generated if domain.has_generator else []),
        "then look at settings and machine, and run one night:",
        f"{enter} up && everlearn doctor && everlearn cycle --profile nightly --data rows",
    ]


def make_project(directory: Path, choices: ProjectChoices, *, force: bool) -> NewProject:
    """Write a project into a directory. Existing files are never changed.

    Raises:
        BadInputError: the directory has files and `force` is not set, or is a file; there is no such domain.
        ModelError: `base` is no base model.
    """
    if directory.exists() and not directory.is_dir():
        raise BadInputError(f"{directory} is a file; name a directory")
    if not force and directory.is_dir() and any(directory.iterdir()):
        raise BadInputError(f"{directory} is not empty; name another directory, or add --force to keep what it has")
    in_words = choices.model is not None
    if not choices.has_demo_model:
        from everlearn.domains.contract import load_domain  # imports sympy

        domain = load_domain(choices.domain)
        if choices.base is not None:
            from everlearn.settings import FormatSettings
            from everlearn.training.models.base_checks import check_base  # imports transformers
            from everlearn.training.models.formats.format_choice import is_asked_in_words

            check_base(choices.base)  # as each night does
            in_words = is_asked_in_words(choices.base, FormatSettings(), domain)
    source = starter_files()
    settings = params_text((source / "params.yaml").read_text(encoding="utf-8"), choices, in_words=in_words)
    require_choices(settings, choices, source=source / "params.yaml")
    contents = {"params.yaml": settings.encode(), ".gitignore": IGNORED.encode()}
    contents |= {name: path.read_bytes() for path, name in copies(source, choices)}
    kept = sorted(name for name in contents if (directory / name).exists())
    for name in sorted(contents.keys() - {*kept}):
        write_whole(directory / name, contents[name])  # a killed `init` leaves no half file for `--force` to keep
    written = tuple(sorted(contents.keys() - {*kept}))
    return NewProject(directory=directory.absolute(), written=written, kept=tuple(kept))


def starter_files() -> Path:
    """Return the directory with the files of a new project: the checkout, else the data of the installed wheel.

    Raises:
        BadInputError: neither has them.
    """
    places = [CHECKOUT, Path(sysconfig.get_path("data")) / INSTALLED]
    for place in places:
        if all((place / each).exists() for each in ("params.yaml", *DEMO, *COPIED)):
            return place
    raise BadInputError(
        f"the files of a new project are neither in {places[0]} nor in {places[1]}; install Everlearn from a wheel or a checkout"
    )


def copies(source: Path, choices: ProjectChoices) -> Iterator[tuple[Path, str]]:
    """Yield every file to copy, and its name in the project."""
    demo = {
        start: name
        for start, name in DEMO.items()
        if (choices.has_demo_model if start == "data/base" else choices.is_demo_domain)
    }
    for start, name in {**demo, **COPIED}.items():
        if (source / start).is_file():
            yield source / start, name
            continue
        for path in sorted(path for path in (source / start).rglob("*") if path.is_file()):
            yield path, f"{name}/{path.relative_to(source / start)}"


def params_text(text: str, choices: ProjectChoices, *, in_words: bool) -> str:
    """Return the shipped settings with the domain, the name of the line and the base model; with `in_words`, for a language model."""
    text = re.sub(r"(?m)^domain: .*$", f"domain: {_as_yaml(choices.domain)}", text, count=1)
    text = re.sub(r"(?m)^  line: .*$", f"  line: {_as_yaml(choices.line)}", text, count=1)
    if not choices.has_demo_model:
        ((name, value),) = chosen_base(choices).items()
        text = text.replace("  path: data/base\n", f"  {name}: {_as_yaml(value)}\n" + (IN_WORDS if in_words else ""), 1)
    return text


def chosen_base(choices: ProjectChoices) -> dict[str, str]:
    """Return the section `base` of the project's settings."""
    if choices.model is not None:
        return {"model": choices.model}
    return {"path": "data/base" if choices.base is None else str(choices.base.absolute())}


def require_choices(text: str, choices: ProjectChoices, *, source: Path) -> None:
    """Raise BadInputError unless settings say what was chosen: those of a checkout may have been changed by hand."""
    wanted = {"domain": choices.domain, "store.line": choices.line, "base": chosen_base(choices)}
    try:
        read = parse_yaml(text)
        found = {"domain": read["domain"], "store.line": read["store"]["line"], "base": read["base"]}
    except (yaml.YAMLError, KeyError, TypeError) as error:
        found = {"fault": str(error)}
    wrong = [name for name, value in wanted.items() if found.get(name) != value]
    if wrong:
        raise BadInputError(
            f"{source}, which a new project begins with, was changed, so that {', '.join(wrong)} cannot be set in a copy of it: "
            "restore that file (its changes belong into a project), then run the same command again"
        )


def _as_yaml(text: str) -> str:
    """Return a text as YAML reads it: in quotes where it looks like a number or a truth value."""
    try:
        return text if parse_yaml(text) == text else json_of(text)
    except yaml.YAMLError:
        return json_of(text)
