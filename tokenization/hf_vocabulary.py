"""What stands in a Hugging Face `tokenizer.json`: the ids, which of them are control, and the bytes each stands for."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

BLANK = "\u2581"  # SentencePiece's sign for a space
HEX_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
Json = dict[str, Any]


def vocabulary(found: Json) -> dict[str, int]:
    """{piece: id}, added tokens included."""
    vocab = found["model"]["vocab"]
    own = {entry[0]: i for i, entry in enumerate(vocab)} if isinstance(vocab, list) else dict(vocab)
    return own | {entry["content"]: entry["id"] for entry in found.get("added_tokens", [])}


def control_tokens(found: Json, template: str | None, named: set[str]) -> dict[str, int]:
    """{name: id} of what text must not make: special tokens, those named in the configuration, and what the chat
    template writes (DeepSeek's <User> is an added token like any other). The unknown token stands for text."""
    unknown = unknown_token(found)
    control = {}
    for entry in found.get("added_tokens", []):
        name = entry["content"]
        written = template is not None and not name.isspace() and name in template
        if (entry.get("special") or name in named or written) and name != unknown:
            control[name] = entry["id"]
    known = vocabulary(found)
    return control | {name: known[name] for name in named if name in known and name != unknown}


def unknown_token(found: Json) -> str | None:
    model = found["model"]
    if isinstance(model.get("unk_id"), int):  # Unigram
        return model["vocab"][model["unk_id"]][0]
    return model.get("unk_token")


def unreachable(found: Json, control: set[int]) -> Json:
    """A copy in which no text can spell a control token: T5 and Llama have `</s>` among their pieces.

    Its new name begins with a character that is none (U+FFFF) and holds a blank, which every model splits or rewrites.
    """
    changed = copy.deepcopy(found)
    names = {name: f"\uffff \uffff{i}" for name, i in vocabulary(found).items() if i in control}
    vocab = changed["model"]["vocab"]
    if isinstance(vocab, list):
        changed["model"]["vocab"] = [[names.get(piece, piece), score] for piece, score in vocab]
    else:
        changed["model"]["vocab"] = {names.get(piece, piece): i for piece, i in vocab.items()}
    for entry in changed.get("added_tokens", []):
        entry["special"] = entry["special"] or entry["id"] in control  # these are not looked for in text
        entry["content"] = names.get(entry["content"], entry["content"])
    changed["post_processor"] = None  # it puts bos and eos around a text
    return changed


def is_byte_level(found: Json) -> bool:
    return "ByteLevel" in types_in(found.get("decoder"))


def types_in(part: Any) -> set[str]:
    """All values of "type" in a part of the file, at any depth."""
    return set(re.findall(r'"type": "(\w+)"', json.dumps(part)))


def bytes_of_pieces(found: Json, n_ids: int) -> list[bytes]:
    """The text that each id stands for, as UTF-8; b"" for an id without a piece, b"?" for the unknown token."""
    pieces = [b""] * n_ids
    plain = {entry["id"] for entry in found.get("added_tokens", [])}  # written as they are
    to_bytes = reader(found)
    for piece, i in vocabulary(found).items():
        pieces[i] = piece.encode("utf-8", errors="replace") if i in plain else to_bytes(piece)
    unknown = vocabulary(found).get(unknown_token(found) or "")
    if unknown is not None:
        pieces[unknown] = b"?"
    return pieces


def reader(found: Json) -> Any:
    """How this vocabulary writes bytes: piece -> bytes."""
    decoder = types_in(found.get("decoder"))
    if "ByteLevel" in decoder:
        table = byte_of_sign()
        return lambda piece: b"".join(bytes([table[c]]) if c in table else c.encode() for c in piece)
    if "WordPiece" in decoder:  # a piece that does not go on with a word begins one: a space came before
        prefix = found["model"].get("continuing_subword_prefix", "##")
        return lambda piece: (piece[len(prefix) :] if piece.startswith(prefix) else f" {piece}").encode()
    fallback = bool(found["model"].get("byte_fallback")) or "ByteFallback" in decoder
    return lambda piece: sentencepiece_bytes(piece, fallback=fallback)


def sentencepiece_bytes(piece: str, *, fallback: bool) -> bytes:
    if fallback and (match := HEX_BYTE.fullmatch(piece)):
        return bytes.fromhex(match[1])
    return piece.replace(BLANK, " ").encode("utf-8", errors="replace")


def byte_of_sign() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 characters are their own byte, the other 68 bytes follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
