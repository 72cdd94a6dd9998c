"""Splits by hash, by position and by file."""

import hashlib

import pytest

from datamodules.preparing.split import plan_split, text_hash
from datamodules.reading import readers
from datamodules.reading.sources import FileSource


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


def test_files_split_by_their_text_are_not_held_as_a_whole(write, monkeypatch):
    """The same sides as by the whole text, and what is handed on comes in pieces."""
    texts = [f"file {i}\n" + "a line of it\n" * 50 for i in range(20)]
    pieces = readers.text_pieces
    monkeypatch.setattr(readers, "text_pieces", lambda path: pieces(path, 64))
    files = tuple(write(f"{i:02}.txt", text) for i, text in enumerate(texts))
    found = [
        (side, list(document)) for side, document in plan_split(FileSource("f", files, "text", None), None, 0.3).walk()
    ]
    whole = plan_split(Texts(*([text] for text in texts)), None, 0.3)
    assert [(side, "".join(document)) for side, document in found] == [(side, *text) for side, text in whole.walk()]
    assert all(len(document) > 5 for _, document in found)


def test_documents_that_can_be_read_only_once_are_split_too():
    class Once(Texts):
        def documents(self):
            return (iter(document) for document in super().documents())

    documents = [["a ", f"document {i}"] for i in range(20)]
    assert sides(plan_split(Once(*documents), None, 0.3)) == sides(plan_split(Texts(*documents), None, 0.3))
