"""A base in 4 bits: what it needs, and an adapter that is trained on it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import torch
from pydantic import ValidationError

from everlearn.domains.contract import load_domain
from everlearn.errors import ModelError
from everlearn.ladder.tree import Ladder
from everlearn.settings import ComputeSettings, LearnSettings, Settings
from everlearn.training.fresh_process import check, probe
from everlearn.training.memory_estimate import estimate
from everlearn.training.models import quantization
from everlearn.training.models.adapted_base import HubPolicy
from everlearn.training.models.base_checks import check_base, read_config
from everlearn.training.models.hub import HubModel
from everlearn.training.models.policy import load_policy
from everlearn.training.models.quantization import quantized, require_quantizer
from everlearn.training.train_step import train_step
from everlearn.training.training_run import start_run
from tests.support.tiny_models import write_model

if TYPE_CHECKING:
    from pathlib import Path

NF4 = ComputeSettings(quantization="nf4", device="cpu", dtype="float32")
CPU = torch.device("cpu")
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed here")


def test_a_missing_quantizer_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda _: None)
    with pytest.raises(
        ModelError, match=r"nf4, but bitsandbytes is not installed: pip install -e '\.\[quantized\]' in the checkout"
    ):
        quantized(NF4, device=CPU)
    require_quantizer(ComputeSettings())


def test_a_base_is_quantized_only_where_the_settings_say_so() -> None:
    assert quantized(ComputeSettings(), device=CPU) == {}
    with pytest.raises(ValidationError, match="policy: fast has no quantized base"):
        ComputeSettings(policy="fast", quantization="nf4")


def test_four_bits_are_counted_for_the_adapted_layers_alone(tmp_path: Path) -> None:
    base = write_model("qwen2, biases", tmp_path / "base")
    weights, config = check_base(base), read_config(base)
    whole, small = (
        estimate(weights, config, Settings(compute=compute), in_fast_policy=False).base
        for compute in (ComputeSettings(dtype="float32"), NF4)
    )
    linear = sum(a.shape[1] * b.shape[0] for a, b in load_policy(base).lora.values())
    assert whole - small == pytest.approx((4 - 0.52) * linear, rel=1e-3)


@needs_bitsandbytes
@pytest.mark.parametrize("family", ["llama, tied", "qwen2, biases"])
def test_an_adapter_is_trained_on_a_quantized_base_and_read_by_peft(family: str, tmp_path: Path) -> None:
    base, domain = write_model(family, tmp_path / "base"), load_domain("integration")
    policy = load_policy(base, rank=4, compute=NF4)
    assert isinstance(policy, HubPolicy)
    assert policy.chosen == "hub policy: transformers in float32 on cpu (quantized: nf4)"
    assert isinstance(policy.base_model, HubModel)
    kinds = {type(policy.base_model.module.get_submodule(name)).__name__ for name in policy.lora}
    assert kinds == {"Linear4bit"}
    problems = [domain.problem("x"), domain.problem("2*x")]
    settings = LearnSettings(prompts=2, group=4, rate=0.1)
    run = start_run(policy, Ladder(), domain=domain, settings=settings, seed=0, replay=problems)
    run.judge = lambda pairs: [domain.verify(problems[0], "x^2/2" if len(given) % 2 else given) for _, given in pairs]
    base_before = {name: tensor.clone() for name, tensor in policy.base_weights.items()}
    assert train_step(run, budget_used=0.0).groups_used > 0
    assert all(torch.equal(base_before[name], tensor) for name, tensor in policy.base_weights.items())
    assert all(tensor.abs().max() > 0 for tensor in policy.parameters())
    adapter = policy.save(tmp_path / "adapter")
    probes = probe(base, adapter, problems, domain=domain, seed=1, threads=1, compute=NF4)
    report = check(base, adapter, probes, compute=NF4)
    assert report.same_answers == report.probes == 2
    assert report.worst_gap < 1e-4
    assert check(base, adapter, probes).worst_gap > 1e-3, "in float32 the base is another model"
