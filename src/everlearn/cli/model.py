"""Commands that need a model: find the version, load it, let it work. Torch is imported here and not before."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from everlearn.cli.output import errors
from everlearn.data import rows, suites
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError
from everlearn.problem import Problem, Ruling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from everlearn.cli.context import Place
    from everlearn.data.suites import Suite
    from everlearn.ladder.tree import Ladder
    from everlearn.problem import Measurement
    from everlearn.settings import Settings


def adapter_of(place: Place, *, version: str) -> Path | None:
    """The files of a version, verified, below .everlearn/versions; None for the base model alone."""
    if version == "base":
        return None
    registry = place.registry()
    name = registry.resolve(version).version
    return registry.pull(name, to=place.home / "versions" / name)


def suite_of(name: str, *, settings: Settings) -> Suite:
    """The suite in a file, or the one of that name below data/suites."""
    folder = settings.suites_directory
    path = Path(name) if Path(name).is_file() else folder / f"{name}.jsonl"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.jsonl"))) or f"none in {folder}"
        raise BadInputError(f"no suite is called {name!r} and no such file exists; the suites are: {known}")
    return suites.load(path, domain=settings.domain)


def evaluate(place: Place, *, version: str, suite: Suite) -> list[Measurement]:
    """Answer every problem of a suite greedily, and judge each answer once."""
    from everlearn.training.evaluation import measure

    settings = place.settings()
    adapter = adapter_of(place, version=version)
    with bar(f"{version} on {suite.name}") as progress:
        return measure(
            settings.base_directory, adapter, suite.problems, seed=settings.learn.seed, threads=settings.threads,
            progress=progress,
        )  # fmt: skip


def summary(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Counts by ruling and the share that is right."""
    counts = Counter(each.verdict.ruling for each in measurements)
    told = {str(ruling).lower(): counts[ruling] for ruling in Ruling}
    return {"n": len(measurements), **told, "share": counts[Ruling.CORRECT] / len(measurements)}


def grow_ladder(place: Place, file: Path, *, version: str) -> Ladder:
    """Let a model grow a ladder below the problems in `file`, away from every suite."""
    from everlearn.training.job import GrowthJob
    from everlearn.training.ladder_growth import grow

    settings = place.settings()
    domain = load_domain(settings.domain)
    found = rows.read(file, domain=settings.domain, load=load_domain).rows
    roots = [
        Problem(id=row.id or row.where, domain=settings.domain, statement=row.statement)
        for row in found
        if row.statement is not None and row.fault is None
    ]
    if not roots:
        raise BadInputError(f"{file} holds no problem of the domain; the first line: {found[0].why}")
    kept = [
        problem for path in sorted(settings.suites_directory.glob("*.jsonl")) for problem in suites.load(path).problems
    ]
    with bar("growing") as progress:
        job = GrowthJob(
            base=settings.base_directory,
            adapter=adapter_of(place, version=version),
            roots=tuple(roots),
            forbidden=suites.equivalence_keys(kept, domain=domain),
            settings=settings.ladder,
            seed=settings.learn.seed,
            threads=settings.threads,
            bf16=settings.learn.bf16,
        )
        return grow(job, progress=progress)


def is_ladder(file: Path) -> bool:
    """Whether a file begins as a kept ladder does."""
    if not file.is_file():
        return False
    with file.open("rb") as lines:
        return lines.read(16).startswith(b'{"counts":')


@contextlib.contextmanager
def bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error: what is given says how many of how many are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors(), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
