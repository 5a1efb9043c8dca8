"""Build the default base model from scratch, on one CPU core, in minutes.

`python -m everlearn.training.base_model.pretrain --out data/base`: a tokenizer, a Llama of 1 M parameters at marked
positions, pretrained on integrals of one to three terms, on compositions of one to three functions, and on the moves
that make longer ones easier. It never sees the solution of a longer sum or of a deeper composition: training has to
learn those.

With `--positions plain` it is an ordinary Llama, whose positions count tokens: a control for what the marked positions
do (`bench/plain_positions.py`). It gets no model card.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from everlearn.domains.integration.moves import MOVES
from everlearn.training.base_model.demonstrations import (
    demonstrate,
    demonstrate_composition,
    demonstrate_on_product,
    demonstrate_solution,
)
from everlearn.training.base_model.model_card import write_card
from everlearn.training.base_model.tokenizer import build_tokenizer
from everlearn.training.models.formats.marked_notation import MARKERS
from everlearn.training.models.llama import Llama, geometry, token_logprobs
from everlearn.training.models.marked_llama import MarkedLlamaConfig, MarkedLlamaForCausalLM
from everlearn.training.models.precision import has_fast_bf16

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SIZES, SHARES = (1, 2, 3), (0.25, 0.60, 0.15)
DEPTHS, DEPTH_SHARES = (1, 2, 3), (0.2, 0.35, 0.45)
BY_PARTS = 0.2
LONGEST_MOVE, DEEPEST_MOVE = 18, 8


def build_model(
    tokenizer: PreTrainedTokenizerFast, *, seed: int, width: int = 128, layers: int = 4, positions: str = "marked"
) -> LlamaForCausalLM:
    """Return an untrained base model for that tokenizer, at `marked` or `plain` positions."""
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if positions == "plain":
        return LlamaForCausalLM(LlamaConfig(**shape))
    marked = MarkedLlamaConfig(**shape, first_marker=tokenizer.vocab["<0>"], markers=MARKERS)
    return MarkedLlamaForCausalLM(marked)


def draw_batch(rng: random.Random, *, rows: int, moves: float, compositions: float) -> list[tuple[str, str]]:
    """Return pairs of prompt and completion; the share `moves` are moves, the share `compositions` no sums of known terms."""
    batch = []
    for _ in range(rows):
        is_move, is_composition = rng.random() < moves, rng.random() < compositions
        if is_move and is_composition:
            batch.append(demonstrate_on_product(rng, depth=rng.randint(2, DEEPEST_MOVE), move=rng.choice(MOVES)))
        elif is_move:
            batch.append(demonstrate(rng, size=rng.randint(2, LONGEST_MOVE), move=rng.choice(MOVES)))
        elif is_composition:
            by_parts = rng.random() < BY_PARTS
            depth = 1 if by_parts else rng.choices(DEPTHS, DEPTH_SHARES)[0]
            batch.append(demonstrate_composition(rng, depth=depth, by_parts=by_parts))
        else:
            batch.append(demonstrate_solution(rng, size=rng.choices(SIZES, SHARES)[0]))
    return batch


def pretrain(
    *,
    out: Path,
    seed: int,
    steps: int,
    rows: int,
    rate: float,
    moves: float,
    compositions: float,
    positions: str = "marked",
) -> None:
    """Train, save model, tokenizer and card, and print the loss every 50 steps."""
    rng = random.Random(seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed=seed, positions=positions)
    weights = dict(model.named_parameters())
    llama = Llama(weights, geometry(model.config))
    optimizer = torch.optim.AdamW(weights.values(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 50, max(0.02, 1 - step / steps))
    )
    end, bf16 = tokenizer.eos_token_id, has_fast_bf16()
    for step in range(steps):
        batch = sorted(
            draw_batch(rng, rows=rows, moves=moves, compositions=compositions), key=lambda pair: len(pair[0])
        )
        total = torch.zeros(())
        count = 0
        for start in range(0, rows, rows // 4):
            part = batch[start : start + rows // 4]
            prompts = [tokenizer(prompt).input_ids for prompt, _ in part]
            answers = [[*tokenizer(answer, add_special_tokens=False).input_ids, end] for _, answer in part]
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                scores, real = token_logprobs(llama, prompts, answers)
            total = total - (scores * real).sum()
            count += int(real.sum())
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 50 == 0:
            print(  # noqa: T201 (a command's progress)
                f"step {step:5d}  loss {float(total.detach()) / count:.4f}  cpu {time.process_time():.0f} s", flush=True
            )
    model.bfloat16().save_pretrained(out)
    tokenizer.save_pretrained(out)
    if positions == "marked":
        write_card(out, parameters=sum(tensor.numel() for tensor in weights.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("data/base"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--moves", type=float, default=0.2)
    parser.add_argument("--compositions", type=float, default=0.4)
    parser.add_argument("--positions", choices=("marked", "plain"), default="marked")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pretrain(**vars(arguments))
