"""Our tokenizers as files that transformers' AutoTokenizer reads: tokenizer.json, tokenizer_config.json, a template.

Written by hand as JSON, so that no package has to be there; tests load them with transformers and compare the ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tokenization.base import Tokenizer
from tokenization.chat.specials import (
    ASSISTANT_END,
    ASSISTANT_START,
    BOS,
    CALL_END,
    CALL_START,
    CHAT_SPECIALS,
    THINK_END,
    THINK_START,
    TOOL_END,
    TOOL_START,
    TOOLS_END,
    TOOLS_START,
    TURN_SPECIALS,
    USER_END,
    USER_START,
)
from tokenization.export_sentencepiece import as_json
from tokenization.hf import HFTokenizer
from tokenization.hf_files import MAIN

# What tokenization/chat/specials.py renders, in Jinja; {% generation %} marks what is learned, for training elsewhere.
# Of a tokenizer without specials for tools and thinking, the parts between the lists are left out.
TOOLS = (
    f"{{%- if tools %}}{{{{- '{TOOLS_START}' }}}}{{%- for t in tools %}}"
    "{{- t | tojson }}{%- if not loop.last %}{{- '\\n' }}{%- endif %}{%- endfor %}"
    f"{{{{- '{TOOLS_END}' }}}}{{%- endif %}}"
)
RESULT = f"{{%- elif m.role == 'tool' %}}{{{{- '{TOOL_START}' + m.content + '{TOOL_END}' }}}}"
THOUGHTS = (
    f"{{%- if m.reasoning_content %}}{{{{- '{THINK_START}' + m.reasoning_content + '{THINK_END}' }}}}{{%- endif %}}"
)
# An object that is a text gets the spaces of Python's JSON, as in training, where it is read; other text is a string.
SPACED = (
    "{%- macro spaced(text) %}{%- if text.strip()[:1] != '{' %}{{- text | tojson }}{%- else %}"
    "{%- set s = namespace(inside=false, escaped=false) %}{%- for c in text %}"
    "{%- if s.escaped and c in 'u/' %}{{- raise_exception('arguments of a call that are a text with escapes:"
    " give them as an object') }}{%- endif %}"
    "{%- if s.inside or c not in ' \\n\\r\\t' %}{{- c }}{%- endif %}"
    "{%- if not s.inside and c in ',:' %}{{- ' ' }}{%- endif %}"
    "{%- if c == '\"' and not s.escaped %}{%- set s.inside = not s.inside %}{%- endif %}"
    "{%- set s.escaped = c == '\\\\' and not s.escaped %}"
    "{%- endfor %}{%- endif %}{%- endmacro %}"
)
CALLS = (
    "{%- for call in m.tool_calls or [] %}{%- set f = call.function or call %}"
    f"{{{{- '{CALL_START}' + '{{\"name\": ' + f.name | tojson + ', \"arguments\": ' }}}}"
    "{%- if f.arguments is not defined %}{{- '{}' }}{%- elif f.arguments is string %}{{- spaced(f.arguments) }}"
    "{%- else %}{{- f.arguments | tojson }}{%- endif %}{{- '}' }}"
    f"{{{{- '{CALL_END}' }}}}{{%- endfor %}}"
)


def chat_jinja(*, tools: bool) -> str:
    """The template, with or without tools and thinking."""
    spaced, declared, result, thoughts, calls = (SPACED, TOOLS, RESULT, THOUGHTS, CALLS) if tools else ("",) * 5
    return (
        f"{spaced}{{{{- '{BOS}' }}}}{declared}{{%- set ns = namespace(system='') %}}{{%- for m in messages %}}"
        "{%- if m.role in ('system', 'developer') %}{%- if m.content %}"
        "{%- set ns.system = ns.system + m.content + '\\n\\n' %}{%- endif %}"
        f"{{%- elif m.role == 'user' %}}{{{{- '{USER_START}' + ns.system + m.content + '{USER_END}' }}}}"
        f"{{%- set ns.system = '' %}}{result}{{%- else %}}{{{{- '{ASSISTANT_START}' }}}}{{%- generation %}}"
        f"{thoughts}{{{{- m.content or '' }}}}{calls}{{{{- '{ASSISTANT_END}' }}}}"
        "{%- endgeneration %}{%- endif %}{%- endfor %}"
        f"{{%- if add_generation_prompt %}}{{{{- '{ASSISTANT_START}' }}}}{{%- endif %}}"
    )


def is_ours(tokenizer: Any) -> bool:
    """Whether the template that a tokenizer brings is the one that `hf_files` writes for its specials."""
    names = tokenizer.specials.keys()
    return names >= set(TURN_SPECIALS) and tokenizer.chat_template == chat_jinja(tools=names >= set(CHAT_SPECIALS))


def hf_files(tokenizer: Tokenizer, *, seq_len: int) -> dict[str, bytes] | None:
    """{file name: contents}, or None for settings that tokenizer.json cannot express (some of sentencepiece)."""
    if isinstance(tokenizer, HFTokenizer):
        return tokenizer.whole_files() | ({} if tokenizer.chat_template else _template(tokenizer))
    kinds: dict[str, Callable[[Any], dict[str, Any] | None]] = {
        "byte": _byte, "char": _char, "bpe": _bpe, "tiktoken": _bpe, "sentencepiece": as_json
    }  # fmt: skip
    parts = kinds[tokenizer.kind](tokenizer) if tokenizer.kind in kinds else None
    if parts is None:
        return None
    added = [
        {"id": i, "content": name, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for i, name in sorted({i: name for name, i in tokenizer.specials.items()}.items())  # once, by its true name
    ]  # fmt: skip
    main = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None}
    main |= {"post_processor": None} | parts
    eot = next(a["content"] for a in added if a["id"] == tokenizer.eot)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eot, "pad_token": eot, "model_max_length": seq_len,
        "clean_up_tokenization_spaces": False, "model_input_names": ["input_ids", "attention_mask"],
    }  # fmt: skip
    files = {MAIN: main, "tokenizer_config.json": config}
    encoded = {name: json.dumps(content, ensure_ascii=False, indent=1).encode() for name, content in files.items()}
    return encoded | _template(tokenizer)


def _template(tokenizer: Tokenizer) -> dict[str, bytes]:
    """Ours, of a tokenizer that marks whose turn it is."""
    names = tokenizer.specials.keys()
    if not names >= set(TURN_SPECIALS):
        return {}
    return {"chat_template.jinja": chat_jinja(tools=names >= set(CHAT_SPECIALS)).encode()}


def _byte(tokenizer: Tokenizer) -> dict[str, Any]:
    return _byte_level([bytes([i]) for i in range(tokenizer.n_text_ids)], merges=[], regex=None)


def _bpe(tokenizer: Any) -> dict[str, Any]:
    """tiktoken merges whatever two tokens make a third, so every way to cut a token is a merge, at the token's rank."""
    tokens = list(tokenizer.tokens())
    ids = {token: i for i, token in enumerate(tokens) if token}
    merges: list[tuple[bytes, bytes]] = []
    for token, i in ids.items():
        cuts = [(token[:n], token[n:]) for n in range(1, len(token))]
        known = [cut for cut in cuts if max(ids.get(cut[0], i), ids.get(cut[1], i)) < i]
        merges += sorted(known, key=lambda cut: (ids[cut[0]], ids[cut[1]]))
    found = _byte_level(tokens, merges=merges, regex=tokenizer.regex)
    found["model"]["ignore_merges"] = True  # a word that is a token needs no merges, as in tiktoken
    found["model"]["vocab"] |= tokenizer.specials  # ids may have gaps, and specials stand in them
    return found


def _char(tokenizer: Any) -> dict[str, Any]:
    """Every character a word of its own; one outside the vocabulary is an error there as it is here."""
    return {
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False},
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": {c: i for i, c in enumerate(tokenizer.chars)}, "unk_token": "<unk>"},
    }


def _byte_level(tokens: list[bytes], *, merges: list[tuple[bytes, bytes]], regex: str | None) -> dict[str, Any]:
    """BPE on GPT-2's letters for bytes."""
    letters = byte_letters()
    spell = lambda token: "".join(letters[b] for b in token)  # noqa: E731
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    # Oniguruma, which reads it there, takes {1,3}+ for a repetition of it; it is possessive, which changes nothing here
    plain = None if regex is None else re.sub(r"(\{\d+(,\d*)?\})\+", r"\1", regex)
    split = {"type": "Split", "pattern": {"Regex": plain}, "behavior": "Isolated", "invert": False}
    return {
        "pre_tokenizer": level if regex is None else {"type": "Sequence", "pretokenizers": [split, level]},
        "decoder": level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {spell(token): i for i, token in enumerate(tokens) if token},
            "merges": [[spell(a), spell(b)] for a, b in merges],
        },
    }  # fmt: skip


def byte_letters() -> list[str]:
    """GPT-2's letter for each byte: itself where it can be seen, else the next unused one from 256 on."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [b for b in range(256) if b not in seen]
    return [chr(b) if b in seen else chr(256 + hidden.index(b)) for b in range(256)]
