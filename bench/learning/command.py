"""The command of a comparison: run the rows that are missing, write the page, and print a summary."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.learning.arms import ARMS, SPLITS, Options, run_arm
from bench.learning.page import Rows, page, picture, stem_of, summarize
from bench.learning.rows import RowFile, run_row, stored_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.learning.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`python -m module`. `defaults` are the options, `summarize` makes the object that `--json` prints.

    `arms` are those that the subject can run. With `direct_seconds`, the arm `direct` gets the CPU seconds that the arm
    `ladder` of its seed has used.
    """

    module: str
    description: str
    subject: Subject
    defaults: Options
    summarize: Callable[[Rows, Subject], dict[str, Any]] = summarize
    direct_seconds: bool = False
    arms: tuple[str, ...] = ARMS

    def run(self, arguments: list[str] | None = None) -> None:
        """Run the missing rows one after the other, write the page, and print the summary last."""
        chosen = self._parse(arguments)
        options = Options(**{name: getattr(chosen, name) for name in asdict(self.defaults)})
        if chosen.run:
            arm, seed = chosen.run
            print(json.dumps(run_arm(arm, seed=seed, options=options, subject=self.subject, keep=chosen.keep)))
            return
        stored = self._file(chosen.out, options, "json")
        if chosen.page:
            options = stored_options(stored, options)
        file = RowFile(stored, options)
        if chosen.rerun:
            self._rerun(file, *chosen.rerun, options=options)
        for seed in range(0 if chosen.page else chosen.seeds):
            for arm in chosen.arms:
                if not chosen.rerun and file.find(arm, seed) is None:
                    file.put(self._row(file, arm, seed, options=options, keep=chosen.keep))
                    self._write(file, options, chosen.out)
        self._write(file, options, chosen.out)
        print(self._file(chosen.out, options, "md").read_text())
        if chosen.json:
            print(json.dumps(self.summarize(file.rows, self.subject)))

    def _file(self, out: Path, options: Options, ending: str) -> Path:
        return out / f"{stem_of(self.module, cpu_seconds=options.cpu_seconds)}.{ending}"

    def _parse(self, arguments: list[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        defaults = self.defaults
        parser.add_argument("--split", choices=SPLITS, default=defaults.split)
        parser.add_argument("--rollouts", type=int, default=defaults.rollouts, help="sampled completions of a row")
        parser.add_argument(
            "--cpu-seconds",
            type=int,
            default=defaults.cpu_seconds,
            help="of a row, instead of completions; such rows have files of their own",
        )
        parser.add_argument("--items", type=int, default=defaults.items)
        parser.add_argument("--skill-items", type=int, default=defaults.skill_items)
        parser.add_argument("--base", default=defaults.base)
        parser.add_argument("--seeds", type=int, default=3)
        parser.add_argument("--arms", nargs="+", choices=self.arms, default=self.arms)
        parser.add_argument("--out", type=Path, default=Path("docs"))
        parser.add_argument(
            "--rerun", type=_row, metavar="ARM,SEED", help="repeat this row and compare it item by item"
        )
        parser.add_argument("--page", action="store_true", help="write the page of the stored rows, and run nothing")
        parser.add_argument("--run", type=_row, metavar="ARM,SEED", help="run only this row, and print its raw results")
        parser.add_argument(
            "--keep", type=Path, help="keep adapter and rewarded answers of trained arms below this folder"
        )
        parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
        return parser.parse_args(arguments)

    def _row(self, file: RowFile, arm: str, seed: int, *, options: Options, keep: Path | None = None) -> dict[str, Any]:
        ladder, stem = file.find("ladder", seed), stem_of(self.module, cpu_seconds=options.cpu_seconds)
        if self.direct_seconds and arm == "direct" and ladder:
            options = replace(options, cpu_seconds=ladder["cpu_seconds"])
        given = [
            part for name, value in asdict(options).items() for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        if keep is not None:
            given += ["--keep", str(keep / f"{stem},{arm},{seed}")]
        return run_row(arm, seed, module=self.module, threads=self.subject.threads, arguments=given)

    def _rerun(self, file: RowFile, arm: str, seed: int, *, options: Options) -> None:
        """Repeat a row, say on how many items it differs from the stored one, and store it."""
        old, new = file.find(arm, seed), self._row(file, arm, seed, options=options)
        for size, marks in new["table"].items():
            stored = (old or new)["table"][size]
            differing = sum(one != other for one, other in zip(stored, marks, strict=True))
            print(
                f"{arm}, seed {seed}, {size} {self.subject.unit}: {differing} of {len(marks)} items differ from the "
                "stored row"
            )
        file.put(new)

    def _write(self, file: RowFile, options: Options, out: Path) -> None:
        """Write page and picture of the rows that there are."""
        text = page(file.rows, asdict(options), self.subject, module=self.module)
        self._file(out, options, "md").write_text(text)
        drawn = picture(file.rows, self.subject, over_seconds=options.cpu_seconds > 0)
        self._file(out, options, "svg").write_text(drawn)


def _row(text: str) -> tuple[str, int]:
    arm, _, seed = text.rpartition(",")
    if arm not in ARMS or not seed.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not ARM,SEED with an arm of {', '.join(ARMS)}")
    return arm, int(seed)
