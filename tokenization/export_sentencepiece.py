"""A SentencePiece model as tokenizer.json, where its settings lose nothing: the ids are the same.

Normalised text and blanks merged into one would need SentencePiece itself there. One character differs: U+2581, which
stands for a blank inside of a model, is spelled in bytes here and becomes a blank there.
"""

from __future__ import annotations

from typing import Any

BLANK = "\u2581"
NEVER = -1e6  # score of the names of bytes: "<0x41>" written in a text is six characters
IN_NAMES = "<0x123456789ABCDEF>"  # characters of which the names of bytes are made


def as_json(tokenizer: Any) -> dict[str, Any] | None:
    """The parts of tokenizer.json that the model decides, or None where they cannot say the same."""
    separators = tokenizer._separators  # there are some only where nothing is lost
    if not separators:
        return None
    processor = tokenizer._known()
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    scores = [processor.get_score(i) for i in range(len(pieces))]
    unknown = processor.unk_id()
    pieces[unknown] += "\0"  # "<unk>" written in a text is none
    not_text = {i for i in range(len(pieces)) if processor.is_byte(i) or processor.is_control(i)} | {unknown}
    apart, broken = without_piece([piece for i, piece in enumerate(pieces) if i not in not_text])
    if tokenizer.algorithm == "unigram":
        if broken:
            return None
        model: dict[str, Any] = {
            "type": "Unigram", "unk_id": unknown, "byte_fallback": True,
            "vocab": [[piece, NEVER if i in not_text else scores[i]] for i, piece in enumerate(pieces)],
        }  # fmt: skip
    else:
        model = {
            "type": "BPE", "dropout": None, "unk_token": pieces[unknown], "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": merges(pieces, scores, not_text),
        }  # fmt: skip
    cuts = [{"String": "\n"}] if "\n" in separators else []
    cuts += [{"Regex": f"[{apart}]"}] if apart and tokenizer.algorithm == "unigram" else []
    splits: list[Any] = [{"type": "Split", "pattern": cut, "behavior": "Isolated", "invert": False} for cut in cuts]
    return {
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": BLANK},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits} if len(splits) > 1 else (splits or [None])[0],
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Replace", "pattern": {"String": BLANK}, "content": " "},
            ],
        },
        "model": model,
    }


def without_piece(pieces: list[str]) -> tuple[str, str]:
    """Of the characters of bytes' names those that are in no piece, and those that are only in longer ones.

    A character without a piece costs more than NEVER there, so that "<0x0A>" written in a text would become the byte
    where "<" is none (F36). Standing apart, it is spelled in bytes, as in the model itself: no piece crosses it.
    """
    used, single = set().union(*pieces), {piece for piece in pieces if len(piece) == 1}
    unknown = [char for char in IN_NAMES if char not in single]
    return "".join(c for c in unknown if c not in used), "".join(c for c in unknown if c in used)


def merges(pieces: list[str], scores: list[float], left_out: set[int]) -> list[list[str]]:
    """Pairs of pieces that make a piece, the best first: SentencePiece merges whatever two make the best-scored one."""
    ids = {piece: i for i, piece in enumerate(pieces) if i not in left_out}
    found: list[list[str]] = []
    for piece in sorted(ids, key=lambda piece: (-scores[ids[piece]], ids[piece])):
        cuts = [(piece[:n], piece[n:]) for n in range(1, len(piece))]
        known = [cut for cut in cuts if cut[0] in ids and cut[1] in ids]
        found += [[a, b] for a, b in sorted(known, key=lambda cut: (ids[cut[0]], ids[cut[1]]))]
    return found
