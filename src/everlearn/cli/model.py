"""Run a version of the model: measure it on a suite, or grow a ladder with it. Imports torch when called."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn.cli.output import progress_bar
from everlearn.data import suites
from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError, RegistryError
from everlearn.problem import Ruling
from everlearn.registry.eligibility import CHAMPION
from everlearn.training.asking import asking_of
from everlearn.training.models.base_source import base_directory, pin_base
from everlearn.training.problem_file import problems_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.cli.context import Installation
    from everlearn.data.suites import Suite
    from everlearn.ladder.tree import Ladder
    from everlearn.problem import Measurement
    from everlearn.settings import Settings


def adapter_of(installation: Installation, *, version: str) -> Path | None:
    """Fetch a version into the state directory, verified, and return its folder; None for the base model.

    Raises:
        RegistryError: there is no such version, or no champion.
    """
    if version == "base":
        return None
    registry = installation.registry()
    if version == CHAMPION and registry.state().champion is None:
        raise RegistryError(
            f"line {registry.line} has no champion yet: name the base model with `--version base`, or run `everlearn cycle`"
        )
    name = registry.resolve(version).version
    return registry.pull(name, to=versions_folder(installation, registry.line) / name)


def versions_folder(installation: Installation, line: str) -> Path:
    """Return the folder below the state directory for versions of a line: those of another one have the same names."""
    return installation.home / "versions" / line


def require_base(installation: Installation, base: Path, *, version: str) -> None:
    """Raise ModelError if a version was trained on other files than those of that base model; "base" is none."""
    if version == "base":
        return
    from everlearn.training.preflight import check_identity

    identity = installation.registry().resolve(version).base_fingerprint
    check_identity(
        base, identity, of=f"{version} was trained on", otherwise="set base.path or base.model to the right ones"
    )


def pinned_settings(installation: Installation) -> Settings:
    """Return the settings with the commit of a base model that the hub has: that of the line's versions."""
    settings = installation.settings()
    return settings if settings.base.model is None else pin_base(settings, installation.registry())


def suite_of(name: str, *, settings: Settings) -> Suite:
    """Return the suite in a file, or the one of that name in the suites folder. BadInputError if there is none."""
    folder = settings.suites_directory
    path = Path(name) if Path(name).is_file() else folder / f"{name}.jsonl"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.jsonl"))) or f"none in {folder}"
        raise BadInputError(f"no suite is called {name!r} and no such file exists; the suites are: {known}")
    return suites.load(path, domain=settings.domain)


def evaluate(installation: Installation, *, version: str, suite: Suite) -> list[Measurement]:
    """Answer every problem of a suite once, greedily, and judge the answers."""
    from everlearn.training.evaluation import measure

    settings = pinned_settings(installation)
    adapter = adapter_of(installation, version=version)
    with progress_bar(f"{version} on {suite.name}") as progress:
        return measure(
            base_directory(settings),
            adapter,
            suite.problems,
            seed=settings.learn.seed,
            progress=progress,
            **asking_of(settings),
        )


def summary(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Return the number of items, counts by ruling, and the share that is correct."""
    counts = Counter(each.verdict.ruling for each in measurements)
    by_ruling = {str(ruling).lower(): counts[ruling] for ruling in Ruling}
    return {"n": len(measurements), **by_ruling, "share": counts[Ruling.CORRECT] / len(measurements)}


def grow_ladder(installation: Installation, file: Path, *, version: str) -> Ladder:
    """Grow a ladder below the problems in `file`. No rung is equivalent to an item of a suite.

    Raises:
        BadInputError: the file holds no problem of the domain.
    """
    settings = pinned_settings(installation)
    roots = problems_in(file, settings=settings)
    from everlearn.training.job import GrowthJob  # imports torch, only for a file that can be used
    from everlearn.training.ladder_growth import grow

    shipped = suites.load_directory(settings.suites_directory, domain=settings.domain)
    items = [problem.statement for suite in shipped for problem in suite.problems]
    with progress_bar("growing") as progress:
        job = GrowthJob(
            base=base_directory(settings),
            adapter=adapter_of(installation, version=version),
            roots=tuple(roots),
            forbidden=equivalence_keys(items, domain=load_domain(settings.domain)),
            settings=settings.ladder,
            seed=settings.learn.seed,
            threads=settings.threads,
            verifiers=settings.verifiers,
            pseudo_labels=settings.learn.pseudo_labels is not None,
            bf16=settings.learn.bf16,
            compute=settings.compute,
            form=settings.format,
            rollouts=settings.rollout_backend,
        )
        return grow(job, progress=progress)


def is_ladder(file: Path) -> bool:
    """Whether a file is a saved ladder, by its first bytes."""
    if not file.is_file():
        return False
    with file.open("rb") as lines:
        return lines.read(16).startswith(b'{"counts":')
