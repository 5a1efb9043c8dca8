"""Sections of the settings about the ladder, the training and its rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from everlearn.settings.sections import Section


class ComputeSettings(Section):
    """What the base model runs on (docs/learner.md). Part of the cycle's key where not the default."""

    policy: Literal["auto", "fast", "hub"] = Field(
        default="auto",
        description=(
            "`fast`: own forward pass, for plain Llamas on a CPU in float32. `hub`: transformers, for any model and "
            "device. `auto`: the fast one where it gives the numbers of transformers."
        ),
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="`cpu`, `cuda` or one GPU such as `cuda:1`. `auto`: a GPU where there is one.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Type of the base's weights in the hub policy; `auto`: as stored, float16 as bfloat16. Adapters are in float32.",
    )
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = Field(
        default="auto", description="Attention of the hub policy, as transformers names it."
    )
    quantization: Literal["none", "nf4"] = Field(
        default="none",
        description="`nf4`: the base in 4 bits, in the hub policy (QLoRA; needs the extra `quantized`).",
    )

    @model_validator(mode="after")
    def _fast_needs_a_cpu(self) -> Self:
        if self.policy == "fast" and (self.device not in {"auto", "cpu"} or self.dtype == "bfloat16"):
            raise ValueError("policy: fast computes in float32 on a CPU: unset device and dtype, or policy")
        if self.policy == "fast" and self.quantization != "none":
            raise ValueError("policy: fast has no quantized base: unset quantization, or policy")
        return self


RENDERED = frozenset(
    [
        "conversation",
        "messages",
        "tools",
        "documents",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
        "sanitize_control_tokens",
        "is_batched",
    ]
)
"""Arguments of transformers' `apply_chat_template` itself, which the format passes or leaves out."""


class FormatSettings(Section):
    """How the model is addressed (docs/formats.md). Part of the cycle's key where not the default."""

    name: Literal["auto", "marked", "chat"] = Field(
        default="auto",
        description=(
            "`chat`: questions in words, in the tokenizer's chat template. `marked`: the notation of the demo model. "
            "`auto`: `marked` for the demo's architecture, else `chat`."
        ),
    )
    system: str = Field(default="", description="System message of `chat`. Empty: that of the template, if it has one.")
    examples: tuple[tuple[str, str], ...] = Field(
        default=(), description="Pairs of question and answer that `chat` shows before each question."
    )
    answer_prefix: str = Field(
        default="",
        description=(
            "Text with which each answer of `chat` begins, `{statement}` being the problem's. A small model that would "
            "talk about `3 + 4` goes on from `3 + 4 = ` with the result."
        ),
    )
    max_tokens: int = Field(
        default=256, ge=1, description="Tokens of an answer in `chat`, reasoning included. Longer ones earn no reward."
    )
    reasoning: tuple[str, str] = Field(
        default=("<think>", "</think>"),
        description="Tags around reasoning in `chat`, which is not part of the answer. Two empty texts: no reasoning.",
    )
    template: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")],
        str | bool | int | Annotated[float, Field(allow_inf_nan=False)] | None,
    ] = Field(
        default={},
        description="Arguments of the tokenizer's chat template, such as `{enable_thinking: false}` for Qwen3.",
    )

    @model_validator(mode="after")
    def _template_arguments_are_free(self) -> Self:
        taken = ", ".join(sorted(RENDERED & self.template.keys()))
        if taken:
            raise ValueError(f"template: {taken} is no argument of a chat template but of the rendering: leave it out")
        return self


class LadderSettings(Section):
    """The ladder of easier variants that the model derives from new problems. Part of the cycle's key."""

    rungs: int = Field(default=480, ge=1, description="Largest number of variants in the ladder.")
    depth: int = Field(default=6, ge=1, description="Number of layers of variants below the new problems.")
    breadth: int = Field(default=60, ge=1, description="Problems per layer for which variants are proposed.")
    tries: int = Field(default=1, ge=1, description="Variants proposed per problem and move.")
    temperature: float = Field(default=1.0, gt=0.0, description="Sampling temperature of proposed variants.")
    rollouts: int = Field(default=4, ge=1, description="Answers per rung from which pass rates are measured.")
    answer_temperature: float = Field(default=1.0, gt=0.0, description="Sampling temperature of those answers.")


class ContextSettings(Section):
    """In-context learning as a baseline: the parent answers the target with solved examples in its prompt. Decides no weights."""

    examples: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(),
        description=(
            "Numbers of examples in a prompt, each measured twice, with random examples and with similar ones: what the "
            "night's ladder solved. The report shows them beside the adapter. None: nothing is measured."
        ),
    )


class SupervisedSettings(Section):
    """Supervised fine-tuning on the reference answers of new problems, before the ladder. Part of the cycle's key where on."""

    epochs: int = Field(
        default=0,
        ge=0,
        description=(
            "How often each reference answer is learned; 0: none is. Only answers that the domain judges right are used, in the "
            "format `chat`. Held-out problems and suite items are never among them."
        ),
    )
    rows: int = Field(default=16, ge=1, description="Answers per optimizer step.")
    rate: float = Field(default=2e-4, gt=0.0, description="Peak learning rate, reached after a tenth of the steps.")


class LearnSettings(Section):
    """The training of the LoRA adapter with GRPO (docs/learner.md). Part of the cycle's key."""

    seed: int = Field(default=0, ge=0, description="Seed of everything random in a night.")
    steps: int = Field(default=30, ge=1, description="Number of training steps.")
    prompts: int = Field(default=32, ge=1, description="Problems per step.")
    group: int = Field(default=8, ge=2, description="Answers sampled per problem of a step.")
    temperature: float = Field(default=1.0, gt=0.0, description="Sampling temperature of training answers.")
    curriculum: Literal["measured", "posterior", "uniform"] = Field(
        default="measured",
        description=(
            "Choice of problems: `measured` prefers size classes with a medium pass rate, `posterior` also problems of which "
            "some answers were right and some wrong, `uniform` draws evenly."
        ),
    )
    replay: float = Field(
        default=0.3,
        ge=0.0,
        lt=1.0,
        description="Share of a step for mastered problems, from this ladder and earlier nights, against forgetting.",
    )
    frontier: float = Field(
        default=0.15,
        ge=0.0,
        le=1.0,
        description="Least share, of the rest of a step, for the easiest size class that is not solved yet.",
    )
    regrow: int = Field(
        default=0, ge=0, description="Steps after which the current policy extends the ladder again; 0: never."
    )
    start: Literal["parent", "undecided", "base"] = Field(
        default="parent",
        description=(
            "What a night's adapter begins as: `parent`, that of the champion; `undecided`, the candidate of the night before where "
            "that was INSUFFICIENT; `base`, a new one that learns the earlier nights from replay again. It is compared with the "
            "parent in any case."
        ),
    )
    rank: int = Field(default=16, ge=1, description="Rank of a new LoRA adapter.")
    grow_rank: int = Field(
        default=0, ge=0, description="Rank that each night adds to its parent's adapter, for what is new; 0: none."
    )
    alpha: int = Field(
        default=32, ge=1, description="LoRA scaling of a new adapter; updates are scaled by alpha / rank."
    )
    rate: float = Field(default=1.5e-3, gt=0.0, description="Peak learning rate of AdamW.")
    warmup: int = Field(default=5, ge=1, description="Steps of linear warm-up of the learning rate.")
    decay: float = Field(
        default=0.3,
        ge=0.0,
        le=1.0,
        description="Share of the peak learning rate at the last step, reached linearly; 1: no decay.",
    )
    loss: Literal["dapo", "dr_grpo", "grpo"] = Field(
        default="dapo", description="Weighting of tokens in the loss. docs/learner.md has the formulas and papers."
    )
    loss_length: int = Field(
        default=128, ge=1, description="Constant answer length, in tokens, that `dr_grpo` divides by."
    )
    updates: int = Field(default=1, ge=1, description="Optimizer steps on the same answers (trl: num_iterations).")
    importance: Literal["token", "sequence"] = Field(
        default="token",
        description="Importance ratio per token, or per answer (`sequence`: GSPO, only with `loss: grpo`).",
    )
    scale_rewards: bool = Field(
        default=False, description="Divide advantages by the standard deviation of their group (original GRPO)."
    )
    clip_low: float = Field(
        default=0.2, gt=0.0, lt=1.0, description="The importance ratio is clipped below 1 - clip_low."
    )
    clip_high: float = Field(default=0.28, gt=0.0, description="The importance ratio is clipped above 1 + clip_high.")
    truncate: float = Field(
        default=2.0,
        ge=1.0,
        description="Upper limit of the weight that corrects sampler against trainer probabilities.",
    )
    kl: float = Field(default=0.0, ge=0.0, description="Weight of the divergence from the start in the loss; 0: none.")
    anchor_kl: float = Field(
        default=0.0,
        ge=0.0,
        description=(
            "Weight of the divergence from the parent in the loss, on its answers to problems that earlier nights mastered; 0: none."
        ),
    )
    anchors: int = Field(default=32, ge=1, description="Such answers of each step, where `anchor_kl` is above 0.")
    pseudo_labels: float | None = Field(
        default=None,
        gt=0.5,
        le=1.0,
        description=(
            "Share of the answers to a variant that must agree to be rewarded where only a reference could judge it; null: never. No "
            "verifier judges such rewards: they are marked."
        ),
    )
    max_norm: float = Field(default=1.0, gt=0.0, description="Norm to which gradients are clipped.")
    tokens: int = Field(default=16_384, ge=1, description="Largest number of answer tokens per batch of an update.")
    memory_gib: float | None = Field(
        default=None,
        gt=0.0,
        description=(
            "Memory of an update in GiB; batches are made smaller to stay below it. By default 4 on a CPU, and 0.4 of what the base "
            "leaves of a GPU."
        ),
    )
    bf16: bool | None = Field(
        default=None,
        description=(
            "Decode and train in bfloat16, in the fast policy. By default, where the CPU multiplies it faster. "
            "The hub policy has `compute.dtype`."
        ),
    )
    checkpoint_every: int = Field(
        default=1, ge=1, description="Steps between checkpoints; a killed training repeats the steps since the last."
    )
    checkpoint_minutes: float = Field(
        default=0.0,
        ge=0.0,
        description=(
            "Least minutes between checkpoints, for adapters of hundreds of megabytes. In no key: it changes no weights."
        ),
    )
    max_kl: float = Field(
        default=3.0, gt=0.0, description="Guard: divergence from the start, in nats per token, that stops the training."
    )
    min_entropy: float = Field(
        default=1e-3,
        ge=0.0,
        description="Guard: entropy, in nats per token, below which the training stops while most answers are wrong.",
    )
    max_unended: float = Field(
        default=0.5,
        gt=0.0,
        description="Guard: growth of the share of answers without an end, since the first step, that stops the training.",
    )
    staleness: Literal[0, 1] = Field(
        default=0,
        description="1: sample the answers of the next step during an update, with weights one step older (faster).",
    )
    processes: int = Field(
        default=1, ge=1, description="Processes on this machine that train together, each with `threads` threads."
    )

    @model_validator(mode="after")
    def _sequence_needs_grpo(self) -> Self:
        if self.importance == "sequence" and self.loss != "grpo":
            raise ValueError("importance: sequence uses one ratio per answer, so it needs loss: grpo")
        return self


class RolloutSettings(Section):
    """Who decodes: this process, or vLLM with every adapter that is to answer. Part of the cycle's key."""

    engine: Literal["local", "vllm"] = Field(
        default="local",
        description=(
            "`local`: the learner's own forward pass decodes. `vllm`: vLLM does, on `servers`; without any, the worker starts one of "
            "its own and stops it with itself."
        ),
    )
    servers: tuple[str, ...] = Field(default=(), description="Base URLs of vLLM servers, `http://gpu-1:8000`.")
    adapters: Path | None = Field(
        default=None,
        description="Folder shared with the servers, at the same path there. Each step's adapter is written to it.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="bfloat16",
        description="Type that vLLM computes in. Decides how far its log-probabilities may differ from ours.",
    )
    program: Path = Field(
        default=Path(".vllm/bin/vllm"),
        description="vLLM's program in its own virtual environment (`make vllm`), for a server of the worker's own. In no key.",
    )
    gpu_share: float = Field(
        default=0.45,
        gt=0.0,
        lt=1.0,
        description="Share of a GPU's memory that the worker's own server takes; it sleeps during an update. In no key.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_release_0_1_0(cls, given: Any) -> Any:
        """Read `replicas`, the name of `servers` in release 0.1.0, which an open night may have frozen."""
        if not isinstance(given, dict) or "replicas" not in given:
            return given
        rest = {name: value for name, value in given.items() if name != "replicas"}
        return ({"servers": given["replicas"], "engine": "vllm"} if given["replicas"] else {}) | rest

    @model_validator(mode="after")
    def _servers_belong_to_vllm(self) -> Self:
        if self.servers and self.engine != "vllm":
            raise ValueError("servers are asked by the engine vllm only: set engine: vllm")
        if self.servers and self.adapters is None:
            raise ValueError("servers read adapters from a folder that they share with this machine: set adapters")
        return self
