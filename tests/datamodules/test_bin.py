"""data=bin: our own folders and nanoGPT's; whatever does not fit the tokenizer in use is refused (N8)."""

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from datamodules.bin import BinDataModule
from datamodules.preparing import token_folder
from errors import RequestError
from tokenization.base import Tokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer

TEXT = "hello world, " * 40


@pytest.fixture
def load(tmp_path):
    def from_folder(path: Path, tokenizer: Tokenizer | None = None, **kwargs) -> BinDataModule:
        given = {"tokenizer": tokenizer or ByteTokenizer(), "cache_dir": str(tmp_path / "checks"), "batch_size": 2}
        data = BinDataModule(path=str(path), **{"seq_len": 8, **given, **kwargs})
        data.prepare()
        return data

    return from_folder


@pytest.fixture
def ours(make) -> Path:
    """A folder that a text data module wrote, with the byte tokenizer."""
    data = make(TEXT)
    data.prepare()
    return data.folder.path


@pytest.fixture
def nanogpt(tmp_path) -> Path:
    """A folder as data/shakespeare_char/prepare.py of nanoGPT writes it."""
    folder = tmp_path / "shakespeare_char"
    folder.mkdir()
    chars = sorted(set(TEXT))
    ids = np.array([chars.index(c) for c in TEXT], dtype=np.uint16)
    ids[:400].tofile(folder / "train.bin")
    ids[400:].tofile(folder / "val.bin")
    tables = {"stoi": {c: i for i, c in enumerate(chars)}, "itos": dict(enumerate(chars)), "vocab_size": len(chars)}
    (folder / "meta.pkl").write_bytes(pickle.dumps(tables))
    return folder


def test_what_prepare_wrote_is_read(ours, load, make):
    data, text = load(ours), make(TEXT)
    text.prepare()
    assert data.fingerprint == text.fingerprint
    assert data.describe() == text.describe()
    assert data.tokenizer.decode(next(iter(data.val_dataloader()))["ids"][0]) == TEXT[int(len(TEXT) * 0.9) :][:8]


def test_several_shards_are_one_sequence(ours, load):
    whole = next(iter(load(ours).train_dataloader()))[0]["ids"].tolist()
    ids = np.fromfile(ours / "train.bin", dtype="<u2")
    (ours / "train.bin").unlink()
    for i, part in enumerate(np.array_split(ids, 5)):
        part.tofile(ours / f"train_{i:06}.bin")
    assert next(iter(load(ours).train_dataloader()))[0]["ids"].tolist() == whole


def test_N8_another_tokenizer_is_refused(ours, load):
    with pytest.raises(
        RequestError, match=r"made by another tokenizer than tokenizer=char: a byte.*\n.*tokenizer=byte"
    ):
        load(ours, CharTokenizer(chars="abc"))
    with pytest.raises(RequestError, match="another tokenizer"):
        load(ours, ByteTokenizer(specials=["<|endoftext|>", "<|user|>"]))


def test_N8_an_untrained_tokenizer_of_another_kind_is_refused_too(ours, load):
    with pytest.raises(RequestError, match=r"made by a byte tokenizer, not by tokenizer=char\.\nType tokenizer=byte"):
        load(ours, CharTokenizer())


def test_an_untrained_tokenizer_is_found_in_the_folder(make, load):
    data = make(TEXT, tokenizer=CharTokenizer())
    data.prepare()
    assert load(data.folder.path, CharTokenizer()).tokenizer.fingerprint == data.tokenizer.fingerprint


def test_nanogpts_folder_is_read_with_a_warning(nanogpt, load, caplog):
    with caplog.at_level(logging.WARNING):
        data = load(nanogpt, CharTokenizer())
    assert "has no meta.json" in caplog.text
    assert data.tokenizer.chars == "".join(sorted(set(TEXT)))
    assert data.tokenizer.decode(next(iter(data.val_dataloader()))["ids"][0]) == TEXT[400:408]
    assert data.describe()["train"] == {"documents": 1, "bytes": 400, "tokens": 400}
    assert len(data.fingerprint) == 64


def test_a_pickle_never_runs_code(nanogpt, load, tmp_path):
    mark = tmp_path / "mark"
    (nanogpt / "meta.pkl").write_bytes(b"cbuiltins\nopen\n(V" + str(mark).encode() + b"\nVw\ntR.")
    with pytest.raises(RequestError, match=r"not the meta\.pkl that nanoGPT writes.*builtins\.open"):
        load(nanogpt, CharTokenizer())
    assert not mark.exists()


def test_without_a_vocabulary_anywhere(nanogpt, load):
    (nanogpt / "meta.pkl").unlink()
    with pytest.raises(RequestError, match="tokenizer=char has no vocabulary"):
        load(nanogpt, CharTokenizer())


@pytest.mark.parametrize("side", ["train", "val"])
def test_N8_an_id_beyond_the_vocabulary_is_refused_at_load(side, nanogpt, load):
    ids = np.fromfile(nanogpt / f"{side}.bin", dtype=np.uint16)
    ids[-1] = 257
    ids.tofile(nanogpt / f"{side}.bin")
    with pytest.raises(RequestError, match=rf"{side}\.bin holds id 257, beyond the 257 ids of tokenizer=byte"):
        load(nanogpt)


def test_N8_ids_that_were_changed_after_the_fact_are_found(ours, load):
    load(ours)
    with (ours / "train.bin").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff")
    with pytest.raises(RequestError, match="holds id 65,535"):
        load(ours)


def test_documents_and_bytes_are_counted_where_nobody_says(make, load):
    data = make("ä short text", "another short text", "a third one", val_fraction=0.5)
    data.prepare()
    said = data.describe()
    (data.folder.path / "meta.json").unlink()
    counted = load(data.folder.path).describe()
    assert [counted["train"], counted["val"]] == [said["train"], said["val"]]


def test_N8_files_are_checked_once_until_they_change(nanogpt, load, monkeypatch):
    load(nanogpt)
    scans = []
    monkeypatch.setattr(token_folder.TokenFile, "scan", lambda self: scans.append(self) or iter([np.array([999])]))
    assert load(nanogpt).describe()["train"]["bytes"] == 400
    assert not scans
    with (nanogpt / "val.bin").open("ab") as file:
        file.write(b"\0\0")
    with pytest.raises(RequestError, match="holds id 999"):
        load(nanogpt)


def test_N8_ids_of_32_bits_without_meta_are_recognised(nanogpt, load):
    for side in ("train", "val"):
        np.fromfile(nanogpt / f"{side}.bin", dtype=np.uint16).astype("<u4").tofile(nanogpt / f"{side}.bin")
    with pytest.raises(RequestError, match="look like ids of 32 bits"):
        load(nanogpt)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "train.bin").write_bytes((f / "train.bin").read_bytes()[:-1]), "no whole number of uint16 ids"),
        (lambda f: (f / "val.bin").write_bytes((f / "val.bin").read_bytes()[:-2]), r"but meta\.json says 52"),
        (lambda f: (f / "val.bin").unlink(), r"holds no val\*\.bin; it holds meta\.json, tokenizer\.json"),
        (lambda f: (f / "meta.json").write_text("{}"), r"meta\.json is damaged"),
        (lambda f: set_dtype(f, "uint32"), r"ids of uint32, but meta\.json says|no whole number of uint32"),
    ],
)
def test_N8_a_damaged_folder_is_refused(damage, words, ours, load):
    damage(ours)
    with pytest.raises(RequestError, match=words):
        load(ours)


def set_dtype(folder: Path, dtype: str) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "dtype": dtype}))


def test_a_path_that_is_no_folder(ours, load, tmp_path):
    with pytest.raises(RequestError, match="not there; expected a folder with"):
        load(tmp_path / "none")
    with pytest.raises(RequestError, match="a file; expected a folder with"):
        load(ours / "train.bin")
