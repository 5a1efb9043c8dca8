"""The command `python -m bench.lifetime`: see the docstring of the package."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import bench.lifetime
from bench.learning.rows import origin, write_json
from bench.lifetime import improvements, losses, many_suites
from bench.marked_tables import replace_marked

TABLES = {"improvements": improvements.table_of, "losses": losses.table_of}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=bench.lifetime.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--items", type=int, default=60, help="own held-out problems a night, for improvements")
    parser.add_argument("--only", choices=tuple(TABLES))
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of lifetime.json and gate_lifetime.md")
    parser.add_argument("--json", action="store_true", help="print the worst case of each promise as one JSON object")
    given = parser.parse_args()
    parts = [given.only] if given.only else [*TABLES]
    results, page = given.out / "lifetime.json", given.out / "gate_lifetime.md"
    content: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {}
    sizes = {"lines": given.lines, "nights": given.nights}
    for part in parts:
        found = improvements.simulate_all(items=given.items, **sizes) if part == "improvements" else _losses(**sizes)
        content[part] = origin(["-m", "bench.lifetime", *sys.argv[1:]]) | sizes | {"found": found}
        write_json(results, content)
    if page.is_file():
        page.write_text(with_tables(page.read_text(encoding="utf-8"), content), encoding="utf-8")
    measured = {part: content[part]["found"] for part in parts}
    if given.json:
        print(json.dumps(sizes | {"items": given.items} | measured | promises_of(measured)))
    else:
        print("\n\n".join(TABLES[part](found) for part, found in measured.items()))


def with_tables(page: str, content: dict[str, Any]) -> str:
    """Return the page with the tables of these results, each between two comments that name it."""
    for part, results in content.items():
        page = replace_marked(page, f"bench.lifetime: {part}", section_of(part, results))
    return page


def section_of(part: str, results: dict[str, Any]) -> str:
    """Return where results come from, and their tables, in markdown."""
    came = f"{results['lines']:,} lines of {results['nights']} nights ({results['date']}, {results['machine']}, revision {results['revision']})"
    return f"`{results['command']}`: {came}; intervals at 95 %.\n\n{TABLES[part](results['found'])}\n"


def _losses(*, lines: int, nights: int) -> dict[str, Any]:
    found = losses.simulate_all(lines=lines, nights=nights)
    return found | {"many_suites": many_suites.simulate(lines=lines, nights=nights)}


def promises_of(found: dict[str, Any]) -> dict[str, float]:
    """Return the worst case of each promise."""
    promises: dict[str, float] = {}
    if "improvements" in found:
        lines = [modes["line"] for modes in found["improvements"].values()]
        promises |= {name: max(row[name] for row in lines) for name in ("false_improved_share", "any_false_headline")}
    if "losses" in found:
        rows = [*found["losses"]["scenarios"].values(), found["losses"]["many_suites"]]
        promises["any_skill_lost"] = max(row["any_skill_lost"] for row in rows)
        [ten] = [row for row in found["losses"]["unchanged"] if row["suites"] == 10]
        promises |= {name: ten[name] for name in ("unchanged_passes", "items_ratio")}
    return promises


if __name__ == "__main__":
    main()
