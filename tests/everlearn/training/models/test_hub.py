"""The hub policy on twelve architectures: results equal those of transformers and peft, and the base is never touched."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import Ladder
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import ComputeSettings, FormatSettings, LadderSettings, LearnSettings
from everlearn.training.checkpoint import restore_checkpoint, save_checkpoint
from everlearn.training.engines.decode import decode
from everlearn.training.evaluation import measure
from everlearn.training.fresh_process import Probe, check
from everlearn.training.job import GrowthJob, TrainingJob
from everlearn.training.ladder_growth import grow
from everlearn.training.models.hub import HubModel
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import Policy, load_base, load_policy
from everlearn.training.rollouts import Group
from everlearn.training.train_step import train_step
from everlearn.training.trainer import train
from everlearn.training.training_run import start_run
from everlearn.training.update import update
from tests.support.tiny_models import FAMILIES, OTHERS, write_model
from tests.support.tokens import end_of, tokens_of

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.training.training_run import TrainingRun

HUB = ComputeSettings(policy="hub")
PROBLEM = Problem(id="x", domain="integration", statement="x")
ANSWERS = [[5, 6, 7], [9], [8, 11], [12, 13, 14, 15]]


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of each family, by its name."""
    folder = tmp_path_factory.mktemp("families")
    return {name: write_model(name, folder / str(number)) for number, name in enumerate(FAMILIES)}


@pytest.fixture(params=FAMILIES)
def base(request: pytest.FixtureRequest, bases: dict[str, Path]) -> Path:
    """A base of one family after the other."""
    return bases[request.param]


def shaken(base: Path, *, seed: int = 1, compute: ComputeSettings = HUB) -> Policy:
    """Return a policy whose adapter has an effect."""
    policy = load_policy(base, rank=4, alpha=8, compute=compute)
    shake(policy, seed=seed)
    return policy


def shake(policy: Policy, *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, b in policy.lora.values():
            b.copy_(torch.randn(b.shape, generator=generator) / 10)


def prompts_of(policy: Policy) -> list[list[int]]:
    return [tokens_of(policy, "x + x ="), tokens_of(policy, "3*x + sin(x) - 2 + 3*x^2 - cos(x) + exp(x) =")]


def plain(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def scores_of(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt + answer])
    logits = model(input_ids=ids).logits[0, -len(answer) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, ids[0, -len(answer) :, None])[:, 0]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_log_probabilities_and_gradients_equal_those_of_peft(
    base: Path, tmp_path: Path, *, checkpointing: bool
) -> None:
    policy = shaken(base)
    prompts = prompts_of(policy)
    ours, mask = token_logprobs(policy.trained(policy.snapshot(), checkpointing=checkpointing), prompts, ANSWERS)
    theirs = PeftModel.from_pretrained(plain(base), policy.save(tmp_path / "adapter"), is_trainable=True).eval()
    total = torch.zeros(())
    for index, answer in enumerate(ANSWERS):
        expected = scores_of(theirs, prompts[index // 2], answer)
        torch.testing.assert_close(ours[index][mask[index]], expected, atol=1e-5, rtol=1e-5)
        total = total + expected.sum()
    gradients = torch.autograd.grad(ours.sum(), policy.parameters())
    total.backward()
    of = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for module, pair in zip(sorted(policy.lora), zip(gradients[::2], gradients[1::2], strict=True), strict=True):
        for side, gradient in zip("AB", pair, strict=True):
            expected_gradient = of[f"base_model.model.{module}.lora_{side}.default.weight"]
            torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", OTHERS)
def test_other_architectures_train_sample_and_load_in_peft(family: str, tmp_path: Path) -> None:
    policy = shaken(write_model(family, tmp_path / "base"), compute=ComputeSettings())
    prompts = prompts_of(policy)
    ours, mask = token_logprobs(policy.trained(policy.snapshot()), prompts, ANSWERS)
    theirs = PeftModel.from_pretrained(plain(tmp_path / "base"), policy.save(tmp_path / "adapter")).eval()
    for index, answer in enumerate(ANSWERS):
        expected = scores_of(theirs, prompts[index // 2], answer)
        torch.testing.assert_close(ours[index][mask[index]], expected, atol=1e-5, rtol=1e-5)
    gradients = torch.autograd.grad(ours.sum(), policy.parameters())
    assert all(bool(gradient.any()) for gradient in gradients)
    drawn = decode(policy.snapshot(), prompts, group=2, seeds=range(4), stops={end_of(policy)}, limit=8)
    rows = [row for group in drawn for row in group]
    scores, real = token_logprobs(policy.snapshot(), prompts, [row.ids for row in rows])
    assert torch.tensor([score for row in rows for score in row.logprobs]).allclose(scores[real], atol=1e-4)


def test_a_saved_adapter_gives_equal_logits_when_merged_by_peft(base: Path, tmp_path: Path) -> None:
    policy = shaken(base)
    prompts = prompts_of(policy)
    merged: Any = PeftModel.from_pretrained(plain(base), policy.save(tmp_path / "adapter"))
    merged = merged.merge_and_unload()
    again = load_policy(base, tmp_path / "adapter", compute=HUB)
    with torch.no_grad():
        ours, mask = token_logprobs(again.snapshot(), prompts, ANSWERS)
        for index, answer in enumerate(ANSWERS):
            expected = scores_of(merged, prompts[index // 2], answer)
            torch.testing.assert_close(ours[index][mask[index]], expected, atol=1e-4, rtol=1e-4)


def test_the_head_and_the_embeddings_get_no_adapter(base: Path) -> None:
    loaded = load_base(base, compute=HUB)
    assert isinstance(loaded.model, HubModel)
    module = loaded.model.module
    ends = {module.get_output_embeddings(), module.get_input_embeddings()}
    linear = {"Linear", "Conv1D"}
    expected = [name for name, part in module.named_modules() if type(part).__name__ in linear and part not in ends]
    assert list(loaded.targets) == expected


def test_decoding_is_greedy_whatever_the_generation_config_says(base: Path) -> None:
    policy = shaken(base)
    prompts = prompts_of(policy)
    drawn = decode(policy.snapshot(), prompts, group=1, seeds=None, stops={end_of(policy)}, limit=12)
    for prompt, (row,) in zip(prompts, drawn, strict=True):
        with torch.no_grad():
            scores, _ = token_logprobs(policy.snapshot(), [prompt], [row.ids])
        assert torch.tensor(row.logprobs).allclose(scores[0], atol=1e-4)
        for at, token in enumerate(row.ids):
            others = [[*row.ids[:at], other] for other in (token, (token + 1) % 40, 7, end_of(policy))]
            ranked, _ = token_logprobs(policy.snapshot(), [prompt], others)
            assert ranked[0, at] >= ranked[:, at].max() - 1e-4


def test_samples_are_reported_with_their_log_probabilities(base: Path) -> None:
    policy = shaken(base)
    prompts = [*prompts_of(policy), [3]]
    drawn = decode(
        policy.snapshot(), prompts, group=4, seeds=range(12), stops={end_of(policy)}, limit=40, temperature=0.7
    )
    rows = [completion for group in drawn for completion in group]
    assert len({len(row.ids) for row in rows}) > 1, "groups must end at different steps"
    scores, mask = token_logprobs(policy.snapshot(), prompts, [row.ids for row in rows], temperature=0.7)
    for row, score, real in zip(rows, scores, mask, strict=True):
        torch.testing.assert_close(torch.tensor(row.logprobs), score[real].detach(), atol=1e-4, rtol=1e-4)


def test_a_rollout_depends_on_its_seed_and_not_on_its_batch(base: Path) -> None:
    policy = shaken(base)
    prompts = prompts_of(policy)
    together = decode(policy.snapshot(), prompts, group=2, seeds=[9, 8, 7, 6], stops={end_of(policy)}, limit=12)
    alone = decode(policy.snapshot(), prompts[1:], group=2, seeds=[7, 6], stops={end_of(policy)}, limit=12)
    assert [row.ids for row in together[1]] == [row.ids for row in alone[0]]


def test_fast_and_hub_policies_start_from_the_same_adapter(bases: dict[str, Path]) -> None:
    fast, hub = load_policy(bases["llama"], seed=3), load_policy(bases["llama"], seed=3, compute=HUB)
    assert fast.chosen.startswith("fast policy")
    assert list(fast.lora) == list(hub.lora)
    assert all(torch.equal(one, other) for one, other in zip(fast.parameters(), hub.parameters(), strict=True))


def groups_of(run: TrainingRun, *, seed: int) -> list[Group]:
    """Return sampled groups of which every second answer counts as right."""
    prompts = prompts_of(run.policy)
    seeds = range(seed, seed + 8)
    drawn = decode(run.policy.snapshot(), prompts, group=4, seeds=seeds, stops={end_of(run.policy)}, limit=10)
    verdicts = [Verdict(ruling=ruling, reason="") for ruling in (Ruling.CORRECT, Ruling.WRONG)] * 2
    return [
        Group(problem=PROBLEM, prompt=prompt, completions=rows, answers=["x"] * 4, verdicts=verdicts)
        for prompt, rows in zip(prompts, drawn, strict=True)
    ]


def begin(base: Path, *, memory: float = 4.0) -> TrainingRun:
    settings = LearnSettings(kl=0.1, group=4, warmup=1, memory_gib=memory)
    policy = load_policy(base, rank=4, alpha=8, compute=HUB)
    return start_run(policy, Ladder(), domain=load_domain("integration"), settings=settings, seed=1)


def take_step(run: TrainingRun) -> None:
    run.step += 1
    update(run, groups_of(run, seed=run.step), model=run.policy.snapshot(), budget_used=0.1 * run.step)


def test_a_resumed_training_gives_the_same_bits(base: Path, tmp_path: Path) -> None:
    whole = begin(base)
    take_step(whole)
    save_checkpoint(whole, tmp_path)
    take_step(whole)
    again = begin(base)
    assert restore_checkpoint(again, tmp_path)
    take_step(again)
    for one, other in zip(whole.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.abs().max() > 0


def test_jobs_grow_train_and_measure_on_the_hub_policy(bases: dict[str, Path], tmp_path: Path) -> None:
    base, domain = bases["qwen2, biases"], load_domain("integration")
    roots = (domain.problem("x^2"), domain.problem("sin(x) + x"))
    few = LadderSettings(rungs=2, depth=1, breadth=1, rollouts=1)
    asking: Any = {"compute": HUB, "form": FormatSettings(max_tokens=32)}
    growth = GrowthJob(base=base, adapter=None, roots=roots, settings=few, seed=1, threads=1, **asking)
    settings = LearnSettings(steps=2, prompts=2, group=2, staleness=1, kl=0.1)
    job = TrainingJob(
        base=base,
        adapter=None,
        ladder=grow(growth),
        workdir=tmp_path,
        settings=settings,
        ladder_settings=few,
        seed=1,
        threads=1,
        **asking,
    )
    trained = train(job)
    assert trained.policy == "hub policy: transformers in float32 on cpu (as set)"
    assert [point.step for point in trained.curve] == [1, 2]
    PeftModel.from_pretrained(plain(base), trained.adapter)
    assert len(measure(base, trained.adapter, roots, seed=1, threads=1, **asking)) == 2


def test_the_divergence_is_measured_from_the_start_without_a_second_base(bases: dict[str, Path]) -> None:
    run = begin(bases["qwen2, biases"])
    assert isinstance(run.start, HubModel)
    assert isinstance(run.policy.base_model, HubModel)
    assert run.start.module is run.policy.base_model.module
    prompts = prompts_of(run.policy)
    before, _ = token_logprobs(run.start, prompts, ANSWERS)
    shake(run.policy, seed=4)
    after, _ = token_logprobs(run.policy.snapshot(), prompts, ANSWERS)
    assert torch.equal(token_logprobs(run.start, prompts, ANSWERS)[0], before)
    assert not torch.allclose(after, before)


class Allocations(TorchDispatchMode):
    """Records dtype and shape of every tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[tuple[torch.dtype, tuple[int, ...]]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            many = out if isinstance(out, tuple | list) else [out]
            self.seen |= {(each.dtype, tuple(each.shape)) for each in many if isinstance(each, torch.Tensor)}
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["qwen2, biases", "gpt2, transposed weights", "gemma, tied"])
def test_a_step_forms_no_tensor_of_the_shape_of_a_weight(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    run = begin(write_model(family, tmp_path / "base", dtype=dtype))
    groups = groups_of(run, seed=1)
    module: Any = run.policy.base_model
    parameters = dict(module.module.named_parameters())
    before = {name: (tensor.dtype, tensor.data_ptr(), tensor.clone()) for name, tensor in parameters.items()}
    run.step = 1
    with Allocations() as allocations:
        update(run, groups, model=run.policy.snapshot(), budget_used=0.0)
    formed = {shape for _, shape in allocations.seen}
    pairs = {tuple(tensor.shape) for tensor in run.policy.parameters()}
    weights = {tuple(t.shape) for t in parameters.values() if t.ndim == 2} - pairs
    assert not formed & (weights | {shape[::-1] for shape in weights})
    assert {tensor.dtype for tensor in run.policy.parameters()} == {torch.float32}
    for name, tensor in module.module.named_parameters():
        assert (tensor.dtype, tensor.data_ptr()) == before[name][:2]
        assert tensor.dtype == dtype
        assert torch.equal(tensor, before[name][2])
        assert tensor.grad is None


def test_policies_of_one_base_in_two_threads_keep_their_own_adapters(bases: dict[str, Path]) -> None:
    loaded = load_base(bases["qwen2, biases"], compute=HUB)
    policies = [loaded.policy(rank=rank, alpha=8) for rank in (4, 8)]
    for seed, policy in enumerate(policies):
        shake(policy, seed=seed)
    prompts = prompts_of(policies[0])
    alone = [token_logprobs(policy.snapshot(), prompts, ANSWERS)[0] for policy in policies]
    assert not torch.allclose(alone[0], alone[1])
    wrong: list[int] = []

    def repeat(index: int) -> None:
        for _ in range(20):
            scores, _ = token_logprobs(policies[index].trained(policies[index].snapshot()), prompts, ANSWERS)
            scores.sum().backward()
            if not torch.equal(scores.detach(), alone[index]):
                wrong.append(index)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("family", ["llama, tied", "qwen2, biases"])
def test_shards_give_the_same_numbers_as_one_file(family: str, bases: dict[str, Path], tmp_path: Path) -> None:
    sharded = write_model(family, tmp_path / "base", shards=True)
    assert len(list(sharded.glob("*.safetensors"))) > 2
    one, other = shaken(bases[family]), shaken(sharded)
    prompts = prompts_of(one)
    assert torch.equal(*(token_logprobs(policy.snapshot(), prompts, ANSWERS)[0] for policy in (one, other)))


def test_a_fresh_process_agrees_in_spite_of_a_repetition_penalty(base: Path, tmp_path: Path) -> None:
    policy = shaken(base)
    probes = []
    for prompt in prompts_of(policy):
        [[row]] = decode(policy.snapshot(), [prompt], group=1, seeds=None, stops={end_of(policy)}, limit=12)
        probes.append(Probe(prompt=prompt, answer=row.ids, logprob=sum(row.logprobs)))
    report = check(base, policy.save(tmp_path / "adapter"), probes)
    assert report.worst_gap < 1e-4
    assert report.same_answers == len(probes)


def test_biases_of_zero_make_no_plain_llama(tmp_path: Path) -> None:
    base = write_model("qwen2, biases", tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    save_file(
        {name: tensor * (not name.endswith(".bias")) for name, tensor in weights.items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert isinstance(load_policy(base).base_model, HubModel)


def test_a_training_step_leaves_the_base_unchanged(bases: dict[str, Path]) -> None:
    policy = load_policy(bases["qwen2, biases"], rank=4)
    before = {name: tensor.clone() for name, tensor in policy.base_weights.items()}
    domain = load_domain("integration")
    replay = [domain.problem("x"), domain.problem("2*x")]
    run = start_run(policy, Ladder(), domain=domain, settings=LearnSettings(prompts=2, group=2), seed=0, replay=replay)
    point = train_step(run, budget_used=0.0)
    assert point.groups_sampled == 2
    assert abs(point.kl) < 1e-4
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.base_weights.items())
