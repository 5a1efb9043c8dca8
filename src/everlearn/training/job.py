"""Training and growth jobs as values: what they need, what a training returns, and the file that carries a job.

Nothing here imports torch. `trainer.train` runs a `TrainingJob`, `ladder_growth.grow` a `GrowthJob`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 (pydantic resolves the annotations of TrainingJob)

from pydantic import TypeAdapter

from everlearn.ladder.tree import CurvePoint, Ladder  # noqa: TC001
from everlearn.problem import Problem  # noqa: TC001
from everlearn.settings import (
    ComputeSettings,
    FormatSettings,
    LadderSettings,
    LearnSettings,
    RolloutSettings,
    SupervisedSettings,
)

PSEUDO = "pseudo"
"""Field of a rewarded answer that no verifier has judged, with the kind of its pseudo-label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthJob:
    """Input of growing a ladder: the policy (`base` and `adapter`), the root problems, and the settings.

    `forbidden` are the equivalence keys of all suite items. `bf16` decides the dtype of decoding as `learn.bf16` does
    in training: None means what is faster on this CPU. `compute` chooses policy and device, `form` the format of
    prompts, `rollouts` the backend that decodes. `verifiers` is the number of processes that judge; with 0 this process
    does. With `pseudo_labels` there are variants also where nothing can judge them.
    """

    base: Path
    adapter: Path | None
    roots: tuple[Problem, ...]
    settings: LadderSettings
    seed: int
    threads: int
    forbidden: frozenset[str] = frozenset()
    verifiers: int = 0
    pseudo_labels: bool = False
    bf16: bool | None = None
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    form: FormatSettings = field(default_factory=FormatSettings)
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedJob:
    """Input of supervised fine-tuning: the parent policy, and problems whose references are right answers.

    `learn` gives rank, memory and seed. The adapter is written to `out`. `base_identity` is that of the base's files
    when the night was opened.
    """

    base: Path
    adapter: Path | None
    problems: tuple[Problem, ...]
    settings: SupervisedSettings
    learn: LearnSettings
    threads: int
    out: Path
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    form: FormatSettings = field(default_factory=FormatSettings)
    base_identity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The parent's answer to a problem that an earlier night mastered: tokens, and log-probabilities of the answer's."""

    statement: str
    prompt: list[int]
    answer: list[int]
    logprobs: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorJob:
    """Input of answering anchors: the parent policy, and problems that earlier nights mastered, none of them a suite item.

    `settings` give seed, temperature and dtype. `base_identity` is that of the base's files when the night was opened.
    """

    base: Path
    adapter: Path | None
    problems: tuple[Problem, ...]
    settings: LearnSettings
    threads: int
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    form: FormatSettings = field(default_factory=FormatSettings)
    base_identity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """Input of a training: the parent policy, the ladder, replayed problems, settings, and a working directory.

    `adapter` is the parent's (None: a fresh one of rank `settings.rank`). `replay` problems whose equivalence key is in
    `forbidden` are left out, and of the others those of the skills `repaired` get half of the draws. `references` are
    those of the ladder's roots, by digest, which the ladder does not hold. `verifiers` is the number of processes that
    judge; with 0 this process does. `rollouts` chooses the backend that decodes, `compute` policy and device, `form`
    the format of prompts. `base_identity` is that of the base's files when the night was opened. `anchors` are used
    where `settings.anchor_kl` is above 0. Checkpoints and results are written to `workdir`.
    """

    base: Path
    adapter: Path | None
    ladder: Ladder
    workdir: Path
    settings: LearnSettings
    ladder_settings: LadderSettings
    seed: int
    threads: int
    domain: str = "integration"
    replay: tuple[Problem, ...] = ()
    repaired: frozenset[str] = frozenset()
    references: dict[str, str] = field(default_factory=dict, repr=False)
    forbidden: frozenset[str] = frozenset()
    verifiers: int = 0
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    form: FormatSettings = field(default_factory=FormatSettings)
    base_identity: str | None = None
    anchors: tuple[Anchor, ...] = ()

    def save(self, path: Path) -> Path:
        """Write the job as JSON, for another process to load."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_JOB.dump_json(self))
        return path


_JOB = TypeAdapter(TrainingJob)


def load_job(path: Path) -> TrainingJob:
    """Read what `TrainingJob.save` wrote. Raises pydantic's ValidationError on anything else."""
    return _JOB.validate_json(path.read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """Result of supervised fine-tuning: the adapter's directory (None: no answer could be used), and losses.

    `losses` are the mean loss of each epoch, in nats a token. `used` counts the answers, `refused` those that the
    domain does not judge right or that are too long.
    """

    adapter: Path | None
    used: int
    refused: int
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Result of a training: the adapter's directory, the ladder with pass rates after it, and the learning curve.

    `rewarded` is a JSONL file of `{"statement", "answer"}`, with a field `PSEUDO` where a pseudo-label rewarded.
    `policy` says which forward pass trained and why.
    """

    adapter: Path
    ladder: Ladder
    curve: tuple[CurvePoint, ...]
    rewarded: Path
    policy: str
