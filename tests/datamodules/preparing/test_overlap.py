"""What validation shares with training is counted: whole documents, nearly whole ones, and stretches of text."""

import numpy as np
import pytest

from datamodules.preparing import overlap as overlap_module
from datamodules.preparing.overlap import SHINGLE, Overlap, letters_of, shingles

WORDS = ["river", "stone", "seven", "under", "cloud", "paper", "green", "along", "winter", "north", "bridge", "morning"]


def prose(seed: int, n: int = 200) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, n))


def found(text: str, bits: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return shingles(letters_of(text.encode()), bits)


def filled(train: list[str], val: list[str], bits: int = 0) -> Overlap:
    overlap = Overlap(bits=bits)
    for side, texts in (("val", val), ("train", train)):
        for i, text in enumerate(texts):
            hashes, _ = found(text, bits)
            overlap.add_shingles(side, hashes, np.full(len(hashes), i))
    return overlap


def test_a_shingle_is_its_letters_whatever_lies_between(monkeypatch):
    plain, _ = found("a" * 10 + "bcdefgh" * 8)
    spaced, starts = found("A" * 10 + " -- " + "bc, defGH\n" * 8)
    assert plain.tolist() == spaced.tolist()
    assert starts.tolist() == list(range(66 - SHINGLE + 1))
    monkeypatch.setattr(overlap_module, "BLOCK", 7)  # the same in blocks of any size
    assert found("a" * 10 + "bcdefgh" * 8)[0].tolist() == plain.tolist()


def test_another_letter_is_another_shingle():
    """Each of the 48 decides, and no other."""
    text = "abcdefgh" * 6
    hashes = {int(found(text[:i] + "z" + text[i + 1 :])[0][0]) for i in range(SHINGLE)}
    assert len(hashes | {int(found(text)[0][0])}) == SHINGLE + 1
    assert found(text + "z")[0][0] == found(text)[0][0]


@pytest.mark.parametrize("bits", [1, 3, 6])
def test_about_one_in_two_to_the_bits_is_kept_and_they_are_among_those_of_fewer_bits(bits):
    text = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnop"), 40_000))
    every, kept = found(text), found(text, bits)
    assert len(kept[0]) == pytest.approx(len(every[0]) / 2**bits, rel=0.15)
    assert np.array_equal(kept[0], every[0][kept[1]])
    assert set(found(text, bits + 1)[1]) < set(kept[1])


def test_N12_a_near_duplicate_is_found():
    text = prose(1)
    near = text.replace("river", "lake", 1).upper() + " and a new ending"
    report = filled([near, prose(2)], [text, prose(3)]).report()
    assert report["near_duplicate_documents"] == 1
    assert report["judged_documents"] == 2
    assert 0.4 < report["val_share"] < 0.5  # one of two documents, but for what surrounds the changed word


def test_N12_short_documents_are_not_judged():
    assert filled(["too short"], ["too short"]).report()["judged_documents"] == 0


def test_N12_too_many_are_sampled_and_the_share_estimated(monkeypatch):
    train, val = [prose(i) for i in range(20)], [prose(i) for i in range(10, 40)]
    exact = filled(train, val).report()
    assert exact["val_share"] == pytest.approx(1 / 3, abs=0.02)
    monkeypatch.setattr(overlap_module, "MAX_HASHES", 4000)
    sampled = filled(train, val).report()
    assert sampled["shingles_sampled"] <= 1 / 4
    assert sampled["val_share"] == pytest.approx(exact["val_share"], abs=0.05)
    assert abs(sampled["near_duplicate_documents"] - exact["near_duplicate_documents"]) <= 1


def test_N12_a_planted_duplicate_document_is_found():
    overlap = Overlap()
    overlap.add_documents("val", np.array([7, 8], dtype=np.uint64))
    overlap.add_documents("train", np.array([1, 7, 7], dtype=np.uint64))
    assert overlap.report()["duplicate_documents"] == 1
