"""Count the equivalence classes of generated problems, and time the key.

    python -m bench.equivalence [--draws 2000] [--json]

For each family of the generator, families that users bring, and sums of several sizes: the number of different texts,
of different structures (canonical text up to a factor) and of equivalence classes among the draws. The generator has as
many classes as structures. Of the others, sqrt(2*x + 4) and sqrt(x + 2) differ in structure and are proportional. Times
are CPU time of one new text, and include its parsing and its structure.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from everlearn.domains.integration.canonical import without_factor
from everlearn.domains.integration.equivalence import equivalence
from everlearn.domains.integration.term_sums import FAMILIES, draw_sum

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.domains.integration.term_sums import Term

    Draw = Callable[[random.Random], str]

SIZES = (1, 2, 4, 8, 14)
TEMPLATES = {
    "tan": "{c}*tan({a}*x)",
    "sinh": "{c}*sinh({a}*x + {b})",
    "square root": "{c}*sqrt({a}*x + {b})",
    "x^2 exp": "{c}*x^2*exp({a}*x)",
    "power of a sine": "{c}*sin({a}*x)^{b}",
    "reflected exponential": "{c}*exp(-{a}*x)",
    "shifted": "{c}*sin(x + {b})",
    "linear": "{a}*x + {b}",
}


def _filled(rng: random.Random, template: str) -> str:
    return template.format(**{name: rng.randint(1, 9) for name in "abc"})


def _body(rng: random.Random, *, family: Callable[[random.Random], tuple[Term, Term]]) -> str:
    return family(rng)[0].body


def sources() -> dict[str, Draw]:
    """Return what is drawn from, by name."""
    families: dict[str, Draw] = {
        each.__name__.removeprefix("_of_").replace("_", " "): partial(_body, family=each) for each in FAMILIES
    }
    templates: dict[str, Draw] = {name: partial(_filled, template=template) for name, template in TEMPLATES.items()}
    return families | templates | {f"sum of {size}": partial(draw_sum, size=size) for size in SIZES}


def count_classes(draw: Draw, *, draws: int) -> dict[str, Any]:
    """Return texts, structures, classes, and the milliseconds of CPU time of one new text."""
    rng = random.Random(0)
    texts = sorted({draw(rng) for _ in range(draws)})
    times = []
    for text in texts:
        start = time.process_time()
        equivalence(text)
        times.append(1000 * (time.process_time() - start))
    return {
        "texts": len(texts),
        "structures": len(set(map(without_factor, texts))),
        "classes": len(set(map(equivalence, texts))),
        "ms": median(times),
        "ms_99": quantiles(times, n=100)[-1],
    }


def main(words: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Count equivalence classes and time the key.")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="print a summary as the last line")
    options = parser.parse_args(words)
    found = {name: count_classes(draw, draws=options.draws) for name, draw in sources().items()}
    sys.stdout.write(
        "| drawn | texts | structures | classes | ms | ms, 99 % |\n| --- | --- | --- | --- | --- | --- |\n"
    )
    for name, row in found.items():
        numbers = f"{row['texts']} | {row['structures']} | {row['classes']} | {row['ms']:.2f} | {row['ms_99']:.2f}"
        sys.stdout.write(f"| {name} | {numbers} |\n")
    if options.json:
        generated = [row for name, row in found.items() if name not in TEMPLATES]
        merged = sum(row["structures"] - row["classes"] for row in generated)
        slowest = max(row["ms"] for row in found.values())
        sys.stdout.write(json.dumps({"merged_structures": merged, "slowest_median_ms": slowest}) + "\n")


if __name__ == "__main__":
    main()
