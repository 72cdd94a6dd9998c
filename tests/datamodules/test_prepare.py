"""Token files are written whole or not at all, found again by what decides them, and know their tokenizer."""

import errno
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datamodules import prepare
from datamodules.prepare import prepare_tokens
from datamodules.sources import FileSource
from errors import Interrupted, RequestError, RunError
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer

TEXT = "".join(f"{i} green bottles hanging on the wall\n" for i in range(300))


@pytest.fixture
def build(write, tmp_path):
    """Prepares the text given (a list: several files) and returns the folder and the tokenizer."""

    def go(text=TEXT, tokenizer=None, val_text=None, **kwargs):
        def source(name, text):
            texts = [text] if isinstance(text, str) else text
            return FileSource(name, tuple(write(f"{name}{i}.txt", t) for i, t in enumerate(texts)), "text", None)

        given = {"val_fraction": 0.1, "cache_dir": tmp_path / "cache", "tokenizer": tokenizer or ByteTokenizer()}
        val_source = source("val", val_text) if val_text else None
        return prepare_tokens(source=source("text", text), val_source=val_source, **{**given, **kwargs})

    return go


def meta(folder: Path) -> dict:
    return json.loads((folder / "meta.json").read_text())


def ids(folder: Path, side: str) -> np.ndarray:
    return np.fromfile(folder / f"{side}.bin", dtype="<u2")


def test_one_document_by_position_without_an_end(build):
    folder, tokenizer = build()
    cut = int(len(TEXT) * 0.9)
    assert tokenizer.decode(ids(folder, "train")) == TEXT[:cut]
    assert tokenizer.decode(ids(folder, "val")) == TEXT[cut:]
    assert meta(folder)["split"]["kind"] == "position"


def test_documents_end_with_eot_and_their_ends_are_kept(build):
    texts = [f"document {i} é" for i in range(40)]
    folder, tokenizer = build(texts)
    found = []
    for side in ("train", "val"):
        starts = [0, *(ends := np.fromfile(folder / f"{side}.docs", dtype="<i8").tolist())]
        for start, end in zip(starts, ends, strict=False):
            *text, last = ids(folder, side)[start:end]
            assert last == tokenizer.eot
            found.append(tokenizer.decode(text))
        counts = meta(folder)[side]
        assert counts["documents"] == len(ends)
        assert counts["bytes"] == counts["tokens"] - len(ends)
    assert sorted(found) == sorted(texts)


def test_N8_meta_says_all_that_a_reader_needs(build):
    folder, tokenizer = build(tokenizer=CharTokenizer())
    m = meta(folder)
    assert m["tokenizer_fingerprint"] == tokenizer.fingerprint
    assert (m["dtype"], m["vocab_size"], m["tokenizer"]) == ("uint16", tokenizer.vocab_size, "char")
    assert len(m["source_fingerprint"]) == 64
    assert m["train"]["tokens"] + m["val"]["tokens"] == len(TEXT)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_535, "uint16"), (65_536, "uint16"), (65_537, "uint32")])
def test_N8_the_vocabulary_decides_the_width(vocab_size, dtype, build, monkeypatch):
    monkeypatch.setattr(ByteTokenizer, "vocab_size", vocab_size)
    monkeypatch.setattr(ByteTokenizer, "eot", vocab_size - 1)
    folder, tokenizer = build(["a", "b"])
    assert meta(folder)["dtype"] == dtype
    assert np.fromfile(folder / "train.bin", dtype=f"<u{int(dtype[4:]) // 8}")[-1] == tokenizer.eot


def test_N8_S34_reused_by_content_and_rebuilt_when_anything_changes(build):
    first, _ = build()
    before = (first / "meta.json").stat().st_mtime_ns
    again, _ = build()
    assert again == first
    assert (again / "meta.json").stat().st_mtime_ns == before  # not written again
    changed = [
        build(TEXT + "more")[0],
        build(tokenizer=CharTokenizer())[0],
        build(tokenizer=ByteTokenizer(specials=["<|endoftext|>", "<|user|>"]))[0],
        build(val_fraction=0.2)[0],
        build(val_text="other")[0],
        build(val_text="another")[0],
    ]
    assert len({first, *changed}) == 7


def test_an_untrained_tokenizer_comes_back_from_the_cache(build):
    _, trained = build(tokenizer=CharTokenizer())
    _, loaded = build(tokenizer=CharTokenizer())
    assert loaded.fingerprint == trained.fingerprint


def test_char_knows_characters_that_only_validation_has(build):
    folder, tokenizer = build(TEXT, CharTokenizer(), val_text="ÿ only here")
    assert tokenizer.decode(ids(folder, "val"), skip_specials=True) == "ÿ only here"


def test_a_trained_tokenizer_that_lacks_a_character_names_the_document(build):
    tokenizer = CharTokenizer(chars="abc")
    with pytest.raises(RequestError, match=r"(?s)text, document 1, from its character 0 on:.*'0' .*at character 0"):
        build(tokenizer=tokenizer)


@pytest.mark.parametrize("name", ["train.bin", "meta.json", "tokenizer.json"])
def test_S34_a_damaged_cache_is_written_anew(name, build, caplog):
    folder, _ = build()
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        build()
    assert (folder / name).read_bytes() == whole
    assert "the cache is damaged" in caplog.text


def failing(error: BaseException):
    def write(self, text, n_bytes):
        self.ids.write(b"half")
        raise error

    return write


@pytest.mark.parametrize(
    ("error", "becomes", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            RunError,
            r"bytes are free\.\nMake room, or type data\.cache_dir",
        ),
        (OSError(errno.EROFS, "Read-only file system"), RequestError, r"type data\.cache_dir|Type data\.cache_dir"),
        (OSError(errno.EIO, "Input/output error"), RunError, "Input/output error"),
        (Interrupted(15), Interrupted, "signal 15"),
    ],
)
def test_whatever_stops_it_leaves_no_half_file(error, becomes, words, build, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare.SideWriter, "write", failing(error))
    with pytest.raises(becomes, match=words):
        build()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_is_a_file_is_named(build, write, tmp_path):
    with pytest.raises(RequestError, match=r"Type data\.cache_dir="):
        build(cache_dir=write("file", "x"))


SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from datamodules import prepare, sources
from tokenization.byte import ByteTokenizer
write = prepare.SideWriter.write
def slow(self, text, n):
    write(self, text, n); self.ids.flush(); print("writing", flush=True); time.sleep(60)
prepare.SideWriter.write = slow
source, cache = sources.FileSource("text", (Path(sys.argv[2]),), "text", None), Path(sys.argv[3])
prepare.prepare_tokens(source=source, val_source=None, tokenizer=ByteTokenizer(), val_fraction=0.1, cache_dir=cache)
"""


def test_a_kill_leaves_nothing_that_is_read_and_is_cleared_later(build, write, tmp_path):
    root, cache = str(Path(prepare.__file__).parents[1]), tmp_path / "cache"
    command = [sys.executable, "-c", SLOW, root, str(write("text0.txt", TEXT)), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    (left,) = cache.iterdir()
    assert left.name.startswith(".")
    old = time.time() - 2 * prepare.STALE_S
    os.utime(left, (old, old))
    folder, _ = build()
    assert list(cache.iterdir()) == [folder]


def test_several_processes_prepare_the_same(build, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=build) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    (folder,) = (tmp_path / "cache").iterdir()
    assert prepare.reusable(folder)


@pytest.mark.parametrize("fraction", [1e-9, 0.1, 1 - 1e-9])
def test_of_two_documents_one_validates(fraction, build):
    folder, _ = build(["a first document", "a second document"], val_fraction=fraction)
    assert [meta(folder)[side]["documents"] for side in ("train", "val")] == [1, 1]


@pytest.mark.parametrize("texts", [[" \n", "\n\n"], [" \n", "only one with text"]])
def test_too_little_text_for_both_sides(texts, build):
    with pytest.raises(RequestError, match=r"no text is left for the (train|val) side \(train: [01] documents, val: 0"):
        build(texts)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_val_fraction_out_of_range(fraction, build):
    with pytest.raises(RequestError, match=r"data\.val_fraction"):
        build(val_fraction=fraction)


def test_N12_a_planted_duplicate_is_reported(build):
    planted = "A planted document of one line that is long enough to count."
    folder, _ = build([planted, "something else"], val_text=planted)
    assert meta(folder)["overlap"]["duplicate_documents"] == 1
    assert meta(folder)["overlap"]["val_line_share"] == 1.0
    line = "This line of more than forty characters is in both parts.\n"
    folder, _ = build(line + TEXT + line)
    assert meta(folder)["overlap"]["val_lines_in_train"] == 1


def test_of_two_that_prepare_the_same_the_first_wins(build, monkeypatch):
    """Another process finishes while this one is still writing."""
    write_both, first = prepare.write_both, []

    def slower(*args):
        if not first:
            first.append(None)
            first.append(build()[0])
        return write_both(*args)

    monkeypatch.setattr(prepare, "write_both", slower)
    folder, _ = build()
    assert first[1] == folder
    assert list(folder.parent.iterdir()) == [folder]


def test_a_document_without_text_is_none(tmp_path):
    with prepare.SideWriter(tmp_path, "val", ByteTokenizer()) as writer:
        writer.write("", 0)
        assert not writer.end_document(add_eot=True)
    assert writer.counts["documents"] == writer.counts["tokens"] == 0
