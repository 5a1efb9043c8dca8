"""What is refused about a base model before a night starts, each with its remedy."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MptConfig,
    PretrainedConfig,
    Qwen2Config,
    RwkvConfig,
    T5Config,
)

from everlearn.errors import ModelError
from everlearn.training.models.base_checks import check_base, context_of, read_config
from everlearn.training.models.policy import load_base
from tests.support.tiny_base import write_base

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), kind=Qwen2Config)


@pytest.fixture
def base(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "base")


def change(base: Path, **changes: Any) -> None:
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def test_a_causal_language_model_is_accepted(base: Path, shipped: Path) -> None:
    assert check_base(base).parameters > 0
    assert check_base(shipped).parameters > 0
    change(base, architectures=None)
    assert check_base(base).parameters > 0


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        (BertConfig(), "BertForMaskedLM"),
        (BertConfig(), "BertModel"),
        (T5Config(), "T5ForConditionalGeneration"),
        (T5Config(), None),
    ],
)
def test_another_kind_of_model_is_refused(config: Any, architecture: str | None, base: Path) -> None:
    config.save_pretrained(base)
    change(base, architectures=architecture and [architecture])
    with pytest.raises(ModelError, match=f"no causal language model but {architecture or 't5'}; use one whose"):
        check_base(base)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (MambaConfig(), "linear_attention"),
        (RwkvConfig(), "rwkv"),
        (Lfm2Config(layer_types=["conv", "full_attention"], num_hidden_layers=2), "conv"),
    ],
)
def test_layers_with_a_state_are_refused(config: Any, layers: str, base: Path) -> None:
    config.save_pretrained(base)
    with pytest.raises(
        ModelError, match=rf"has layers with a state \({layers}\), which .*; use one with attention alone"
    ):
        check_base(base)


def test_a_model_that_is_stored_quantized_is_refused(base: Path) -> None:
    change(base, quantization_config={"quant_method": "awq", "bits": 4})
    with pytest.raises(
        ModelError, match=r"is stored quantized \(awq\); name the model that it was made of, and set comp"
    ):
        check_base(base)


def test_a_model_whose_part_for_text_is_stored_quantized_is_refused(base: Path) -> None:
    change(base, text_config={"quantization_config": {"quant_method": "compressed-tensors"}})
    with pytest.raises(
        ModelError, match=r"is stored quantized \(compressed-tensors\); name the model that it was made"
    ):
        check_base(base)


def test_an_architecture_with_code_of_its_own_is_refused_unrun(base: Path, tmp_path: Path) -> None:
    auto_map = {"AutoConfig": "ours.Config", "AutoModelForCausalLM": "ours.Model"}
    change(base, model_type="brand_new", auto_map=auto_map, architectures=["BrandNewForCausalLM"])
    (base / "ours.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(
        ModelError, match=r"of type 'brand_new', which the installed transformers cannot load .*use ano"
    ):
        check_base(base)
    assert not (tmp_path / "ran").exists()


def test_nobody_is_asked_whether_to_run_code_of_a_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers asks at a terminal, unless told not to."""
    monkeypatch.setattr("builtins.input", lambda _: "y")
    ours = f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom transformers import LlamaConfig as Config"
    llama = write_base(tmp_path / "llama")
    for folder in (base, llama):
        (folder / "ours.py").write_text(ours + ", PreTrainedTokenizerFast as Tokenizer\n")
    change(base, model_type="brand_new", auto_map={"AutoConfig": "ours.Config"})
    with pytest.raises(ModelError, match="of type 'brand_new', which the installed transformers cannot load"):
        check_base(base)
    path = llama / "tokenizer_config.json"
    theirs = {"tokenizer_class": "BrandNew", "auto_map": {"AutoTokenizer": [None, "ours.Tokenizer"]}}
    path.write_text(json.dumps(json.loads(path.read_bytes()) | theirs))
    with pytest.raises(ModelError, match="brings code of its own for its model or tokenizer, which is never run"):
        load_base(llama)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_settings_of_a_model_that_cannot_be_read_are_named(name: str, text: str, base: Path) -> None:
    (base / name).write_text(text)
    with pytest.raises(ModelError, match=rf"{name} is damaged \(.*\); restore it"):
        check_base(base)


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config])
def test_weights_that_are_no_numbers_are_refused(kind: type[LlamaConfig | Qwen2Config], tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", kind=kind)
    tensors = load_file(base / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0] = float("nan")
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"base computes NaN in torch\.float32: download it again"):
        load_base(base)


def test_weights_that_no_file_holds_are_not_filled_with_random_numbers(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"has no values for 1 of its weights, such as model\.layers\.1\.mlp\.up_proj"):
        load_base(base)


@pytest.mark.parametrize(
    ("text", "of"), [('{"base_model_name_or_path": "Qwen/Q"}', " of Qwen/Q"), ("{}", ""), ("{", ""), ("[]", "")]
)
def test_an_adapter_is_no_base_model(text: str, of: str, base: Path) -> None:
    (base / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError, match=f"is an adapter{of}, not a base model: name its base model in base.path"):
        check_base(base)


def test_a_model_without_tokenizer_is_refused(base: Path) -> None:
    (base / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer \(such as tokenizer\.json\); download the model again"):
        check_base(base)


def test_a_folder_without_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json\. Point `base\.path` at"):
        check_base(tmp_path)


def test_the_part_about_text_is_read_from_a_nested_config(base: Path) -> None:
    assert read_config(base)["hidden_size"] == 32
    (base / "config.json").write_text('{"text_config": {"hidden_size": 7}}')
    assert read_config(base) == {"hidden_size": 7}
    for text in ("{", "[]", "3"):
        (base / "config.json").write_text(text)
        with pytest.raises(ModelError, match=r"config\.json is damaged"):
            read_config(base)


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (LlamaConfig(max_position_embeddings=96), 96),
        (GPT2Config(n_positions=96), 96),
        (MptConfig(max_seq_len=96), 96),
        (PretrainedConfig.from_dict({"seq_length": 96}), 96),
        (PretrainedConfig(), None),
    ],
)
def test_the_context_is_known_by_whatever_name_a_configuration_has_for_it(
    config: PretrainedConfig, tokens: int | None, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    assert context_of(tmp_path) == tokens
