"""Sections of the settings about data, storage, signing, serving, the gate and retention."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A frozen group of settings that refuses unknown names, and numbers that JSON, which keeps a night's settings, lacks."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StoreSettings(Section):
    """The bucket with all versions of a line, on any S3 server that supports conditional writes."""

    bucket: str = Field(
        default="everlearn",
        min_length=3,
        pattern=r"^[A-Za-z0-9_.:/-]+$",
        description="Name of the S3 bucket, or ARN of an access point.",
    )
    endpoint_url: str | None = Field(
        default=None,
        description="URL of the S3 server. Without one, the local server of `everlearn up` is used.",
    )
    region: str = Field(default="us-east-1", description="AWS region, used to sign requests.")
    line: str = Field(
        default="integration",
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="Name of the line, which is the prefix of all its keys in the bucket. One line per base model.",
    )


class SigningSettings(Section):
    """Signatures of published versions (Ed25519). The private key itself is not a setting."""

    key_file: Path = Field(
        default=Path(".everlearn/signing.pem"),
        description=(
            "PEM file with the private key that signs versions. EVERLEARN_SIGNING_KEY with the content of such a file "
            "replaces it. Its public key is always trusted."
        ),
    )
    trusted: tuple[str, ...] = Field(
        default=(), description="Public keys, in hexadecimal, whose signatures are accepted as well."
    )
    unsigned: bool = Field(
        default=False,
        description="Neither sign nor verify. Anyone who can write to the bucket can then forge a version.",
    )


class ServingSettings(Section):
    """The vLLM plugin, which serves versions of the line by name."""

    adapters: Path | None = Field(
        default=None,
        description="Folder into which the plugin delivers versions, one folder each. Without it, the plugin is off.",
    )


class ModelSettings(Section):
    """The base model: a folder (`path`), or a model of the Hugging Face hub (`model`); one of the two. docs/models.md."""

    path: Path | None = Field(
        default=Path("data/base"),
        description="Folder of a causal language model that transformers can load, with its tokenizer. Null with `model`.",
    )
    model: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="Name of a model on the Hugging Face hub, such as `Qwen/Qwen2.5-1.5B-Instruct`.",
    )
    revision: str = Field(default="main", min_length=1, description="Branch, tag or commit of `model`.")
    commit: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{40}$",
        description=(
            "Commit of `model` to use instead of looking up `revision`. A night sets it in its frozen settings, and "
            "later nights of the line keep it."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _model_replaces_the_default_path(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("model") is not None:
            return {"path": None, **given}
        return given

    @model_validator(mode="after")
    def _names_one_model(self) -> Self:
        if (self.path is None) == (self.model is None):
            raise ValueError("set exactly one of base.path (a folder) and base.model (a name on the Hugging Face hub)")
        if self.model is None and (self.revision != "main" or self.commit is not None):
            raise ValueError("base.revision and base.commit belong to base.model: set it, or remove them")
        return self


class DataSettings(Section):
    """Folders with problems on this machine."""

    suites: Path = Field(
        default=Path("data/suites"),
        description="Folder of the suites (*.jsonl) that every candidate is measured on, besides the night's target.",
    )
    general: Path | None = Field(
        default=None,
        description=(
            "Folder of general suites (*.jsonl of the kind `general`), requests in words of any domain, for models that are addressed "
            "in words: what a line does not train, and may destroy. `data/general` ships one. None: there are none."
        ),
    )
    inbox: Path = Field(
        default=Path(".everlearn/inbox"),
        description="Folder with one folder per line, where `everlearn ingest` puts problems for the next night.",
    )


class IngestSettings(Section):
    """Validation and split of new problems. Part of the cycle's key."""

    max_bad_share: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Share of invalid rows above which new data is refused as a whole."
    )
    holdout_share: float = Field(
        default=0.2,
        gt=0.0,
        lt=1.0,
        description="Share of new problems that is held out for the target suite and never trained on.",
    )
    min_target_items: int = Field(
        default=200,
        ge=1,
        description="Number of held-out problems below which generated ones of the same families are measured as well.",
    )


class CertificationSettings(Section):
    """What the certificate of a domain's verifier must show before a night trains on its rewards (docs/certificates.md)."""

    max_guess_rate: float = Field(
        default=0.15,
        ge=0.0,
        le=1.0,
        description="Share of problems for which the best constant answer may be right. A model learns to give it first.",
    )
    max_false_accepts: float = Field(
        default=0.001,
        gt=0.0,
        lt=1.0,
        description="Largest share of wrong answers that may be accepted, as the upper limit with 95 % confidence.",
    )
    uncertified: Literal["refuse", "train on unproved rewards"] = Field(
        default="refuse",
        description=(
            "What a night does without such a certificate. `train on unproved rewards`: it trains, and the report says so. "
            "Suites are measured in any case."
        ),
    )


class GateSettings(Section):
    """The statistical test that decides about a candidate. Margins and gains are shares: 0.03 is three points of 100.

    A margin is the largest loss that counts as none. The suites of a kind are judged together, and each of several also
    alone. What the items cannot decide with `power` gets the smallest margin that they can decide, and the report says
    so.
    """

    alpha: float = Field(
        default=0.05, gt=0.0, lt=0.5, description="Significance level: the largest p-value that proves a claim."
    )
    power: float = Field(
        default=0.8,
        gt=0.5,
        lt=1.0,
        description="Probability that an unchanged model stays within all margins of a night, against every baseline.",
    )
    discordance: float = Field(
        default=0.1,
        gt=0.0,
        le=1.0,
        description="Share of items expected to be answered right by only one of the two models. Used for the power.",
    )
    target_margin: float = Field(
        default=0.05, gt=0.0, lt=1.0, description="Margin of target suites, and of generated suites together."
    )
    memory_margin: float = Field(default=0.02, gt=0.0, lt=1.0, description="Margin of all memory suites together.")
    skill_margin: float = Field(default=0.02, gt=0.0, lt=1.0, description="Margin of all skill suites together.")
    general_margin: float = Field(default=0.02, gt=0.0, lt=1.0, description="Margin of all general suites together.")
    suite_margin: float = Field(
        default=0.05,
        gt=0.0,
        lt=1.0,
        description=(
            "Margin of each suite alone, where a kind has several suites. With `loss_error: line`, a candidate is rejected that "
            "is proved to have lost more on the memory of one night."
        ),
    )
    widest_margin: float = Field(
        default=0.06,
        gt=0.0,
        lt=1.0,
        description="Upper limit of the margin that too few items of skill or of general suites together may get.",
    )
    worthwhile_gain: float = Field(
        default=0.02,
        gt=0.0,
        lt=1.0,
        description="Gain that matters. A candidate proved to gain less on every target is rejected.",
    )
    ceiling: float = Field(
        default=0.98,
        gt=0.0,
        le=1.0,
        description="Share of right answers of the parent from which a target suite leaves nothing to gain.",
    )
    improvement_error: Literal["night", "line"] = Field(
        default="night",
        description=(
            "What `alpha` limits for improvements: `night` the chance of a false one each night, `line` on average the share of "
            "false ones among all versions that the line publishes, however many nights it tries (LORD++). With `line`, problems "
            "that an earlier night measured with the same parent are not in a target again: a retry needs new problems."
        ),
    )
    loss_error: Literal["night", "line"] = Field(
        default="night",
        description=(
            'What `alpha` limits for losses of skill, general and memory suites: `night` the chance of a false "no worse" of each '
            "comparison with parent, base and best version, `line` the chance that the line ever publishes a version "
            "that lost more than the margin since the recorded best on a suite (several sampled answers an item)."
        ),
    )
    record_samples: int = Field(
        default=16, ge=1, description="With `loss_error: line`: answers an item that the recorded best is known by."
    )
    most_looks: int = Field(
        default=8,
        ge=1,
        description="With `loss_error: line`: most answers an item of a candidate; a suite that is decided gets no more.",
    )
    look_temperature: float = Field(
        default=0.7,
        ge=0.0,
        description=(
            "With `loss_error: line`: temperature of these answers, such as that of the requests which the model will serve; 0 is "
            "greedy, where only the prompts vary."
        ),
    )
    memory_per_night: int = Field(
        default=100,
        ge=0,
        description="Held-out problems of a published night that guard what it taught, for all later nights.",
    )
    memory_items: int = Field(
        default=500,
        ge=0,
        description="Items of the memory suite: those of all published nights before, in equal shares. "
        "0: the night measures none, and leaves the list as it is.",
    )
    require_approval: bool = Field(
        default=False,
        description="Publish a version that passed, but make it champion only after `everlearn approve` or the form.",
    )
    approval_hours: float = Field(
        default=24.0, gt=0.0, description="Hours that the approval form in the Prefect dashboard stays open."
    )


class PriceSettings(Section):
    """What computing costs, for the costs in the report of a night and in `compare`. 0: that part has no price."""

    currency: str = Field(default="USD", description="Currency of the prices, as it is printed.")
    cpu_hour: float = Field(default=0.0, ge=0.0, description="Price of an hour of one CPU core.")
    gpu_hour: float = Field(default=0.0, ge=0.0, description="Price of an hour of one GPU.")
    kilowatt_hour: float = Field(
        default=0.0, ge=0.0, description="Price of a kilowatt-hour of processors and GPUs, where the machine tells it."
    )


class RetentionSettings(Section):
    """Garbage collection with `everlearn gc` and the flow `housekeeping`. Ages are measured by the S3 server's clock."""

    versions: int = Field(
        default=10,
        ge=0,
        description="Number of newest versions to keep. Versions that were champion are kept besides, always.",
    )
    minimum_age_hours: float = Field(
        default=24.0,
        gt=0.0,
        description="Hours before an unreferenced object may be removed. At least twice `lease_seconds`.",
    )
    work_days: float = Field(
        default=30.0, ge=0.0, description="Days to keep the workspace of an ended night: ladder, checkpoints, results."
    )
    lease_seconds: float = Field(
        default=900.0,
        gt=0.0,
        description="Seconds without a renewed lease after which a process that publishes counts as dead.",
    )
    run_days: float = Field(
        default=90.0, ge=7.0, description="Days to keep the line's runs and their logs on the Prefect server."
    )

    @model_validator(mode="after")
    def _outlives_publishers(self) -> Self:
        if self.minimum_age_hours * 3600 < 2 * self.lease_seconds:
            raise ValueError(
                "minimum_age_hours must be at least twice lease_seconds, or a publisher could lose objects"
            )
        return self
