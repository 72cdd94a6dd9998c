"""data=text from end to end: what goes in comes out, for every format; wrong requests in plain words."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.text import TextDataModule
from errors import RequestError
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer

DOCUMENTS = [f"Document {i}: grüße." for i in range(50)]


def prepared(path, tmp_path, **kwargs) -> TextDataModule:
    given = {"tokenizer": ByteTokenizer(), "cache_dir": str(tmp_path / "cache"), "seq_len": 8, "batch_size": 2}
    data = TextDataModule(path=str(path), **{**given, **kwargs})
    data.prepare()
    return data


def write_as(kind: str, folder: Path) -> Path:
    path = folder / f"corpus{kind}"
    lines = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(DOCUMENTS))
    if kind == ".txt":
        path.write_text("<|sep|>".join(DOCUMENTS))
    elif kind == ".parquet":
        pq.write_table(pa.table({"id": range(50), "text": DOCUMENTS}), path, row_group_size=7)
    else:
        path.write_bytes(gzip.compress(lines.encode()) if kind.endswith("gz") else lines.encode())
    return path


@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".jsonl.gz", ".parquet"])
def test_the_same_documents_in_every_format(kind, tmp_path):
    data = prepared(write_as(kind, tmp_path), tmp_path, separator="<|sep|>")
    texts = []
    for side in (data.folder.train, data.folder.val):
        ids = side.read(np.array([0]), len(side))[0]
        texts += data.tokenizer.decode(ids).split("<|endoftext|>")[:-1]
    assert sorted(texts) == sorted(DOCUMENTS)
    assert data.describe()["split"]["kind"] == "hash"


def test_F4_what_is_not_used_stands_among_the_facts_that_a_run_tells(tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    write_as(".parquet", folder)
    (folder / "paper.pdf").write_bytes(b"%PDF")
    os.mkfifo(folder / "pipe.txt")
    for _ in range(2):  # also where token files are there already
        said = prepared(folder, tmp_path).facts()["ignored"]
        assert said == "not used: column 'id' (50), file ending .pdf (1), file that is a pipe or a device (1)"
    assert "ignored" not in prepared(write_as(".txt", tmp_path), tmp_path).facts()


def test_N13_a_separator_that_looks_like_a_special_is_only_text(tmp_path):
    (tmp_path / "a.txt").write_text("one<|endoftext|>two" * 20)
    data = prepared(tmp_path / "a.txt", tmp_path)
    assert not any((ids == data.tokenizer.eot).any() for ids in data.folder.train.scan())


def test_given_validation(tmp_path):
    (tmp_path / "a.txt").write_text("training text " * 9)
    (tmp_path / "b.txt").write_text("validation text")
    data = prepared(tmp_path / "a.txt", tmp_path, val_path=str(tmp_path / "b.txt"))
    assert data.describe()["val"] == {"documents": 1, "bytes": 15, "tokens": 16}
    with pytest.raises(RequestError, match=r"data\.val_path=.*/c\.txt: no such file.*\n.*null to split"):
        prepared(tmp_path / "a.txt", tmp_path, val_path=str(tmp_path / "c.txt"))


def test_an_empty_separator_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"data\.separator is empty"):
        prepared("a.txt", tmp_path, separator="")


@pytest.mark.skipif("REAL_DATA" not in os.environ, reason="REAL_DATA names no folder")
def test_tinyshakespeare_is_split_as_nanogpt(tmp_path):
    data = prepared(Path(os.environ["REAL_DATA"]) / "tinyshakespeare.txt", tmp_path, tokenizer=CharTokenizer())
    assert data.tokenizer.n_text_ids == 65
    assert (len(data.folder.train), len(data.folder.val)) == (1_003_854, 111_540)


def test_keys_that_have_no_effect_beside_others_are_named(tmp_path):
    path = write_as(".txt", tmp_path)
    given = {"val_path": str(path), "val_fraction": 0.3, "stride": 3, "sampling": "random", "sha256": "0" * 64}
    assert prepared(path, tmp_path, **given).ignored == {
        "data.stride=3, as data.sampling=random draws where windows start": 1,
        "data.val_fraction=0.3, as data.val_path is given": 1,
        "data.sha256=000000000000, as data.path is given and nothing is fetched": 1,
    }
    assert prepared(path, tmp_path, val_fraction=0.3, stride=3, sampling="shuffle").ignored == {}
