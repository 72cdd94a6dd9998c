"""What was given and is not used is counted by name, once, however often rows are walked."""

import json

import pytest

from datamodules.preference import PreferenceDataModule
from datamodules.reading.ignored import Field, Ignored, check_fields, in_words
from datamodules.text import TextDataModule
from errors import RequestError
from tokenization.byte import ByteTokenizer


def test_F4_columns_beside_the_known_ones_are_counted_and_nulls_are_not_given():
    ignored = Ignored()
    ignored.beside({"text"}, {"text": "a", "source": "web", "note": None})
    ignored.beside({"text"}, {"text": "a", "source": "book", "note": "x"})
    assert ignored == {"column 'source'": 2, "column 'note'": 1}
    assert in_words(ignored) == "not used: column 'source' (2), column 'note' (1)"
    assert in_words({}) == ""


def test_two_walks_over_the_same_count_once_and_a_walk_that_stops_early_takes_nothing_back():
    ignored = Ignored()

    def rows(fresh):
        for i in range(3):
            fresh["column 'a'"] += 1
            yield i

    assert list(ignored.walk(rows)) == list(ignored.walk(rows)) == [0, 1, 2]
    next(stopped := ignored.walk(rows))
    stopped.close()
    assert ignored == {"column 'a'": 3}


def test_F1_a_field_that_would_change_what_is_learned_is_refused_with_its_row():
    weight = {"weight": Field((), "how much a turn counts")}
    check_fields({"text": "a", "weight": None}, {}, weight, "x.jsonl, line 1")
    with pytest.raises(
        RequestError, match=r"x\.jsonl, line 2: column 'weight' \(how much a turn counts\) would change"
    ):
        check_fields({"text": "a", "weight": 0}, {}, weight, "x.jsonl, line 2")
    with pytest.raises(RequestError, match=r"line 3: column 'text' should be text \(it\), found int"):
        check_fields({"text": 3}, {"text": Field((str,), "it")}, {}, "line 3")


def test_F4_a_folder_of_text_says_what_it_passed_over(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"{name} has some text in it, and more of it.\n" * 20)
    for name in ("c.pdf", "d.PDF", "e.bin", "README", ".hidden.txt"):
        (folder / name).write_text("x")
    (folder / "empty.txt").touch()
    settings = {"tokenizer": ByteTokenizer(), "seq_len": 8, "batch_size": 2, "cache_dir": str(tmp_path / "cache")}
    data = TextDataModule(path=str(folder), **settings)
    data.prepare()
    assert data.ignored == {
        "file ending .pdf": 2, "file ending .bin": 1, "file without an ending": 1, "file that is hidden": 1,
        "file of 0 bytes": 1,
    }  # fmt: skip
    (folder / "f.pdf").write_text("x")  # no text: the token files are found again, and the count is of this start
    again = TextDataModule(path=str(folder), **settings)
    again.prepare()
    assert again.ignored["file ending .pdf"] == 3
    assert again.folder.path == data.folder.path


def test_F6_columns_of_pairs_are_counted_once_though_rows_are_read_for_both_sides(tmp_path):
    pairs = [{"prompt": f"Q{i}?", "chosen": "yes", "rejected": "no", "source": "web"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    data = PreferenceDataModule(
        path=str(tmp_path / "pairs.jsonl"), tokenizer=ByteTokenizer(), seq_len=64, batch_size=2, val_fraction=0.3
    )
    data.prepare()
    data.questions(2)
    assert data.ignored == {"column 'source'": 40}


def test_F4_a_folder_of_all_kinds_of_text_is_read_and_its_json_without_text_is_counted(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(5):
        (folder / f"page{i}.md").write_text(f"Markdown page {i} says something about topic {i}.\n" * 20)
    (folder / "list.json").write_text(json.dumps([{"text": "a json list document", "n": 1}] * 2))
    (folder / "package.json").write_text('{"name": "x"}')
    (folder / "page.pdf").write_text("x")
    data = TextDataModule(
        path=str(folder), tokenizer=ByteTokenizer(), seq_len=8, batch_size=2, cache_dir=str(tmp_path / "cache")
    )
    data.prepare()
    assert sum(data.folder.meta[side]["documents"] for side in ("train", "val")) == 7
    assert data.ignored == {"file ending .pdf": 1, "file ending .json without 'text'": 1, "column 'n'": 2}
