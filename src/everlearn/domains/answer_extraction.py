r"""The answer in a completion, for domains without a rule of their own.

What is in the last `<answer>…</answer>`, or all of the text without one; of that, what is in the last `\boxed{…}`, or
without any and without tags the last line that is not empty, without "Answer:".
"""

from __future__ import annotations

import re

_BOXED = "\\boxed{"
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"^\**\s*(?:the\s+)?(?:final\s+)?answer\b(?:\s+is\b)?\s*\**\s*[:=]?\s*\**\s*", re.IGNORECASE)


def extract_answer(completion: str) -> str:
    """Return the answer in a completion; empty where the completion is."""
    tagged = _TAGGED.findall(completion)
    text = tagged[-1] if tagged else completion
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if tagged or not lines:
        return text.strip()
    return _LABEL.sub("", lines[-1]).removesuffix("**").strip()


def _last_boxed(text: str) -> str | None:
    r"""Return what is in the braces of the last `\boxed`; None without any, or where they are not closed."""
    start = text.rfind(_BOXED)
    if start < 0:
        return None
    start += len(_BOXED)
    depth = 1
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[start:end].strip()
    return None
