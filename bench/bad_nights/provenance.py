"""Candidates that are refused for where they come from: adapters of another base, and training on the items of a suite."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from bench.bad_nights.workshop import LINE, PARENT, publish
from everlearn.canonical_json import digest_of
from everlearn.data.holdout import split
from everlearn.data.leaked_problems import find_leaks
from everlearn.data.snapshot import Entry
from everlearn.data.target_suite import freeze_target
from everlearn.data.used_problems import EarlierUse, Use, UsedProblems, save_record
from everlearn.domains.contamination import equivalence_keys
from everlearn.errors import ModelError, RegistryError
from everlearn.registry.eligibility import require_base
from everlearn.training.ladder_growth import plant
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.preflight import check_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.bad_nights.workshop import Workshop

OTHER_BASE, LEAKED = "other base", "leaked items"
WEIGHTS = "model.safetensors"
INTO_WIDTH = ("o_proj", "down_proj")
"""Layers whose outputs are the hidden units that every other layer reads."""
SHARE_HELD_OUT = 0.2
SAMPLES = 4
"""Answers sampled for each leaked item; the right ones are taught."""


def refusal(shop: Workshop, kind: str, number: int, *, way: int) -> str | None:
    """Return which guard of a night refuses the candidate, and what it says; None: it comes before the gate."""
    if kind == LEAKED:
        return (_split_problems, _plant_ladder, _look_for_leaks)[way % 3](shop)
    if kind == OTHER_BASE and way % 3 < 2:
        with tempfile.TemporaryDirectory() as folder:
            other = write_other_base(shop, number, to=Path(folder) / "base")
            return (_open_night, _begin_training)[way % 3](shop, other)
    return None


def exchange_base(shop: Workshop, number: int) -> None:
    """Turn the good adapter into the one that the same training makes of the other base with that number."""
    order = _order(shop, number)
    shop.put({name: _reordered_pair(name, a, b, order) for name, (a, b) in shop.copy().items()})


def write_other_base(shop: Workshop, number: int, *, to: Path) -> Path:
    """Write a base of the same function and shapes, whose hidden units have another order; return its folder."""
    shutil.copytree(shop.base, to)
    order = _order(shop, number)
    tensors = {name: _reordered(name, tensor, order) for name, tensor in load_file(to / WEIGHTS).items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, to / WEIGHTS, {"format": "pt"})
    return to


def leak_target(shop: Workshop, *, steps: int, seed: int) -> None:
    """Teach the parent right answers to the night's own target, sampled from it."""
    if not shop.leaked:
        for group in shop.bench.attempt(shop.suites["target"], group=SAMPLES):
            judged = zip(group.completions, group.verdicts, strict=True)
            shop.leaked += [(group.prompt, row.ids) for row, verdict in judged if verdict.is_correct]
    shop.teach(shop.leaked, steps=steps, seed=seed)


def _order(shop: Workshop, number: int) -> torch.Tensor:
    width = next(a.shape[1] for name, (a, _) in shop.adapters["base"].items() if name.endswith("q_proj"))
    return torch.randperm(width, generator=torch.Generator().manual_seed(number))


def _reordered(name: str, tensor: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """(out, in), (vocabulary, width) or (width,) -> same, with the hidden units in another order."""
    if tensor.dim() == 1:
        return tensor[order]
    return tensor[order] if name.removesuffix(".weight").endswith(INTO_WIDTH) else tensor[:, order]


def _reordered_pair(
    name: str, a: torch.Tensor, b: torch.Tensor, order: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return (a, b[order]) if name.endswith(INTO_WIDTH) else (a[:, order], b)


def _open_night(shop: Workshop, other: Path) -> str | None:
    """Open a night of the line with the other base, as `tasks.open_night` does."""
    try:
        require_base(fingerprint(other), shop.registry.state(), line=LINE)
    except RegistryError as error:
        return f"registry.eligibility.require_base, when the night is opened: {error}"
    return None


def _begin_training(shop: Workshop, other: Path) -> str | None:
    """Begin the training of a night that was opened with the line's base, as `training.trainer` does."""
    try:
        check_identity(other, fingerprint(shop.base))
    except ModelError as error:
        return f"training.preflight.check_identity, when the training begins: {str(error).replace(str(other), '…')}"
    return None


def _split_problems(shop: Workshop) -> str | None:
    """Bring the leaked items as new problems, after a published night that trained on them, as `tasks.freeze_suites` does."""
    texts, domain = shop.suites["target"], shop.domain
    entries = [
        Entry(canonical=domain.canonical(text), id=str(number), domain=domain.name, statement=text)
        for number, text in enumerate(texts)
    ]
    trained = EarlierUse(trained=equivalence_keys(texts, domain=domain))
    parts = split(entries, domain=domain, share=SHARE_HELD_OUT, earlier=trained)
    forbidden = equivalence_keys([root.statement for root in parts.roots], domain=domain)
    target = freeze_target(parts.held_out, domain=domain, forbidden=forbidden)
    if target is not None:
        return None
    return f"data.holdout, when the suites are frozen: {len(parts.roots)} of {len(texts)} items are not in the target"


def _plant_ladder(shop: Workshop) -> str | None:
    """Plant a ladder of the night's own items, as `training.ladder_growth` does."""
    texts = shop.suites["target"]
    ladder = plant(texts, domain=shop.domain, forbidden=shop.forbidden)
    if ladder.rungs:
        return None
    return f"ladder.tree, when the ladder is planted: {len(texts)} of {len(texts)} items are forbidden"


def _look_for_leaks(shop: Workshop) -> str | None:
    """Publish the candidate as a night without the other guards, and do what `everlearn leaks --bar` does."""
    registry, texts = shop.registry, shop.suites["target"]
    name = f"leaked {len(registry.state().versions)}"
    with tempfile.TemporaryDirectory() as folder:
        adapter = shop.bench.policy.save(Path(folder) / "adapter")
        version = publish(registry, adapter, name=name, parent=PARENT, base=fingerprint(shop.base))
    night = digest_of(name.encode())
    for use in (Use.TRAINED, Use.MEASURED):
        save_record(registry.store, LINE, use, UsedProblems.of(texts, nights=[night], domain=shop.domain))
    found = find_leaks(registry.store, LINE, versions=_versions(shop), domain=shop.domain)
    leaked = sum(leak.version == version for leak in found)
    back = registry.rollback(reason="everlearn leaks", actor="bench").to
    try:
        registry.promote(version, reason="again", actor="bench")
    except RegistryError as error:
        return (
            f"everlearn leaks --bar, after the publication: {leaked} leaks, {back} serves again; {error}"
            if leaked
            else None
        )
    return None


def _versions(shop: Workshop) -> Mapping[str, str]:
    return {entry.cycle_key: entry.version for entry in shop.registry.state().versions.values()}
