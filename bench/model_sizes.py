"""What memory a night needs for well-known models, as `everlearn doctor` estimates it: no weights are read.

    python -m bench.model_sizes            # prints the table and writes it into docs/models.md
    python -m bench.model_sizes --json

The shapes are those of the models' published `config.json`. transformers makes each model without numbers, which takes
no memory, and the estimate is that of `training/memory_estimate.py`, with the default settings and weights in bfloat16.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

from bench.marked_tables import replace_marked
from everlearn.settings import Settings
from everlearn.training.memory_estimate import GIB, MemoryEstimate, estimate
from everlearn.training.models.weight_files import TensorHeader, WeightFiles

PAGE = Path("docs/models.md")
SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)


def config_of(kind: type[PretrainedConfig], *sizes: int, tied: bool) -> PretrainedConfig:
    """Return the configuration of these `SIZES`; `tied`: the head is the embedding."""
    return kind.from_dict(dict(zip(SIZES, sizes, strict=True)) | {"tie_word_embeddings": tied})


MODELS = {
    "Qwen2.5-0.5B": config_of(Qwen2Config, 896, 24, 14, 2, 4864, 151_936, tied=True),
    "Llama-3.2-1B": config_of(LlamaConfig, 2048, 16, 32, 8, 8192, 128_256, tied=True),
    "Qwen2.5-1.5B": config_of(Qwen2Config, 1536, 28, 12, 2, 8960, 151_936, tied=True),
    "Qwen2.5-3B": config_of(Qwen2Config, 2048, 36, 16, 2, 11_008, 151_936, tied=True),
    "Qwen2.5-7B": config_of(Qwen2Config, 3584, 28, 28, 4, 18_944, 152_064, tied=False),
    "Llama-3.1-8B": config_of(LlamaConfig, 4096, 32, 32, 8, 14_336, 128_256, tied=False),
}


def weights_of(config: PretrainedConfig) -> WeightFiles:
    """Return what the headers of the weights of such a model in bfloat16 would say."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}  # tied ones once
    return WeightFiles(
        files=(),
        tensors={
            name: TensorHeader(dtype="BF16", shape=shape, size=2 * torch.Size(shape).numel())
            for name, shape in shapes.items()
        },
    )


def estimates(name: str) -> tuple[int, MemoryEstimate, MemoryEstimate]:
    """Return the parameters of a model, and the estimates of a night in bfloat16 and in 4 bits."""
    weights, config = weights_of(MODELS[name]), MODELS[name].to_dict()
    plain, quantized = Settings(), Settings(compute={"quantization": "nf4"})
    found = [estimate(weights, config, settings, in_fast_policy=False) for settings in (plain, quantized)]
    return weights.parameters, found[0], found[1]


def table() -> str:
    """Return the table in markdown, in GiB."""
    lines = [
        "| model | parameters | bfloat16: training | proof | in 4 bits: training | proof |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in MODELS:
        parameters, plain, quantized = estimates(name)
        cells = [f"{size / GIB:.1f}" for each in (plain, quantized) for size in (each.training, each.proof)]
        lines.append(f"| {name} | {parameters / 1e9:.2f} B | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """Return the page with this table."""
    return replace_marked(page, "bench.model_sizes", table())


def main(arguments: list[str] | None = None) -> None:
    """Print the table, or one JSON object, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print bytes as one JSON object")
    chosen = parser.parse_args(arguments)
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    if not chosen.json:
        print(table())
        return
    found = {name: estimates(name) for name in MODELS}
    print(
        json.dumps(
            {
                name: {"parameters": count, "bfloat16": plain.total, "nf4": quantized.total}
                for name, (count, plain, quantized) in found.items()
            }
        )
    )


if __name__ == "__main__":
    main()
