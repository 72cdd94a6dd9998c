"""Docstrings and their first lines as pairs."""

from datamodules.docstring_summaries import DocstringSummariesDataModule, pairs, pairs_of_the_library
from tokenization.byte import ByteTokenizer


def test_pairs_by_hand():
    docs = ["One line.\n\nMore of it.\n\nAnd more.", "Only a line.", "Two\nlines.\n\nBody.", "x" * 121 + "\n\nBody.",
            "Another.\n\nMore of it.\n\nAnd more."]  # fmt: skip
    assert list(pairs(docs)) == [("One line.", "More of it.\n\nAnd more.")]


def test_the_library_gives_thousands_and_no_text_is_on_both_sides():
    found = pairs_of_the_library()
    assert len(found) > 1500
    assert len({body for _, body in found}) == len(found)
    data = DocstringSummariesDataModule(
        tokenizer=ByteTokenizer(), template="plain", seq_len=128, batch_size=2, seed=0, workers=0
    )
    data.prepare()
    assert 0.03 < data.val.size / len(found) < 0.1
    assert data.train.size + data.val.size == len(found)
    assert "cut (" in data.facts()["train"], "what did not fit is counted (N26)"
    lines = {body: line for line, body in found}
    for question in data.questions(20):
        assert lines[question.asked] == question.expected
    asked = {data._val_conversation(i).messages[0]["content"] for i in range(data.val.size)}
    assert len(asked) == data.val.size
