"""Tiny random language models whose tokenizers speak in turns, built for a test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SPECIAL = ("<pad>", "<s>", "</s>", "<|turn|>", "<|end|>")
PAD, BOS, EOS, TURN, END = range(5)
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
THINKING = TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


def tokenizer(template: str | None = TEMPLATE, *, ends: bool = False) -> PreTrainedTokenizerFast:
    """Return a tokenizer of single characters, with a BOS before a text and, with `ends`, an end token after it."""
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *characters))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    single = "<s> $A </s>" if ends else "<s> $A"
    inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", BOS), ("</s>", EOS)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|turn|>", "<|end|>"],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = template
    return made


def write_model(folder: Path, *, template: str | None = TEMPLATE, guesses: Mapping[str, float] | None = None) -> Path:
    """Write a random Llama of that tokenizer with two end tokens in its generation config.

    With `guesses`, it answers any question with one of these characters, each with its probability, and no more.
    """
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    model = LlamaForCausalLM(config)
    if guesses:
        _set_guesses(model, {tokenizer().get_vocab()[guess]: share for guess, share in guesses.items()})
    model.generation_config = GenerationConfig(eos_token_id=[EOS, END], pad_token_id=PAD, bos_token_id=BOS)
    model.save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


@torch.no_grad()
def _set_guesses(model: LlamaForCausalLM, guesses: Mapping[int, float]) -> None:
    """Let the last token alone decide: after a guess the turn ends, after any other token comes a guess."""
    layer, tokens, head = model.model.layers[0], model.model.embed_tokens.weight, model.lm_head.weight
    layer.self_attn.o_proj.weight.zero_()
    layer.mlp.down_proj.weight.zero_()
    tokens[:, 0], tokens[list(guesses), 1] = 3.0, 3.0  # one dimension for all tokens, one for guesses
    head.zero_()
    head[:, 0] = -4.0
    head[END, 1] = 10.0
    for dimension, (guess, share) in enumerate(guesses.items(), start=2):
        head[guess, 0] = math.log(share) / math.sqrt(len(tokens[0]))  # the length of a normed vector
        head[guess, dimension] = 1.0  # where an adapter can write to make this guess likelier
