"""A SentencePiece model as tokenizer.json, where its settings lose nothing: the ids are the same.

Normalised text and blanks merged into one would need SentencePiece itself there. One character differs: U+2581, which
stands for a blank inside of a model, is spelled in bytes here and becomes a blank there.
"""

from __future__ import annotations

from typing import Any

BLANK = "\u2581"
NEVER = -1e6  # score of the names of bytes: "<0x41>" written in a text is six characters


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
    if tokenizer.algorithm == "unigram":
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
    lines = {"type": "Split", "pattern": {"String": "\n"}, "behavior": "Isolated", "invert": False}
    return {
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": BLANK},
        "pre_tokenizer": lines if "\n" in separators else None,
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


def merges(pieces: list[str], scores: list[float], left_out: set[int]) -> list[list[str]]:
    """Pairs of pieces that make a piece, the best first: SentencePiece merges whatever two make the best-scored one."""
    ids = {piece: i for i, piece in enumerate(pieces) if i not in left_out}
    found: list[list[str]] = []
    for piece in sorted(ids, key=lambda piece: (-scores[ids[piece]], ids[piece])):
        cuts = [(piece[:n], piece[n:]) for n in range(1, len(piece))]
        known = [cut for cut in cuts if cut[0] in ids and cut[1] in ids]
        found += [[a, b] for a, b in sorted(known, key=lambda cut: (ids[cut[0]], ids[cut[1]]))]
    return found
