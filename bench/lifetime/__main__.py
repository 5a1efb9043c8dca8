"""The command `python -m bench.lifetime`: see the docstring of the package."""

from __future__ import annotations

import argparse
import json
from typing import Any

import bench.lifetime
from bench.lifetime import improvements, losses


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=bench.lifetime.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--items", type=int, default=60, help="own held-out problems a night, for improvements")
    parser.add_argument("--only", choices=("improvements", "losses"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sizes = {"lines": given.lines, "nights": given.nights}
    found: dict[str, Any] = {}
    if given.only != "losses":
        found["improvements"] = improvements.simulate_all(items=given.items, **sizes)
    if given.only != "improvements":
        found["losses"] = losses.simulate_all(**sizes)
    if given.json:
        print(json.dumps(sizes | {"items": given.items} | found | _promises(found)))
        return
    tables = {"improvements": improvements.table_of, "losses": losses.table_of}
    print("\n\n".join(tables[part](rows) for part, rows in found.items()))


def _promises(found: dict[str, Any]) -> dict[str, float]:
    """Return the worst case of each promise."""
    promises: dict[str, float] = {}
    if "improvements" in found:
        lines = [modes["line"] for modes in found["improvements"].values()]
        promises |= {name: max(row[name] for row in lines) for name in ("false_improved_share", "any_false_headline")}
    if "losses" in found:
        promises["any_skill_lost"] = max(row["any_skill_lost"] for row in found["losses"]["scenarios"].values())
        [ten] = [row for row in found["losses"]["unchanged"] if row["suites"] == 10]
        promises |= {name: ten[name] for name in ("unchanged_passes", "items_ratio")}
    return promises


if __name__ == "__main__":
    main()
