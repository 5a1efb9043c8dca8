"""Measure a candidate: its uploaded bytes, its answers to every suite, and those of the policies it is compared with."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.data.suites import of_domain
from everlearn.domains.contract import load_domain
from everlearn.errors import ModelError
from everlearn.gate.decision_record import Against
from everlearn.gate.evidence import PairedSuite
from everlearn.problem import Measurement, Ruling, Verdict
from everlearn.registry.adapter_validation import check_directory
from everlearn.registry.manifest import ObjectRef
from everlearn.training.asking import asking_of
from everlearn.training.journal import Journal
from everlearn.training.memory_estimate import PROBES
from tasks.freeze_suites import load_suites
from tasks.known_answers import keep_answers, known_answers
from tasks.night import LOG, as_json, step_task, timed_step
from tasks.open_base import base_folder
from tasks.progress import progress
from tasks.train import segment_writer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from everlearn.data.suites import Suite
    from everlearn.problem import Problem
    from everlearn.training.evaluation import Examination
    from tasks.night import Night

MOST_PER_SUITE, LEAST_PER_SUITE = 12, 2
"""Most and fewest items of each suite that the fresh process answers; in all suites together about `PROBES`."""
CANDIDATE = "candidate"


@step_task
def upload_candidate(night: Night) -> dict[str, str]:
    """Upload the adapter's files as objects that nothing refers to yet. Return their digests by name."""
    with timed_step(night, "upload") as work:
        if not work.has("files"):
            with tempfile.TemporaryDirectory() as folder:
                check_directory(work.get_tree("trained", Path(folder)))
                refs = {path.name: night.registry.put_file(path) for path in sorted(Path(folder).iterdir())}
            work.put("files", json.dumps({name: asdict(ref) for name, ref in refs.items()}).encode())
        return {name: ref.digest for name, ref in files_of(night).items()}


@step_task
def measure_suites(night: Night, policy: str, only: tuple[str, ...] | None = None) -> None:
    """Answer every item of the suites `only` (None: of all that are compared answer by answer) with one policy.

    `policy` is "candidate", "parent", "base" or a version. Answers that an earlier night has kept are used again. A
    resumed run repeats only those of the last seconds before the interruption.
    """
    name = f"measured/{policy}"
    with timed_step(night, f"measure {policy}") as work, tempfile.TemporaryDirectory() as folder:
        if work.has(name):
            return
        segments, suites = f"measuring/{policy}", _suites_of(night, only)
        known = known_answers(night, _digests_of(night, policy), _domains_of(suites))
        unknown = [suite for each in suites if (suite := known.without(each)).problems]
        count = sum(len(each.problems) for each in suites) - sum(len(each.problems) for each in unknown)
        if count:
            LOG.info("%s: %d answers are known from earlier nights", policy, count)
        if unknown:
            known = known.plus(_ask(night, policy, unknown, segments=segments))
        for suite in suites:
            text = "".join(json.dumps(asdict(known.of(problem))) + "\n" for problem in suite.problems)
            (Path(folder) / f"{suite.name}.jsonl").write_text(text, encoding="utf-8")
        keep_answers(night, known, (problem for suite in suites for problem in suite.problems))
        work.put_tree(name, Path(folder))
        work.drop(segments)


def _ask(night: Night, policy: str, suites: Sequence[Suite], *, segments: str) -> dict[Problem, Measurement]:
    answers: dict[Problem, Measurement] = {}
    with examination_of(night, policy, suites, segments=segments) as examination:
        for suite in suites:
            with progress(f"{policy} on {suite.name}") as report:
                asked = replace(examination, progress=report)
                rows = asked.measure(suite.problems, seed=night.settings.learn.seed)
            answers |= dict(zip(suite.problems, rows, strict=True))
    return answers


def _domains_of(suites: Collection[Suite]) -> set[str]:
    return {problem.domain for suite in suites for problem in suite.problems}


@step_task
def check_bytes(night: Night) -> None:
    """Load the uploaded bytes in a fresh process, as a consumer does, and compare its answers with the trainer's.

    Raises ModelError if the process ended for a reason that says nothing about the adapter.
    """
    from everlearn.training.gpu import device_time  # imports torch
    from everlearn.training.models.policy import device_of, release_bases

    with timed_step(night, "fresh process") as work:
        if work.has("check/bytes"):
            return
        with tempfile.TemporaryDirectory() as folder:
            probes = _write_probes(night, Path(folder))
            release_bases()  # the fresh process reads a base of its own
            adapter = adapter_of(night, CANDIDATE, Path(folder) / "published")
            base = base_folder(night.settings)
            command = [sys.executable, "-m", "everlearn.training.fresh_process", str(base), str(adapter), str(probes)]
            compute = night.settings.compute
            command += [compute.device, str(night.settings.threads), compute.quantization]
            with device_time(device_of(compute)):
                done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:  # such as too little memory: says nothing about the adapter
            raise ModelError(f"the fresh process failed: {_why(done)}; run the same command again")
        work.put("check/bytes", as_json(json.loads(done.stdout.splitlines()[-1])))


def _why(ended: subprocess.CompletedProcess[str]) -> str:
    lines = ended.stderr.strip().splitlines()
    return f"killed by signal {-ended.returncode}" if ended.returncode < 0 else lines[-1] if lines else "no message"


@contextlib.contextmanager
def examination_of(night: Night, policy: str, suites: Collection[Suite], *, segments: str) -> Iterator[Examination]:
    """Load a policy and verifiers once for all these suites. What is decoded is kept in the workspace as `segments`."""
    from everlearn.training.evaluation import examining  # imports torch

    settings = night.settings
    journal = Journal(kept=night.work.parts(segments), keep=segment_writer(night, segments))
    with (
        tempfile.TemporaryDirectory() as folder,
        examining(
            base_folder(settings),
            adapter_of(night, policy, Path(folder) / "adapter"),
            domains=_domains_of(suites),
            journal=journal,
            **asking_of(settings),
        ) as examination,
    ):
        yield examination


def files_of(night: Night) -> dict[str, ObjectRef]:
    """Return the uploaded files of the candidate by name."""
    return {name: ObjectRef(**ref) for name, ref in json.loads(night.work.get("files")).items()}


def adapter_of(night: Night, policy: str, to: Path) -> Path | None:
    """Fetch a policy's adapter into the directory `to`, verified. Return None for the base model."""
    if policy == CANDIDATE:
        to.mkdir(parents=True)
        for name, ref in files_of(night).items():
            (to / name).write_bytes(night.registry.get_object(ref))
        return to
    version = _version_of(night, policy)
    return night.registry.pull(version, to=to) if version else None


def _version_of(night: Night, policy: str) -> str | None:
    return {"parent": night.inputs.parent, "base": None}.get(policy, policy)


def _digests_of(night: Night, policy: str) -> dict[str, str]:
    """Return the digests of a policy's adapter files by name; none for the base model."""
    version = _version_of(night, policy)
    refs = files_of(night) if policy == CANDIDATE else night.registry.manifest(version).files if version else {}
    return {name: ref.digest for name, ref in refs.items()}


def measured(night: Night, policy: str) -> dict[str, tuple[Measurement, ...]]:
    """Return the results of `measure_suites` by suite."""
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(night.work.get_tree(f"measured/{policy}", Path(folder)).iterdir())
        return {path.stem: _read_measurements(path) for path in files}


def pairs_of(night: Night, policy: str, against: str, only: tuple[str, ...] | None = None) -> list[PairedSuite]:
    """Return the answers of `policy` and of the candidate to the suites `only` (None: to all), paired by suite."""
    before, after = measured(night, policy), measured(night, CANDIDATE)
    return [
        PairedSuite(
            suite=suite.name,
            kind=suite.kind,
            before=before[suite.name],
            after=after[suite.name],
            against=Against(against),
        )
        for suite in _suites_of(night, only)
    ]


def has_guards(night: Night) -> bool:
    """Whether suites that must not get worse are compared with the record of the line, and not answer by answer."""
    return night.settings.gate.loss_error == "line"


def _suites_of(night: Night, only: tuple[str, ...] | None) -> list[Suite]:
    """Return the night's suites with the names `only` (None: all that are compared answer by answer)."""
    suites = [suite for suite in load_suites(night) if suite.kind.is_of_tonight or not has_guards(night)]
    return [suite for suite in suites if only is None or suite.name in only]


def _write_probes(night: Night, folder: Path) -> Path:
    """Answer some items of each suite with the adapter as it was trained, and write the answers as JSONL."""
    from everlearn.training.fresh_process import probe  # imports torch

    settings = night.settings
    trained = night.work.get_tree("trained", folder / "trained")
    domain, seed = load_domain(settings.domain), settings.learn.seed
    own = of_domain(load_suites(night), domain.name)
    each = max(LEAST_PER_SUITE, min(MOST_PER_SUITE, PROBES // max(1, len(own))))
    problems = [problem for suite in own for problem in suite.problems[:each]]
    probes = probe(
        base_folder(settings),
        trained,
        problems,
        domain=domain,
        seed=seed,
        threads=settings.threads,
        compute=settings.compute,
        form=settings.format,
        rollouts=settings.rollout_backend,
    )
    path = folder / "probes.jsonl"
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in probes))
    return path


def _read_measurements(path: Path) -> tuple[Measurement, ...]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return tuple(Measurement(**row | {"verdict": _verdict(row["verdict"])}) for row in rows)


def _verdict(plain: dict[str, str]) -> Verdict:
    return Verdict(ruling=Ruling(plain["ruling"]), reason=plain["reason"])
