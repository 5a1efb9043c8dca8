"""A real vLLM server with the plugin. It needs its own virtual environment, see tests/support/vllm.py."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.registry.versions import Manifest, Registry
from everlearn.training.models.fingerprint import fingerprint
from tests.support.line import SIGNER, WHEN, open_line
from tests.support.vllm import environment, needs_vllm, serving

if TYPE_CHECKING:
    from tests.conftest import S3Server

ROOT = Path(__file__).parents[3]
PROJECTIONS = ("q_proj", "v_proj")
FLAGS = ["--enable-lora", "--max-lora-rank", "8", "--enforce-eager", "--dtype", "float32"]
FLAGS += ["--max-model-len", "64", "--max-num-seqs", "4"]


def make_base(directory: Path) -> Path:
    """An untrained Llama of two layers with the tokenizer of the shipped base model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    for file in (ROOT / "data" / "base").glob("tokenizer*"):
        directory.mkdir(exist_ok=True)
        shutil.copy(file, directory)
    torch.manual_seed(0)
    geometry: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=256, num_hidden_layers=2, **geometry)).save_pretrained(directory)
    return directory


def weights(scale: float) -> bytes:
    """Return the weights of an adapter in peft's layout; with `scale` 0 it has no effect."""
    import torch
    from safetensors.torch import save

    tensors = {}
    for layer in range(2):
        for name in PROJECTIONS:
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(8, 256)
            tensors[f"{key}.lora_B.weight"] = torch.randn(256, 8) * scale
    return save(tensors)


def publish(line: Registry, base: Path, scale: float) -> None:
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "bias": "none"}
    files = {
        "adapter_model.safetensors": line.put_object(weights(scale)),
        "adapter_config.json": line.put_object(json.dumps(config | {"target_modules": PROJECTIONS}).encode()),
    }
    manifest = Manifest(
        files=files,
        base_fingerprint=fingerprint(base),
        parent=line.state().champion,
        cycle_key=f"{scale}",
        data_digest=f"{scale}",
        config={},
        code_version="0.1.0",
        created=WHEN,
    )
    line.publish(manifest, make_champion=True, actor="night", reason="better")


def request_logprobs(url: str, model: str) -> list[float] | None:
    """Return the log-probabilities of an answer; None if there is no such model."""
    query = {"model": model, "prompt": "x^2", "max_tokens": 4, "temperature": 0, "logprobs": 1}
    request = urllib.request.Request(f"{url}/v1/completions", data=json.dumps(query).encode())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: list[float] = json.load(answer)["choices"][0]["logprobs"]["token_logprobs"]
            return found
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


@pytest.mark.slow
@needs_vllm
def test_a_server_serves_each_version_but_barred_ones(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    base, line = make_base(tmp_path / "base"), open_line(s3_server.store(bucket))
    for scale in (0.0, 0.3, 0.5):
        publish(line, base, scale)
    line.rollback(reason="worse", actor="ada")
    plugin = tmp_path / "plugin" / "everlearn-0.1.0.dist-info"
    plugin.mkdir(parents=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: everlearn\nVersion: 0.1.0\n")
    (plugin / "entry_points.txt").write_text(
        "[vllm.general_plugins]\neverlearn = everlearn.serving.vllm_plugin:register\n"
    )
    environ = environment(
        PYTHONPATH=os.pathsep.join([str(ROOT / "src"), str(plugin.parent)]),
        AWS_ACCESS_KEY_ID=s3_server.access_key,
        AWS_SECRET_ACCESS_KEY=s3_server.secret_key,
        EVERLEARN_STORE__ENDPOINT_URL=s3_server.endpoint_url,
        EVERLEARN_STORE__BUCKET=bucket,
        EVERLEARN_SIGNING__TRUSTED=json.dumps([SIGNER.key]),
        EVERLEARN_SERVING__ADAPTERS=str(tmp_path / "adapters"),
        VLLM_PLUGINS="everlearn",
    )
    with serving(base, environ=environ, flags=FLAGS, log=tmp_path / "log") as server:
        url = server.url
        unchanged, changed = request_logprobs(url, "v0001"), request_logprobs(url, "v0002")
        assert unchanged == request_logprobs(url, str(base))
        assert changed is not None
        assert changed != unchanged
        assert [request_logprobs(url, name) for name in ("v0003", "v0009", "champion")] == [None] * 3
    log = (tmp_path / "log").read_text()
    assert "v0003 is not loaded: v0003 was rolled back" in log
    assert "champion is not loaded" in log
