"""`compare`: what a version's adapter does, beside solved examples in the prompt of its parent."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from everlearn.cli.output import Json, print_note, print_result, progress_bar, table
from everlearn.cycle.workspace import Workspace
from everlearn.data import suites
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError, NotFoundError
from everlearn.training.asking import asking_of
from everlearn.training.context_results import read_solved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from everlearn.cli.context import Installation
    from everlearn.data.suites import Suite
    from everlearn.problem import Answer
    from everlearn.settings import Settings
    from everlearn.training.context_results import ContextResult

app = typer.Typer()


@app.command()
def compare(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="v0007 or champion.")] = "champion",
    *,
    suite: Annotated[
        str, typer.Option(metavar="SUITE", help="A suite of the version's night, such as target, or a file.")
    ] = "target",
    examples: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="K", help="Examples in a prompt; repeat it for several. Default: 1, 4, 16 and 64."),
    ] = None,
    up_to_window: Annotated[
        bool,
        typer.Option(
            "--up-to-window", help="Also as many examples as the model's window holds, which takes the longest."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Compare weights with context: the version without examples, its parent with what the night has solved in its prompt.

    Each number of examples is measured twice, with random examples and with those most similar to the problem: right
    answers, prompt tokens and seconds of a request. Prompts that exceed the model's window are left out. With
    `--up-to-window` as many examples as it holds are measured last: with a large window that may take hours on a CPU;
    of a model that states none it is left out. Says after how many requests the adapter is cheaper than a context that
    does as well.

        everlearn compare v0007 --suite target
        everlearn compare v0007 --up-to-window
        everlearn compare champion --suite data/suites/short-sums.jsonl --examples 4 --examples 32
    """
    from everlearn.reporting.context_comparison import context_notes
    from everlearn.reporting.costs import adapter_cost, cost_of
    from everlearn.reporting.night_record import steps_from_metrics

    installation: Installation = context.obj
    entry = installation.registry().resolve(version)
    manifest = installation.registry().manifest(entry.version)
    counts = sorted(set(examples or (1, 4, 16, 64)))
    results = _measured(
        installation,
        entry.version,
        manifest.parent or "base",
        suite,
        counts,
        key=entry.cycle_key,
        up_to_window=up_to_window,
    )
    *contexts, adapter = results
    left_out = sorted(set(counts) - {each.examples for each in contexts})
    if left_out:
        print_note(
            f"not measured: {', '.join(map(str, left_out))} examples (fewer are solved, or the window is smaller)"
        )
    prices = installation.settings().prices
    steps = steps_from_metrics(manifest.metrics)
    night, paid = cost_of(steps, prices), adapter_cost(steps, prices)
    shown, asked = [each for each in contexts if each.examples], "the target" if suite == "target" else suite
    notes = context_notes(shown, adapter, paid=paid, prices=prices, suite=asked)
    facts = {"version": entry.version, "suite": suite, "night_cpu_seconds": night.cpu_seconds, "notes": notes}
    facts |= {"night_gpu_seconds": night.gpu_seconds, "night_money": night.money, "currency": prices.currency}
    print_result(facts | {"rows": [each.to_content() for each in results]}, as_json=json, text=_shown(results, notes))


def _measured(
    installation: Installation,
    version: str,
    parent: str,
    name: str,
    counts: Sequence[int],
    *,
    key: str,
    up_to_window: bool,
) -> list[ContextResult]:
    """Return the parent's results without and with examples, and the version's without."""
    from everlearn.cli import model
    from everlearn.training.in_context import measure_in_context
    from everlearn.training.models.base_source import base_directory

    settings = model.pinned_settings(installation)
    work = Workspace(installation.registry().store, settings.store.line, key)
    solved = _solved(work, settings, version=version)
    suite = _suite(work, name, settings=settings)
    base = base_directory(settings)
    model.require_base(installation, base, version=version)
    results: list[ContextResult] = []
    for policy, asked, fills in ((parent, (0, *counts), up_to_window), (version, (0,), False)):
        with progress_bar(f"{policy} on {suite.name}") as progress:
            results += measure_in_context(
                base,
                model.adapter_of(installation, version=policy),
                suite.problems,
                solved,
                policy=policy,
                counts=asked,
                up_to_window=fills,
                seed=settings.learn.seed,
                **asking_of(settings),
                progress=progress,
            )
    return results


def _solved(work: Workspace, settings: Settings, *, version: str) -> list[Answer]:
    """Return what the night of a version has solved. Raises BadInputError where its workspace is gone."""
    try:
        return read_solved(work.get("rewarded"), domain=load_domain(settings.domain))
    except NotFoundError:
        raise BadInputError(
            f"what the night of {version} solved is no longer in the bucket: garbage collection removed its workspace "
            "(retention.work_days); compare a newer version"
        ) from None


def _suite(work: Workspace, name: str, *, settings: Settings) -> Suite:
    """Return the suite of that name that the night froze, else the one in a file or in the suites folder."""
    from everlearn.cli import model

    with tempfile.TemporaryDirectory() as folder:
        frozen = work.get_tree("suites", Path(folder)) / f"{name}.jsonl"
        if "/" not in name and frozen.is_file():
            return suites.load(frozen, domain=settings.domain)
    return model.suite_of(name, settings=settings)


def _shown(results: Sequence[ContextResult], notes: Sequence[str]) -> RenderableType:
    rows: list[tuple[Any, ...]] = [
        (
            each.policy,
            f"{each.examples}, the most" if each.is_largest else each.examples or "none",
            each.choice if each.examples else None,
            f"{sum(each.right)} of {len(each.right)}",
            f"{each.prompt_tokens:.0f}",
            f"{each.seconds:.3f}",
            f"{each.cpu_seconds:.3f}",
        )
        for each in results
    ]
    columns = ("policy", "examples", "chosen", "right", "prompt tokens", "s a request", "CPU s a request")
    return Group(table(*columns, rows=rows), *map(Text, notes))
