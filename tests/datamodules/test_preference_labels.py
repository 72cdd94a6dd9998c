"""Labelled completions: both formats, labels as people write them, mismatched completions of other prompts."""

import json
from collections import Counter

import pytest

from datamodules.preference_labels import Labelled, PreferenceLabelsDataModule, labelled, mismatched
from datamodules.reading.ignored import Ignored
from errors import RequestError
from tokenization.byte import ByteTokenizer


def read(*rows):
    dropped = Counter()
    return list(labelled([(row, f"row {i}") for i, row in enumerate(rows)], dropped)), dropped


def test_both_formats_are_read_and_pairs_are_taken_apart():
    user = [{"role": "user", "content": "1+1?"}]
    found, dropped = read(
        {"prompt": "1+1?", "completion": "2", "label": True},
        {"prompt": user, "completion": [{"role": "assistant", "content": "3"}], "label": "False"},
        {"prompt": "1+1?", "chosen": "two", "rejected": "five"},
        {"prompt": "1+1?", "completion": " ", "label": 1},
    )
    assert [row.prompt for row in found] == [user] * 4
    assert [row[1:3] for row in found] == [("2", True), ("3", False), ("two", True), ("five", False)]
    assert dropped == {"a completion is empty": 1}


def test_F6_a_label_is_read_or_refused():
    for text, label in (("true", True), ("FALSE", False), ("1", True), (0, False)):
        assert read({"prompt": "q", "completion": "a", "label": text})[0][0].label is label
    with pytest.raises(RequestError, match=r"row 0: label 'good': expected true or false"):
        read({"prompt": "q", "completion": "a", "label": "good"})
    with pytest.raises(RequestError, match="expected 'prompt', 'completion' and 'label'"):
        read({"prompt": "q", "completion": "a"})


def test_mismatched_completions_are_of_other_prompts_and_each_used_about_once():
    rows = [Labelled([{"role": "user", "content": str(i // 2)}], f"{i}", i % 2 == 0) for i in range(40)]
    found = mismatched(rows, seed=3)
    assert all(other.prompt != row.prompt for row, other in zip(rows, found, strict=True))
    assert max(Counter(other.completion for other in found).values()) <= 2
    with pytest.raises(RequestError, match="all of one prompt"):
        mismatched([rows[0], rows[1]], seed=0)


def test_few_prompts_leave_two_to_both_sides(tmp_path):
    path = tmp_path / "few.jsonl"
    rows = [{"prompt": f"Say {i}", "completion": f"{i}!", "label": bool(i % 2)} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    module = PreferenceLabelsDataModule(tokenizer=ByteTokenizer(), path=str(path), seq_len=64, batch_size=2)
    module.prepare()
    assert len(module._tables["train"]) + len(module._tables["val"]) == 6
    assert min(len(table) for table in module._tables.values()) >= 2


def test_batches_have_labels(tmp_path):
    rows = [{"prompt": f"question {i}", "completion": f"answer {i}", "label": i % 3 == 0} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = PreferenceLabelsDataModule(
        path=str(tmp_path / "rows.jsonl"), tokenizer=ByteTokenizer(), seq_len=64, batch_size=8, val_fraction=0.3,
        template="plain",
    )  # fmt: skip
    data.prepare()
    assert data.facts()["train"].split()[1].startswith("completions")
    seen = {}
    for micro in data.epoch_batches():
        assert micro["labels"].shape == micro["index"].shape
        assert "margins" not in micro
        for ids, label, length in zip(micro["ids"], micro["labels"], micro["lengths"], strict=False):
            if length:
                text = data.tokenizer.decode(ids[:length].tolist(), skip_specials=True)
                seen[int("".join(filter(str.isdigit, text.split("answer")[1])))] = bool(label)
    assert seen == {i: i % 3 == 0 for i in range(60)}
    assert all(question.expected == question.asked.replace("question", "answer") for question in data.questions(9))


def test_what_is_about_rows_of_a_file_needs_one(tmp_path):
    given = {"tokenizer": ByteTokenizer(), "seq_len": 64, "batch_size": 2}
    with pytest.raises(RequestError, match=r"data\.val_path=own\.jsonl is about rows of data\.path"):
        PreferenceLabelsDataModule(val_path="own.jsonl", **given)
    data = PreferenceLabelsDataModule(path="x.jsonl", pairs=7, **given)
    assert data.ignored == {"data.pairs=7, as data.path is given": 1}


def test_margins_of_pairs_that_are_taken_apart_are_counted():
    ignored = Ignored()
    rows = [({"prompt": "q?", "chosen": "a", "rejected": "b", "margin": m}, "row") for m in (0.5, None)]
    assert len(list(labelled(rows, Counter(), ignored))) == 4
    assert ignored == {"column 'margin'": 1}
