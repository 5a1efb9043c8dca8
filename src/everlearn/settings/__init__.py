"""Settings from `params.yaml`, a profile in it, and the environment. docs/settings.md lists them all.

    settings = load(profile="quick")            # ./params.yaml, the profile over it, EVERLEARN_* over both
    EVERLEARN_LEARN__SEED=7 everlearn cycle     # section and field, separated by two underscores

Later layers win field by field. Settings are frozen, and unknown names are refused in every layer: a misspelt setting
without effect costs a night. Relative paths start at the directory of the file.

Secrets are not settings: S3 keys come from the AWS environment variables or from the local server's own file, the
private key that signs versions from EVERLEARN_SIGNING_KEY or from a file.
"""

from everlearn.settings.all_settings import Settings
from everlearn.settings.layers import load, root_of
from everlearn.settings.sections import (
    CertificationSettings,
    DataSettings,
    GateSettings,
    IngestSettings,
    ModelSettings,
    PriceSettings,
    RetentionSettings,
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

__all__ = [
    "CertificationSettings",
    "ComputeSettings",
    "ContextSettings",
    "DataSettings",
    "FormatSettings",
    "GateSettings",
    "IngestSettings",
    "LadderSettings",
    "LearnSettings",
    "ModelSettings",
    "PriceSettings",
    "RetentionSettings",
    "RolloutSettings",
    "ServingSettings",
    "Settings",
    "SigningSettings",
    "StoreSettings",
    "SupervisedSettings",
    "load",
    "root_of",
]
