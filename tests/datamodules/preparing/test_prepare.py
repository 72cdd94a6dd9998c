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

from datamodules.preparing import encoding, prepare, work_folder
from datamodules.preparing import workers as workers_module
from datamodules.preparing.prepare import Target, prepare_tokens
from datamodules.reading import readers
from datamodules.reading.readers import text_pieces
from datamodules.reading.sources import FileSource
from errors import Interrupted, RequestError, RunError, WorkerKilled
from tests.datamodules import dying_worker
from tests.tokenization.hub_like import gpt2_like, llama_like
from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.hf import HFTokenizer

TEXT = "".join(f"{i} green bottles hanging on the wall\n" for i in range(300))


@pytest.fixture
def build(write, tmp_path):
    """Prepares the text given (a list: several files) and returns the folder and the tokenizer."""

    def go(text=TEXT, tokenizer=None, val_text=None, **kwargs):
        def source(name, text):
            texts = [text] if isinstance(text, str) else text
            return FileSource(name, tuple(write(f"{name}{i}.txt", t) for i, t in enumerate(texts)), "text", None)

        given = {"val_fraction": 0.1, "tokenizer": tokenizer or ByteTokenizer()}
        where = {key: kwargs.pop(key) for key in ("cache_dir", "out", "shard_tokens", "workers") if key in kwargs}
        target = Target(**{"cache_dir": tmp_path / "cache", **where})
        val_source = source("val", val_text) if val_text else None
        return prepare_tokens(source=source("text", text), val_source=val_source, target=target, **{**given, **kwargs})

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
    def write(self, part):
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
    ],
)
def test_whatever_stops_it_leaves_no_half_file(error, becomes, words, build, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare.SideWriter, "write", failing(error))
    with pytest.raises(becomes, match=words):
        build()
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_interruption_keeps_what_was_done(build, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare.SideWriter, "write", failing(Interrupted(15)))
    with pytest.raises(Interrupted):
        build()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".part"]
    monkeypatch.undo()
    folder, tokenizer = build()
    assert tokenizer.decode(ids(folder, "train")) == TEXT[: int(len(TEXT) * 0.9)]


def test_a_cache_folder_that_is_a_file_is_named(build, write, tmp_path):
    with pytest.raises(RequestError, match=r"Type data\.cache_dir="):
        build(cache_dir=write("file", "x"))


SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from datamodules.preparing import encoding
from datamodules.preparing import prepare
from datamodules.reading import sources
from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
encoding.PART_BYTES = 1000
write, n = prepare.SideWriter.write, 0
def slow(self, part):
    global n
    n += 1
    write(self, part)
    if n == 5:
        self.ids.flush(); print("writing", flush=True); time.sleep(60)
prepare.SideWriter.write, prepare.SAVE_EVERY_S = slow, 0
source = sources.FileSource("text", tuple(map(Path, sys.argv[3:])), "text", None)
target = prepare.Target(Path(sys.argv[2]), workers=0)
prepare.prepare_tokens(source=source, val_source=None, tokenizer=ByteTokenizer(), val_fraction=0.1, target=target)
"""
MANY = [f"document {i}\n" + TEXT[i : i + 600] for i in range(30)]


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_kill_keeps_the_parts_that_were_done(build, write, tmp_path, monkeypatch):
    """The same bytes as without the kill, and nothing that was done is done again."""
    monkeypatch.setattr(encoding, "PART_BYTES", 1000)
    root, cache = str(Path(prepare.__file__).parents[2]), tmp_path / "killed"
    files = [str(write(f"text{i}.txt", text)) for i, text in enumerate(MANY)]
    with subprocess.Popen([sys.executable, "-c", SLOW, root, str(cache), *files], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    (left,) = cache.iterdir()
    done = json.loads((left / "progress.json").read_text())["parts"]
    assert done >= 2
    encoded = []
    encode = ByteTokenizer.encode
    monkeypatch.setattr(ByteTokenizer, "encode", lambda self, text: encoded.append(text) or encode(self, text))
    folder, _ = build(MANY, cache_dir=cache, workers=0)
    assert not any(text in encoded for text in MANY[: 2 * done - 2])
    monkeypatch.undo()
    monkeypatch.setattr(encoding, "PART_BYTES", 1000)
    whole, _ = build(MANY, workers=0)
    assert folder_bytes(folder) == folder_bytes(whole)
    assert list(cache.iterdir()) == [folder]


def test_what_was_left_long_ago_is_removed(build, tmp_path):
    left = tmp_path / "cache" / f".{'0' * 16}.part"
    left.mkdir(parents=True)
    old = time.time() - 2 * work_folder.STALE_S
    os.utime(left, (old, old))
    folder, _ = build()
    assert list((tmp_path / "cache").iterdir()) == [folder]


def test_several_processes_prepare_the_same_and_one_does_the_work(build, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=build) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    (folder,) = (tmp_path / "cache").iterdir()
    assert prepare.reusable(folder, meta(folder)["key"])


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("shard_tokens", [None, 777])
def test_the_files_are_the_same_whatever_the_number_of_workers(workers, shard_tokens, build, tmp_path, monkeypatch):
    one, _ = build(MANY, workers=0, cache_dir=tmp_path / "one")
    monkeypatch.setattr(encoding, "PART_BYTES", 1500)
    many, _ = build(MANY, workers=workers, shard_tokens=shard_tokens)
    for side in ("train", "val"):
        paths = sorted(many.glob(f"{side}*.bin"))
        assert b"".join(path.read_bytes() for path in paths) == (one / f"{side}.bin").read_bytes()
        assert (many / f"{side}.docs").read_bytes() == (one / f"{side}.docs").read_bytes()
        assert meta(many)[side] == meta(one)[side]
        if shard_tokens:
            assert [path.stat().st_size for path in paths[:-1]] == [2 * shard_tokens] * (len(paths) - 1)
    assert meta(many)["overlap"] == meta(one)["overlap"]


def test_a_refusal_in_a_worker_reads_as_in_this_process(build, monkeypatch):
    monkeypatch.setattr(encoding, "PART_BYTES", 1500)
    with pytest.raises(RequestError, match=r"(?s)text, document 1, from its character 0 on:.*'d' .*at character 0"):
        build(MANY, CharTokenizer(chars="abc"), workers=2)


def test_data_out_takes_the_files_and_is_found_again(build, tmp_path):
    folder, _ = build(out=tmp_path / "out")
    assert folder == tmp_path / "out"
    before = (folder / "meta.json").stat().st_mtime_ns
    build(out=tmp_path / "out")
    assert (folder / "meta.json").stat().st_mtime_ns == before


def test_F17_data_out_is_never_emptied_of_what_is_not_ours(build, tmp_path):
    out = tmp_path / "out"
    build(out=out)
    (out / "train.bin").write_bytes(b"cut")
    (out / "notes.txt").write_text("mine")
    (out / "models").mkdir()
    (out / "models/best.pt").write_text("mine too")
    with pytest.raises(RequestError, match=r"data.out=.* holds models/best.pt, notes.txt: not written by this program"):
        build(out=out)
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "models/best.pt").read_text() == "mine too"
    (out / "notes.txt").unlink()
    (out / "models/best.pt").unlink()
    (out / "models").rmdir()
    build(out=out)
    assert len(ids(out, "train")) > 1


def test_F17_a_folder_of_that_name_is_not_a_part_of_ours(build, tmp_path):
    """Beside data.out: neither emptied as begun, nor removed as left long ago."""
    for name in (".out.part", ".other.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("mine")
        os.utime(tmp_path / name / "thesis.txt", (0, 0))
        os.utime(tmp_path / name, (0, 0))
    with pytest.raises(RequestError, match=r"holds thesis.txt"):
        build(out=tmp_path / "out")
    assert (tmp_path / ".out.part/thesis.txt").read_text() == "mine"
    assert (tmp_path / ".other.part/thesis.txt").read_text() == "mine"


def test_S34_data_out_that_holds_something_else_is_stale(build, tmp_path):
    build(out=tmp_path / "out")
    with pytest.raises(RequestError, match=r"(?s)stale: it holds meta\.json.*rm -r"):
        build(TEXT + "more", out=tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(RequestError, match=r"holds thesis\.tex"):
        build(out=tmp_path / "mine")


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
    planted = "A planted document of one line that is long enough to be compared by its letters, and to be found. " * 5
    folder, _ = build([planted, "something else"], val_text=planted)
    assert meta(folder)["overlap"]["duplicate_documents"] == 1
    assert meta(folder)["overlap"]["near_duplicate_documents"] == 1
    assert meta(folder)["overlap"]["val_share"] == 1.0


def test_N14_what_the_tokenizer_loses_is_measured(build, monkeypatch):
    decode = ByteTokenizer.decode
    monkeypatch.setattr(ByteTokenizer, "decode", lambda self, ids: decode(self, ids).replace("green", "gren"))
    folder, _ = build()
    lost = meta(folder)["round_trip"]
    assert lost["lost_bytes"] / lost["checked_bytes"] == pytest.approx(1 / (len(TEXT) / 300), rel=0.1)  # one a line
    monkeypatch.undo()
    folder, _ = build(TEXT + " ")
    assert meta(folder)["round_trip"] == {"checked_bytes": len(TEXT) + 1, "lost_bytes": 0}


def test_a_document_without_text_is_none(build):
    folder, _ = build(["", "text of a document"], val_text="validation")
    assert meta(folder)["train"]["documents"] == 1


@pytest.mark.parametrize("like", [gpt2_like, llama_like])
def test_ids_on_disk_are_those_of_whole_documents_though_files_come_in_pieces(like, build, tmp_path, monkeypatch):
    tokenizer = HFTokenizer(name=str(like(tmp_path / "hub")))
    texts = ["".join(f"Line {i}.\n\n\n  and_\nmore {i}\r\n" for i in range(n)) for n in (30, 40, 50)]
    monkeypatch.setattr(readers, "text_pieces", lambda path: text_pieces(path, 64))
    monkeypatch.setattr(encoding, "PART_BYTES", 300)
    folder, _ = build(texts, tokenizer, texts[0], workers=0)
    whole = [i for text in texts for i in [*tokenizer.encode(text).tolist(), tokenizer.eot]]
    assert ids(folder, "train").tolist() == whole


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_write_the_same_files_as_none(workers, build, tmp_path, monkeypatch):
    """Where the tokenizer encodes without Python's lock, there are threads instead of processes."""
    tokenizer = BPETokenizer(vocab_size=300, train_bytes=10**6)
    tokenizer.train([TEXT])
    one, _ = build(MANY, tokenizer, workers=0, cache_dir=tmp_path / "one")
    monkeypatch.setattr(encoding, "PART_BYTES", 1500)
    monkeypatch.setattr(workers_module, "ProcessPoolExecutor", None)
    many, _ = build(MANY, tokenizer, workers=workers)
    assert folder_bytes(many).keys() == folder_bytes(one).keys()
    for name in ("train.bin", "val.bin", "train.docs", "val.docs"):
        assert (many / name).read_bytes() == (one / name).read_bytes()


def interrupted_after(n: int, side_writer=prepare.SideWriter):
    """A `write` that is interrupted at its call number `n`."""
    write, calls = side_writer.write, iter(range(1, 10**6))

    def go(self, part):
        if next(calls) == n:
            raise Interrupted(15)
        write(self, part)

    return go


@pytest.mark.parametrize("tokenizer", [ByteTokenizer, CharTokenizer])
def test_S34_another_text_takes_nothing_from_what_an_interruption_left(tokenizer, build, tmp_path, monkeypatch):
    """Into the same data.out: neither the parts nor the tokenizer of the first text are for the second."""
    monkeypatch.setattr(encoding, "PART_BYTES", 1000)
    out, others = tmp_path / "out", [text.upper() + "§" for text in MANY]
    monkeypatch.setattr(prepare.SideWriter, "write", interrupted_after(9))
    with pytest.raises(Interrupted):
        build(MANY, tokenizer(), out=out, workers=0)
    assert json.loads((tmp_path / ".out.part" / "progress.json").read_text())["parts"] >= 2
    monkeypatch.undo()
    monkeypatch.setattr(encoding, "PART_BYTES", 1000)
    folder, _ = build(others, tokenizer(), out=out, workers=0)
    whole, _ = build(others, tokenizer(), workers=0)
    assert folder_bytes(folder) == folder_bytes(whole)


def test_S34_data_out_that_another_process_filled_meanwhile_is_kept(build, tmp_path, monkeypatch):
    out, plan = tmp_path / "out", prepare.plan_split

    def slow(*args):
        monkeypatch.setattr(prepare, "plan_split", plan)
        build("another text\n" * 300, out=out)
        return plan(*args)

    monkeypatch.setattr(prepare, "plan_split", slow)
    with pytest.raises(RequestError, match="is stale"):
        build(out=out)
    assert bytes(ids(out, "train")[:7].astype("u1")) == b"another"
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out"]


def test_a_killed_worker_leaves_what_is_done(build, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "PART_BYTES", 1500)
    with monkeypatch.context() as patch:
        patch.setattr(workers_module, "work", dying_worker.work)
        with pytest.raises(WorkerKilled, match="what is done is kept"):
            build(MANY, workers=1)
    (left,) = (tmp_path / "cache").iterdir()
    assert json.loads((left / "progress.json").read_text())["parts"] >= 2
    folder, _ = build(MANY, workers=0)
    whole, _ = build(MANY, workers=0, cache_dir=tmp_path / "whole")
    assert folder_bytes(folder) == folder_bytes(whole)


@pytest.mark.parametrize("side", ["train", "val"])
def test_few_documents_in_shards_that_all_fell_to_one_side(side, build, tmp_path, monkeypatch):
    """They are written again with another threshold, and of the first time no shard may stay."""
    fraction = {"train": 1e-9, "val": 1 - 1e-9}[side]
    folder, _ = build(["a first document", "a second document, a longer one"], val_fraction=fraction, shard_tokens=4)
    for name in ("train", "val"):
        shards = sorted(folder.glob(f"{name}*.bin"))
        assert sum(path.stat().st_size for path in shards) == 2 * meta(folder)[name]["tokens"]
    assert prepare.reusable(folder, meta(folder)["key"])
