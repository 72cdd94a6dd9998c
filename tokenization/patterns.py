"""How text is split into words before bytes are merged: no token crosses such a border. By name, or a regex."""

from __future__ import annotations

import re

from errors import RequestError, panics_told

# GPT-4's (tiktoken's cl100k_base); {n}: digits in one token at most, 3 there, 2 in nanochat
GPT4 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}++|\p{{N}}{{1,{n}}}+| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
# GPT-2's, as tiktoken writes it
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def split_pattern(pattern: str, digits: int) -> str:
    """The regex that `tokenizer.pattern` stands for. Raises RequestError where it is none."""
    if pattern in ("gpt4", "gpt2"):
        return GPT4.format(n=digits) if pattern == "gpt4" else GPT2
    check(pattern)
    return pattern


def check(pattern: str) -> None:
    import tiktoken

    try:
        encoding = tiktoken.Encoding(
            "check", pat_str=pattern, mergeable_ranks={bytes([b]): b for b in range(256)}, special_tokens={}
        )
    except ValueError as error:
        reason = re.sub(r"\s+", " ", str(error))
        raise RequestError(
            f"tokenizer.pattern={pattern!r}: expected gpt4, gpt2 or a regular expression ({reason})."
        ) from None
    probe = "Two words, 12 345\n\n  \u00e9l\u00e8ve's \u4e2d\u6587 \U0001f600!\t"
    with panics_told(f"tokenizer.pattern={pattern!r}: tiktoken"):
        found = encoding.decode(encoding.encode_ordinary(probe))
    if found != probe:
        raise RequestError(
            f"tokenizer.pattern={pattern!r} leaves out part of the text: what it does not match would be lost.\n"
            r"End it with |\s|. so that something matches everywhere, or type tokenizer.pattern=gpt4."
        )
