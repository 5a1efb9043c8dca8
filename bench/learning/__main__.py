"""The command `python -m bench.learning`: see the docstring of the package."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import bench.learning
from bench.learning.arms import ARMS, SPLITS, Options, run_arm
from bench.learning.page import page, picture, summarize
from bench.learning.rows import RowFile, run_row


def main(arguments: list[str] | None = None) -> None:
    """Run the missing rows one after the other, write the page, and print the summary last."""
    parser = argparse.ArgumentParser(
        description=bench.learning.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Options()
    parser.add_argument("--split", choices=SPLITS, default=defaults.split)
    parser.add_argument("--rollouts", type=int, default=defaults.rollouts, help="sampled completions of a row")
    parser.add_argument("--items", type=int, default=defaults.items)
    parser.add_argument("--skill-items", type=int, default=defaults.skill_items)
    parser.add_argument("--base", default=defaults.base)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--rerun", type=_row, metavar="ARM,SEED", help="repeat this row and compare it item by item")
    parser.add_argument("--run", type=_row, metavar="ARM,SEED", help="run only this row, and print its raw results")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    chosen = parser.parse_args(arguments)
    options = Options(**{name: getattr(chosen, name) for name in asdict(defaults)})
    if chosen.run:
        arm, seed = chosen.run
        print(json.dumps(run_arm(arm, seed=seed, options=options)))
        return
    file = RowFile(chosen.out / "learning.json", options)
    passed_on = [
        part for name, value in asdict(options).items() for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    if chosen.rerun:
        rerun(file, *chosen.rerun, arguments=passed_on)
    for seed in range(chosen.seeds):
        for arm in chosen.arms:
            if not chosen.rerun and file.find(arm, seed) is None:
                file.put(run_row(arm, seed, arguments=passed_on))
                write(file, options, chosen.out)
    write(file, options, chosen.out)
    print((chosen.out / "learning.md").read_text())
    if chosen.json:
        print(json.dumps(summarize(file.rows)))


def rerun(file: RowFile, arm: str, seed: int, *, arguments: list[str]) -> None:
    """Repeat a row, say on how many items it differs from the stored one, and store it."""
    old, new = file.find(arm, seed), run_row(arm, seed, arguments=arguments)
    for size, marks in new["table"].items():
        stored = (old or new)["table"][size]
        differing = sum(one != other for one, other in zip(stored, marks, strict=True))
        print(f"{arm}, seed {seed}, {size} terms: {differing} of {len(marks)} items differ from the stored row")
    file.put(new)


def write(file: RowFile, options: Options, out: Path) -> None:
    """Write page and picture of the rows that there are."""
    (out / "learning.md").write_text(page(file.rows, asdict(options)))
    (out / "learning.svg").write_text(picture(file.rows))


def _row(text: str) -> tuple[str, int]:
    arm, _, seed = text.rpartition(",")
    if arm not in ARMS or not seed.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not ARM,SEED with an arm of {', '.join(ARMS)}")
    return arm, int(seed)


if __name__ == "__main__":
    main()
