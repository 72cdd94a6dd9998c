"""What of a part is decoded again: the ids that are written, as many as CHECK_IDS."""

import pytest

from datamodules.preparing import encoding
from datamodules.preparing.encoding import Piece, encode_part
from tokenization.byte import ByteTokenizer


def part(*texts):
    return [Piece("train", text, number, 0, True) for number, text in enumerate(texts, start=1)]


@pytest.mark.parametrize("n", range(1, 8))
def test_a_character_that_is_cut_is_not_lost(monkeypatch, n):
    monkeypatch.setattr(encoding, "CHECK_IDS", n)
    found = encode_part(part("é€😀x"), ByteTokenizer(), "here", add_eot=True, bits=3, skip_ids=False)
    whole = max(size for size in (0, 2, 5, 9) if size <= n)  # bytes of the characters that are whole
    assert (found.checked_bytes, found.lost_bytes) == (whole, 0)


def test_what_is_not_encoded_is_not_checked():
    found = encode_part(part("a fox"), ByteTokenizer(), "here", add_eot=True, bits=3, skip_ids=True)
    assert (found.checked_bytes, found.lost_bytes) == (0, 0)
