"""The tokenizer of the default base: one token for each digit, operator, function, marker and move."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from everlearn.training.models.formats.marked_notation import MARKERS

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
WORDS = (
    *("INT", "DROP", "HALF", "EASE", "="),
    *"0123456789",
    *("x", "e", "pi", "sin", "cos", "tan", "exp", "log", "sqrt", "atan"),
    *"+-*/^()",
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer with a fixed vocabulary; decoding puts no spaces between tokens."""
    words = (*SPECIAL, *WORDS, *(f"<{marker}>" for marker in range(MARKERS)))
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))  # noqa: S106
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), behavior="removed"),
            pre_tokenizers.Split(Regex(r"<\d+>|[A-Za-z]+|."), behavior="isolated"),
        ]
    )
    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "bos", "eos", "unk")}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names)
