"""All settings of a line in one frozen model, and the directory that their relative paths start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, model_validator

from everlearn.errors import SettingsError
from everlearn.settings.sections import (
    CertificationSettings,
    DataSettings,
    GateSettings,
    IngestSettings,
    ModelSettings,
    PriceSettings,
    RetentionSettings,
    Section,
    ServingSettings,
    SigningSettings,
    StoreSettings,
)
from everlearn.settings.training_sections import (
    ComputeSettings,
    ContextSettings,
    FormatSettings,
    LadderSettings,
    LearnSettings,
    RolloutSettings,
    SupervisedSettings,
)


class Settings(Section):
    """Settings that belong to no section."""

    domain: str = Field(default="integration", description="Kind of problems, by the name of its installed plugin.")
    profile: str = Field(
        default="quick",
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="Overlay from `profiles` in params.yaml, by its name: quick, nightly or one of your own.",
    )
    threads: int = Field(
        default=1, ge=1, description="CPU threads of each process that decodes or trains. Part of the cycle's key."
    )
    verifiers: int = Field(
        default=1,
        ge=0,
        description="Processes that judge answers. 0: the training process judges, for domains that cannot hang or crash.",
    )
    store: StoreSettings = StoreSettings()
    signing: SigningSettings = SigningSettings()
    retention: RetentionSettings = RetentionSettings()
    prices: PriceSettings = PriceSettings()
    serving: ServingSettings = ServingSettings()
    base: ModelSettings = ModelSettings()
    compute: ComputeSettings = ComputeSettings()
    format: FormatSettings = FormatSettings()
    data: DataSettings = DataSettings()
    certification: CertificationSettings = CertificationSettings()
    ingest: IngestSettings = IngestSettings()
    supervised: SupervisedSettings = SupervisedSettings()
    ladder: LadderSettings = LadderSettings()
    learn: LearnSettings = LearnSettings()
    rollouts: RolloutSettings = RolloutSettings()
    gate: GateSettings = GateSettings()
    context: ContextSettings = ContextSettings()
    # Not a field: the frozen settings of a night may be read in another directory than they were written in.
    _root: Path = PrivateAttr(default_factory=Path.cwd)

    @model_validator(mode="after")
    def _vllm_has_no_quantized_base(self) -> Self:
        if self.compute.quantization != "none" and self.rollouts.engine == "vllm":
            raise ValueError(
                f"compute.quantization: {self.compute.quantization} trains on a base in 4 bits, but rollouts.engine: vllm serves it as it "
                "is stored: unset one of them"
            )
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Take the root directory from the validation context, `{"root": path}`, if there is one."""
        if context is not None and "root" in context:  # other libraries validate with contexts of their own
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
        """The folder of the base model. Raises SettingsError if `base.model` names it instead."""
        if self.base.path is None:
            raise SettingsError(f"base.model names {self.base.model}: it has a folder only after it was downloaded")
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
        """The section `rollouts` with absolute paths."""
        given = self.rollouts
        adapters = None if given.adapters is None else self.resolve(given.adapters)
        return given.model_copy(update={"adapters": adapters, "program": self.resolve(given.program)})
