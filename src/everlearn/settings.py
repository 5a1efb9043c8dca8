"""What can be set, and from where: `params.yaml`, then a profile, then the environment.

    settings = load(profile="quick")            # ./params.yaml, the profile's overlay, EVERLEARN_* on top
    EVERLEARN_LEARN__SEED=7 everlearn cycle     # section and field, two underscores between them

Later sources win field by field. Everything is frozen, and a name that does not exist is refused, wherever it was
written: a misspelt setting that silently does nothing costs a night.

No secret is a setting: S3 keys come from the AWS environment variables or from the local server's own file, the
private key that signs versions from EVERLEARN_SIGNING_KEY or from a file.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from everlearn.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "EVERLEARN_"
# In the environment, too, but no settings: two secrets, what infra/prefect.yaml asks for, and how lines are logged.
ELSEWHERE = frozenset({"EVERLEARN_SIGNING_KEY", "EVERLEARN_POSTGRES", "EVERLEARN_DIRECTORY", "EVERLEARN_LOG"})
Profile = Literal["quick", "nightly"]
Share = Field(ge=0.0, le=1.0)


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class StoreSettings(Section):
    """Where versions live. Without an endpoint, the local server of `everlearn up` is meant."""

    bucket: str = Field(default="everlearn", min_length=3)
    endpoint_url: str | None = None
    region: str = "us-east-1"
    line: str = Field(default="integration", pattern=r"^[a-z0-9][a-z0-9._-]*$")


class SigningSettings(Section):
    """Who signs what is published, and whose signatures count (public keys, hexadecimal). Secrets are no settings."""

    key_file: Path = Path(".everlearn/signing.pem")
    trusted: tuple[str, ...] = ()
    unsigned: bool = False


class ServingSettings(Section):
    """Where vLLM's plugin delivers versions, a folder each; without it the plugin does nothing (serving/vllm.py)."""

    adapters: Path | None = None


class ModelSettings(Section):
    """The base model: a directory that `AutoModelForCausalLM` can load."""

    path: Path = Path("data/base")


class DataSettings(Section):
    """Folders with problems on this machine."""

    suites: Path = Path("data/suites")
    inbox: Path = Path(".everlearn/inbox")


class IngestSettings(Section):
    """How new problems are received."""

    max_bad_share: float = Field(default=0.2, ge=0.0, le=1.0)
    holdout_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    min_target_items: int = Field(default=200, ge=1)


class LadderSettings(Section):
    """How the ladder of easier variants is grown: at most `rungs` variants, `depth` layers below the roots.

    In each layer up to `breadth` parents are asked for `tries` variants by every move, sampled at `temperature`; the
    pass rate of each rung is measured with `rollouts` answers at `answer_temperature`.
    """

    rungs: int = Field(default=480, ge=1)
    depth: int = Field(default=6, ge=1)
    breadth: int = Field(default=60, ge=1)
    tries: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, gt=0.0)
    rollouts: int = Field(default=4, ge=1)
    answer_temperature: float = Field(default=1.0, gt=0.0)


class LearnSettings(Section):
    """How the adapter is trained. All of it is part of the cycle's key.

    A step samples `group` answers to each of `prompts` problems. `replay` is the share of a step for problems that are
    mastered, `frontier` that of the first class that is not; `regrow` adds a fresh ladder every so many steps (0: never).
    Updates are cut into batches of `tokens`, fewer where `memory_gib` would not hold them; `bf16` is decided by the CPU unless it is set. `kl` weighs the divergence
    from the parent (0: none). `loss`, `importance` and `scale_rewards` choose among the variants of GRPO
    (docs/learner.md); `loss_length` is the constant of `dr_grpo`.

    A training stops by itself beyond `max_kl` nats a token from its start, below `min_entropy` nats a token while most
    answers are wrong, or when the share of answers that do not end has grown by more than `max_unended`.
    With `staleness` 1, a step's answers are sampled while the step before it still updates, by the weights before that. With `processes`, as many of them train together, each with `threads` of its own.
    """

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=30, ge=1)
    prompts: int = Field(default=32, ge=1)
    group: int = Field(default=8, ge=2)
    temperature: float = Field(default=1.0, gt=0.0)
    curriculum: Literal["measured", "uniform"] = "measured"
    replay: float = Field(default=0.3, ge=0.0, lt=1.0)
    frontier: float = Field(default=0.15, ge=0.0, le=1.0)
    regrow: int = Field(default=0, ge=0)
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    rate: float = Field(default=1.5e-3, gt=0.0)
    warmup: int = Field(default=5, ge=1)
    decay: float = Field(default=0.3, ge=0.0, le=1.0)
    loss: Literal["dapo", "dr_grpo", "grpo"] = "dapo"
    loss_length: int = Field(default=128, ge=1)
    importance: Literal["token", "sequence"] = "token"
    scale_rewards: bool = False
    clip_low: float = Field(default=0.2, gt=0.0, lt=1.0)
    clip_high: float = Field(default=0.28, gt=0.0)
    truncate: float = Field(default=2.0, ge=1.0)
    kl: float = Field(default=0.0, ge=0.0)
    max_norm: float = Field(default=1.0, gt=0.0)
    tokens: int = Field(default=16_384, ge=1)
    memory_gib: float = Field(default=4.0, gt=0.0)
    bf16: bool | None = None
    checkpoint_every: int = Field(default=1, ge=1)
    max_kl: float = Field(default=3.0, gt=0.0)
    min_entropy: float = Field(default=1e-3, ge=0.0)
    max_unended: float = Field(default=0.5, gt=0.0)
    staleness: Literal[0, 1] = 0
    processes: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _is_a_known_variant(self) -> Self:
        if self.importance == "sequence" and self.loss != "grpo":
            raise ValueError("importance: sequence weighs whole answers, so it needs loss: grpo, which does, too")
        return self


class RolloutSettings(Section):
    """Who samples the answers of a training: this machine, or `replicas`, vLLM servers by their addresses.

    They read adapters from the folder `adapters`, at the same path as here. Their `dtype` says how near they have to be to
    our own log-probabilities.
    """

    replicas: tuple[str, ...] = ()
    adapters: Path | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    @model_validator(mode="after")
    def _has_a_folder(self) -> Self:
        if self.replicas and self.adapters is None:
            raise ValueError("replicas read adapters from a folder that they share with this machine: set adapters")
        return self


class GateSettings(Section):
    """How sure the gate has to be, and of what. Shares of items: a margin of 0.03 allows three points, provably not more.

    A suite too small to decide its margin gets the one that it can decide (at `power`, where `discordance` of the items
    are expected to change), up to `widest_margin`. A target proved to gain less than `worthwhile_gain` is a FAIL; a
    parent at or above `ceiling` leaves nothing to gain. With `require_approval` a version that passed is published, and
    becomes the champion once somebody approves it; the form waits for `approval_hours`.
    """

    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    power: float = Field(default=0.8, gt=0.5, lt=1.0)
    discordance: float = Field(default=0.1, gt=0.0, le=1.0)
    target_margin: float = Field(default=0.05, gt=0.0, lt=1.0)
    skill_margin: float = Field(default=0.02, gt=0.0, lt=1.0)
    general_margin: float = Field(default=0.02, gt=0.0, lt=1.0)
    widest_margin: float = Field(default=0.05, gt=0.0, lt=1.0)
    worthwhile_gain: float = Field(default=0.02, gt=0.0, lt=1.0)
    ceiling: float = Field(default=0.98, gt=0.0, le=1.0)
    require_approval: bool = False
    approval_hours: float = Field(default=24.0, gt=0.0)


class RetentionSettings(Section):
    """What `everlearn gc` keeps: whatever was ever champion, and the last `versions` of the others, with their work.

    Nothing younger than `minimum_age_hours` goes, nor the work of a cycle before `work_days` have passed; a publisher
    that gives no sign of life for `lease_seconds` counts as dead. All by the clock of the S3 server. What Prefect has
    kept of the line's runs, their logs included, goes after `run_days` (the flow `housekeeping`).
    """

    versions: int = Field(default=10, ge=0)
    minimum_age_hours: float = Field(default=24.0, gt=0.0)
    work_days: float = Field(default=30.0, ge=0.0)
    lease_seconds: float = Field(default=900.0, gt=0.0)
    run_days: float = Field(default=90.0, ge=7.0)

    @model_validator(mode="after")
    def _outlives_publishers(self) -> Self:
        if self.minimum_age_hours * 3600 < 2 * self.lease_seconds:
            raise ValueError(
                "minimum_age_hours must be at least twice lease_seconds, or a publisher could lose objects"
            )
        return self


class Settings(Section):
    """Everything one night needs to know, frozen.

    `threads` are those of a process that decodes or trains; answers are judged by `verifiers` processes beside it (0: in
    the same one, for domains that can neither hang nor crash).
    """

    domain: str = "integration"
    profile: Profile = "quick"
    threads: int = Field(default=1, ge=1)
    verifiers: int = Field(default=1, ge=0)
    store: StoreSettings = StoreSettings()
    signing: SigningSettings = SigningSettings()
    retention: RetentionSettings = RetentionSettings()
    serving: ServingSettings = ServingSettings()
    base: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    ingest: IngestSettings = IngestSettings()
    ladder: LadderSettings = LadderSettings()
    learn: LearnSettings = LearnSettings()
    rollouts: RolloutSettings = RolloutSettings()
    gate: GateSettings = GateSettings()
    _root: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any, /) -> None:
        """Take the root directory from the validation context, `{"root": path}`, if there is one."""
        if context is not None:
            self._root = context["root"]

    @property
    def root(self) -> Path:
        """The directory that relative paths in the settings start from. It is not part of the dumped JSON."""
        return self._root

    def resolve(self, path: Path) -> Path:
        """Return a path from the settings as an absolute one."""
        return self._root / path

    @property
    def base_directory(self) -> Path:
        """The folder of the base model."""
        return self.resolve(self.base.path)

    @property
    def suites_directory(self) -> Path:
        """The folder of the shipped suites."""
        return self.resolve(self.data.suites)

    @property
    def inbox_directory(self) -> Path:
        """The folder where new problems of the line wait for its next night."""
        return self.resolve(self.data.inbox) / self.store.line

    @property
    def key_file(self) -> Path:
        """The file with the private key that signs versions."""
        return self.resolve(self.signing.key_file)

    @property
    def rollout_backend(self) -> RolloutSettings:
        """The section `rollouts` with an absolute path to its adapters."""
        if self.rollouts.adapters is None:
            return self.rollouts
        return self.rollouts.model_copy(update={"adapters": self.resolve(self.rollouts.adapters)})

    @model_validator(mode="after")
    def _samples_in_one_way(self) -> Self:
        if self.rollouts.replicas and self.learn.processes > 1:
            raise ValueError(
                "answers are sampled by rollouts.replicas or by learn.processes: set one of them, not both"
            )
        return self


def load(
    path: Path = Path("params.yaml"),
    *,
    profile: Profile | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read `path` if it exists, lay the profile's overlay and the environment over it, and check every name.

    Raises SettingsError naming the setting and, where one is close, the name that was probably meant.
    """
    environ = os.environ if environ is None else environ
    written = read_yaml(path) if path.is_file() else {}
    profiles = mapping(written.pop("profiles", {}), where=f"{path}: profiles")
    unknown = set(profiles) - {"quick", "nightly"}
    if unknown:
        raise SettingsError(f"{path}: no profile is called {min(unknown)!r}; there are quick and nightly")
    spoken = from_environment(environ)
    chosen = profile or spoken.get("profile") or written.get("profile") or "quick"
    overlay = mapping(profiles.get(str(chosen)) or {}, where=f"{path}: profiles.{chosen}")
    values = merge(merge(merge(written, overlay), spoken), {"profile": chosen})
    try:
        return Settings.model_validate(values, context={"root": root_of(path)})
    except ValidationError as error:
        raise SettingsError(explain(error)) from None


def root_of(path: Path) -> Path:
    """Return the directory of a settings file; the working directory if there is no such file."""
    return path.absolute().parent if path.is_file() else Path.cwd()


def read_yaml(path: Path) -> dict[str, Any]:
    """The top-level mapping of a YAML file; SettingsError when it is not one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}. Mend it or name another file.") from None
    return dict(mapping({} if content is None else content, where=str(path)))


def mapping(value: Any, *, where: str) -> dict[str, Any]:
    """`value`, if it is a mapping."""
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: expected `name: value` lines, found {type(value).__name__}")
    return value


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """EVERLEARN_PROFILE=quick, EVERLEARN_LEARN__SEED=7 → {"profile": "quick", "learn": {"seed": 7}}."""
    found: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in ELSEWHERE:
            continue
        try:
            value: Any = yaml.safe_load(environ[name])
        except yaml.YAMLError:
            raise SettingsError(f"{name}={environ[name]!r} is no YAML value; quote it or unset it") from None
        for part in reversed(name.removeprefix(PREFIX).lower().split("__")):
            value = {part: value}
        found = merge(found, value)
    return found


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, field by field; neither is changed."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def explain(error: ValidationError) -> str:
    """The first thing wrong, by the name the user wrote, with what to do about it."""
    first = error.errors(include_url=False)[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"setting {dotted}: {first['msg']} (got {first['input']!r})"
    close = difflib.get_close_matches(dotted, names(Settings), n=1)
    hint = f"did you mean {close[0]}?" if close else f"the settings are {', '.join(names(Settings))}"
    return f"no setting is called {dotted}; {hint}"


def names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all settings, in the order in which they are declared."""
    dotted: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = isinstance(kind, type) and issubclass(kind, BaseModel)
        dotted += names(kind, f"{prefix}{name}.") if inner and isinstance(kind, type) else [prefix + name]
    return dotted
