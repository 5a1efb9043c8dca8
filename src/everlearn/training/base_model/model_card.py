"""The model card of the default base: its digest and its measured pass rates.

`python -m everlearn.training.base_model.model_card data/base` measures the model and writes `README.md` next to the
weights.
"""

from __future__ import annotations

import json
import random
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.compositions import draw_product
from everlearn.domains.integration.term_sums import draw_sum
from everlearn.training.evaluation import measure
from everlearn.training.models.fingerprint import fingerprints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZES = (1, 2, 3, 4, 6, 8, 10, 12, 14)
DEPTHS = (1, 2, 3, 4, 5, 6, 8)
ITEMS = 200
SEED = 20_260_101

CARD = """---
license: apache-2.0
tags: [everlearn, integration, from-scratch]
---
# The default base: short sums and shallow compositions

A Llama of {millions:.2f} M parameters at marked positions (`everlearn.training.models.marked_llama`), made from nothing by
`dvc repro base` (`python -m everlearn.training.base_model.pretrain`, seed 0) on generated antiderivatives of sums of one to three
terms, of compositions of one to three functions, and on three moves that make longer ones easier. It has never seen the
solution of a longer sum or of a deeper composition.

For trying Everlearn out and for its tests; it integrates nothing but sums of its eleven families of terms, and compositions
(`everlearn.domains.integration.compositions`).

Digest (weights, config and tokenizer): `{digest}`

Greedy pass rate on {items} fresh sums of so many terms (`python -m everlearn.training.base_model.model_card`):

```json
{sums}
```

The same of compositions of so many functions:

```json
{compositions}
```
"""


def measure_sums(base: Path, *, sizes: Sequence[int] = SIZES, items: int = ITEMS) -> dict[int, float]:
    """Return the greedy pass rate of the unmodified base model on sums by number of terms."""
    return {size: _rate(base, partial(draw_sum, size=size), seed=SEED + size, items=items) for size in sizes}


def measure_compositions(base: Path, *, depths: Sequence[int] = DEPTHS, items: int = ITEMS) -> dict[int, float]:
    """Return the greedy pass rate of the unmodified base model on compositions by number of functions."""
    return {depth: _rate(base, partial(draw_product, depth=depth), seed=SEED + depth, items=items) for depth in depths}


def _rate(base: Path, draw: Callable[[random.Random], str], *, seed: int, items: int) -> float:
    rng, domain = random.Random(seed), load_domain("integration")
    problems = [domain.stated(draw(rng)) for _ in range(items)]
    measurements = measure(base, None, problems, seed=SEED, threads=1)
    return sum(each.verdict.is_correct for each in measurements) / items


def render_card(*, parameters: int, digest: str, sums: dict[int, float], compositions: dict[int, float]) -> str:
    """Return the card's text."""
    return CARD.format(
        millions=parameters / 1e6,
        digest=digest,
        items=ITEMS,
        sums=json.dumps(sums),
        compositions=json.dumps(compositions),
    )


def write_card(base: Path, *, parameters: int) -> None:
    """Measure the base and write its card."""
    text = render_card(
        parameters=parameters,
        digest=fingerprints(base)[1],
        sums=measure_sums(base),
        compositions=measure_compositions(base),
    )
    (base / "README.md").write_text(text)


if __name__ == "__main__":
    from everlearn.training.models.policy import load_policy

    directory = Path(sys.argv[1])
    write_card(directory, parameters=sum(tensor.numel() for tensor in load_policy(directory).base_weights.values()))
