"""Splits by hash, by position and by file; what validation shares with training is counted."""

import hashlib

import pytest

from datamodules import split as split_module
from datamodules.split import Overlap, plan_split, text_hash


class Texts:
    """Documents given as lists of pieces, as a source."""

    name, n_bytes = "texts", None

    def __init__(self, *documents: list[str]):
        self._documents = documents

    def documents(self):
        return iter(self._documents)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self._documents).encode()).hexdigest()


def sides(split) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"train": [], "val": []}
    for side, document in split.walk():
        found[side].append("".join(document))
    return found


@pytest.mark.parametrize("cuts", [[0], [0, 3, 500, 905], [0, 900]])
def test_one_document_is_cut_by_position_as_nanogpt(cuts):
    text = "".join(chr(97 + i % 26) for i in range(1005))
    pieces = [text[a:b] for a, b in zip(cuts, [*cuts[1:], None], strict=True)]
    split = plan_split(Texts(pieces), None, 0.1)
    n = int(1005 * 0.9)
    assert sides(split) == {"train": [text[:n]], "val": [text[n:]]}
    assert not split.ends_documents


def test_N12_documents_split_by_their_text_so_duplicates_stay_together():
    documents = [[f"document {i % 500}"] for i in range(1000)]  # each twice
    found = sides(plan_split(Texts(*documents), None, 0.1))
    assert not set(found["train"]) & set(found["val"])
    assert 60 <= len(found["val"]) <= 140  # 100 expected, in pairs: standard deviation 13
    assert found == sides(plan_split(Texts(*[list(d[0]) for d in documents]), None, 0.1))  # pieces do not matter


def test_the_hash_is_the_same_on_every_machine():
    assert text_hash(["häß", "lich"]) == int.from_bytes(
        hashlib.blake2b("häßlich".encode(), digest_size=8).digest(), "little"
    )


def test_blank_documents_are_passed_over():
    found = sides(plan_split(Texts(["a"], [" \n"], [""], ["b"]), None, 0.5))
    assert sorted(found["train"] + found["val"]) == ["a", "b"]


def test_of_a_few_documents_the_smallest_hash_validates():
    split = plan_split(Texts(["a"], ["b"], ["c"]), None, 1e-9)
    assert sides(split)["val"] == []
    assert len(sides(split.with_smallest_hash_in_val())["val"]) == 1


def test_given_validation_comes_first():
    split = plan_split(Texts(["a"]), Texts(["b"]), 0.1)
    assert [side for side, _ in split.walk()] == ["val", "train"]
    assert split.ends_documents


LINES = [f"line {i} " + "x" * 40 for i in range(3000)]


def test_N12_shared_lines_are_counted():
    overlap = Overlap()
    overlap.add_text("val", "\n".join([*LINES[:10], "short line"]))
    overlap.add_text("train", "\n".join([*LINES[4:20], "short line"]))
    report = overlap.report()
    assert (report["val_lines"], report["val_lines_in_train"], report["val_line_share"]) == (10, 6, 0.6)


def test_N12_many_lines_are_sampled_and_the_share_estimated(monkeypatch):
    monkeypatch.setattr(split_module, "MAX_HASHES", 500)
    overlap = Overlap()
    overlap.add_text("val", "\n".join(LINES))
    for start in range(1000, 3000, 100):
        overlap.add_text("train", "\n".join(LINES[start : start + 100]))
    report = overlap.report()
    assert report["lines_sampled"] <= 1 / 4
    assert 200 < report["val_lines"] <= 500
    assert abs(report["val_line_share"] - 2 / 3) < 0.15  # 5 standard errors


def test_N12_a_planted_duplicate_document_is_found():
    overlap = Overlap()
    overlap.add_document("val", text_hash(["planted"]))
    for text in ("one", "planted", "planted"):
        overlap.add_document("train", text_hash([text]))
    assert overlap.report()["duplicate_documents"] == 1
