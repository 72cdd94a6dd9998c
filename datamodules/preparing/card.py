"""The data card: what a folder of token files holds, in numbers and in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from datamodules.preparing.token_files import document_ends
from datamodules.preparing.token_folder import TokenFolder
from datamodules.reading.ignored import in_words

SHOWN = 20  # tokens in the lists of the most and the least frequent
BAR = 40  # characters of the longest bar


def data_card(folder: TokenFolder, ignored: Mapping[str, int] | None = None) -> dict[str, Any]:
    """All that `show` tells, in JSON types. Reads every id once: half a billion a second.

    `ignored`: what was given beside and is not used, if it is known better than `meta.json` does.
    """
    meta, tokenizer = folder.meta, folder.tokenizer
    counts = token_counts(folder)
    return {
        "folder": str(folder.path),
        "source": meta.get("source"),
        "split": meta.get("split"),
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "fingerprint": tokenizer.fingerprint,
        },
        "train": side_facts(folder, "train"),
        "val": side_facts(folder, "val"),
        "ignored": dict(meta.get("ignored", {}) if ignored is None else ignored),
        "overlap": meta.get("overlap"),
        "round_trip": round_trip(meta.get("round_trip")),
        "tokens": token_facts(folder, counts),
    }


def token_counts(folder: TokenFolder) -> np.ndarray:
    """(vocab_size,) int64: how often each id occurs, both sides together."""
    counts = np.zeros(folder.tokenizer.vocab_size, dtype=np.int64)
    for tokens in (folder.train, folder.val):
        for ids in tokens.scan():
            counts += np.bincount(ids, minlength=len(counts))
    return counts


def side_facts(folder: TokenFolder, side: str) -> dict[str, Any]:
    tokens, meta = getattr(folder, side), folder.meta[side]
    lengths = document_lengths(folder, side)
    characters, n_bytes = meta.get("characters"), meta["bytes"]
    return {
        "documents": len(lengths),
        "bytes": n_bytes,
        "characters": characters,
        "tokens": len(tokens),
        "characters_per_token": round(characters / len(tokens), 4) if characters else None,
        "tokens_per_byte": round(len(tokens) / n_bytes, 4) if n_bytes else None,
        "tokens_per_document": quantiles(lengths),
        "length_histogram": histogram(lengths),
    }


def document_lengths(folder: TokenFolder, side: str) -> np.ndarray:
    """(documents,) int64: tokens of each, its end included."""
    return np.diff(document_ends(folder.path, side, getattr(folder, side), folder.tokenizer.eot), prepend=0)


def quantiles(lengths: np.ndarray) -> dict[str, int]:
    names = {"min": 0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1}
    return {name: int(np.quantile(lengths, q, method="nearest")) for name, q in names.items()} if len(lengths) else {}


def histogram(lengths: np.ndarray) -> list[dict[str, int]]:
    """Documents by length, each class twice as wide as the one before: [{"from", "to" (exclusive), "documents"}]."""
    if not len(lengths):
        return []
    classes = np.bincount(np.log2(np.maximum(lengths, 1)).astype(int))
    return [
        {"from": 2**i, "to": 2 ** (i + 1), "documents": int(n)}
        for i, n in enumerate(classes)
        if i >= int(np.flatnonzero(classes)[0])
    ]


def round_trip(found: dict[str, int] | None) -> dict[str, Any] | None:
    """Share of bytes that encoding and decoding lost, in the sample that was looked at."""
    if not found:
        return None
    return {**found, "lost_share": found["lost_bytes"] / max(1, found["checked_bytes"])}


def token_facts(folder: TokenFolder, counts: np.ndarray) -> dict[str, Any]:
    order = np.argsort(-counts, kind="stable")  # (vocab_size,)
    used = order[counts[order] > 0]
    unused = np.flatnonzero(counts == 0)
    total, text = int(counts.sum()), folder.tokenizer.texts_of_ids()

    def listed(ids: np.ndarray) -> list[dict[str, Any]]:
        return [
            {
                "id": int(i),
                "text": name_of(int(i), text),
                "count": int(counts[i]),
                "share": round(float(counts[i] / total), 6),
            }
            for i in ids
        ]

    return {
        "used": len(used),
        "unused": len(unused),
        "unused_share": round(len(unused) / len(counts), 4),
        "most_frequent": listed(used[:SHOWN]),
        "least_frequent": listed(used[::-1][:SHOWN]),
        "unused_examples": [name_of(int(i), text) for i in unused[:SHOWN]],
    }


def name_of(i: int, text: Callable[[int], str]) -> str:
    """The token's text; its number where it is a part of a character."""
    return f"<id {i}>" if "\ufffd" in text(i) else text(i)


def show(card: dict[str, Any]) -> str:
    """The card in words, for the screen and card.txt."""
    sides = {side: card[side] for side in ("train", "val")}
    rows = [
        ("documents", "documents", ",d"),
        ("bytes", "bytes of text", ",d"),
        ("characters", "characters", ",d"),
        ("tokens", "tokens", ",d"),
        ("characters_per_token", "characters per token", ".3f"),
        ("tokens_per_byte", "tokens per byte", ".4f"),
    ]
    split, tokenizer = card["split"], card["tokenizer"]
    lines = [
        f"{card['source'] or card['folder']}",
        f"tokenizer={tokenizer['kind']}, vocabulary {tokenizer['vocab_size']:,}"
        + (f"; split: {split['kind']}" if split else ""),
        "",
        f"{'':<24}{'train':>16}{'val':>16}",
        *(
            f"{words:<24}"
            + "".join(f"{format(f[key], style) if f[key] is not None else '-':>16}" for f in sides.values())
            for key, words, style in rows
        ),
        "",
        *filter(None, [in_words(card["ignored"])]),
        *(line for words in (loss_words(card), overlap_words(card), vocabulary_words(card)) for line in words),
        "",
        "tokens in a training document: "
        + ", ".join(f"{name} {value:,}" for name, value in card["train"]["tokens_per_document"].items()),
        *bars(card["train"]["length_histogram"]),
        "",
        "most frequent:  " + token_list(card["tokens"]["most_frequent"]),
        "least frequent: " + token_list(card["tokens"]["least_frequent"]),
    ]
    return "\n".join(lines) + "\n"


def loss_words(card: dict[str, Any]) -> list[str]:
    found = card["round_trip"]
    if not found:
        return []
    return [
        f"bytes that do not come back from encoding and decoding: {found['lost_share']:.4%}"
        f" of {found['checked_bytes']:,} looked at"
    ]


def overlap_words(card: dict[str, Any]) -> list[str]:
    found = card["overlap"]
    if not found or "val_share" not in found:
        return []
    return [
        f"validation documents that are also in training: {found['duplicate_documents']:,} the same,"
        f" {found['near_duplicate_documents']:,} nearly (of {found['judged_documents']:,} long enough to judge)",
        f"share of validation's text that occurs in training: {found['val_share']:.2%}",
    ]


def vocabulary_words(card: dict[str, Any]) -> list[str]:
    tokens = card["tokens"]
    return [f"ids of the vocabulary that never occur: {tokens['unused']:,} ({tokens['unused_share']:.1%})"]


def bars(classes: list[dict[str, int]]) -> list[str]:
    most = max((c["documents"] for c in classes), default=1)
    return [
        f"  {c['from']:>9,} to {c['to'] - 1:>9,}  {'#' * -(-BAR * c['documents'] // most):<{BAR}} {c['documents']:,}"
        for c in classes
    ]


def token_list(tokens: list[dict[str, Any]]) -> str:
    return "  ".join(f"{token['text']!r} {token['count']:,}" for token in tokens)
