"""Windows out of token files: right over the borders of files, flat in memory, safe in other processes."""

import json
import pickle

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.batching.windows import RandomOrder, TrainSteps
from datamodules.preparing.token_files import TokenFile, document_ends, dtype_for, open_side, read_meta
from errors import RequestError, RunError

META = {
    "format": 1,
    "dtype": "uint16",
    "vocab_size": 257,
    "tokenizer_fingerprint": "0",
    "train": {"tokens": 1},
    "val": {"tokens": 1},
}


def shards(folder, *lengths: int) -> TokenFile:
    """Files that hold 0, 1, 2, ... over all of them."""
    at, paths = 0, []
    for i, n in enumerate(lengths):
        paths.append(folder / f"train_{i:02}.bin")
        np.arange(at, at + n, dtype="<u2").tofile(paths[-1])
        at += n
    return TokenFile(paths, "uint16")


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    starts=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    n=st.integers(1, 50),
)
def test_windows_cross_files_and_end_in_zeros(lengths, starts, n, tmp_path_factory):
    tokens = shards(tmp_path_factory.mktemp("shards"), *lengths)
    whole = np.concatenate([np.arange(sum(lengths)), np.zeros(120)]).astype(int)
    rows = tokens.read(np.array(starts), n)
    assert rows.tolist() == [whole[start : start + n].tolist() for start in starts]
    assert len(tokens) == sum(lengths)


def test_it_travels_to_other_processes(tmp_path):
    tokens = shards(tmp_path, 5, 5)
    tokens.read(np.array([0]), 3)
    again = pickle.loads(pickle.dumps(tokens))
    assert again._fds == []
    assert again.read(np.array([3]), 4).tolist() == [[3, 4, 5, 6]]


def test_scan_gives_all_ids_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.preparing.token_files.SCAN_TOKENS", 3)
    assert np.concatenate(list(shards(tmp_path, 4, 6).scan())).tolist() == list(range(10))


def test_N10_ten_thousand_windows_of_a_gigabyte_stay_flat(tmp_path):
    """A sparse file of 1 GiB of zeros: pages that are read count as ours all the same, if they are mapped."""
    path = tmp_path / "train.bin"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    tokens = TokenFile([path], "uint16")
    steps = TrainSteps(tokens, RandomOrder(len(tokens), 64, 64, 0), batch_size=100)
    steps[0]
    before = psutil.Process().memory_info().rss
    for step in range(1, 101):
        steps[step]
    assert psutil.Process().memory_info().rss - before < 50e6


def test_a_file_that_shrinks_during_the_run_is_named(tmp_path):
    tokens = shards(tmp_path, 100)
    (tmp_path / "train_00.bin").write_bytes(b"")
    with pytest.raises(RunError, match=r"train_00\.bin became shorter"):
        tokens.read(np.array([50]), 8)


def test_N8_an_odd_size_is_no_token_file(write):
    with pytest.raises(RequestError, match=r"7 bytes are no whole number of uint16 ids \(2 bytes each\)"):
        TokenFile([write("train.bin", b"1234567")], "uint16")


def test_N8_a_length_that_meta_denies_is_refused(tmp_path):
    shards(tmp_path, 10)
    with pytest.raises(RequestError, match=r"hold 10 ids of uint16, but meta\.json says 11"):
        open_side(tmp_path, "train", {"dtype": "uint16", "train": {"tokens": 11}})


def test_a_missing_side_lists_what_there_is(tmp_path):
    shards(tmp_path, 10)
    with pytest.raises(RequestError, match=r"holds no val\*\.bin; it holds train_00\.bin"):
        open_side(tmp_path, "val", {"dtype": "uint16"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 1}', "is damaged"),
        (json.dumps(META | {"dtype": "float8"}), "dtype 'float8'; known: uint16"),
        (json.dumps({key: value for key, value in META.items() if key != "vocab_size"}), "is damaged.*vocab_size"),
        ('{"format": 99}', "format 99, this program knows up to 2"),
        ("[" * 100_000, "is damaged.*nested too deeply"),
        ("null", "is damaged: it holds a NoneType"),
        (json.dumps(META | {"vocab_size": -1}), "is damaged: 'vocab_size' is -1"),
        (json.dumps(META | {"vocab_size": None}), "is damaged: 'vocab_size' is None"),
        (json.dumps(META | {"format": "2"}), "is damaged: 'format' is '2'"),
        (json.dumps(META | {"dtype": ["uint16"]}), "is damaged: dtype"),
        (json.dumps(META | {"train": {"tokens": 1.5}}), "'tokens' of 'train' is 1.5"),
        (json.dumps(META | {"val": {"tokens": 1, "bytes": "many"}}), "'bytes' of 'val' is 'many'"),
        (json.dumps(META | {"ignored": [1]}), "'ignored' is"),
    ],
)
def test_a_damaged_meta_is_refused(text, words, write):
    with pytest.raises(RequestError, match=words):
        read_meta(write("meta.json", text).parent)


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([3, 5], "ends at token 5, and there are 6"),
        ([3, 7], "ends at token 7, and there are 6"),
        ([5, 3, 6], "do not rise"),
        ([-2, 6], "do not rise"),
        ([1 << 62, 6], "do not rise"),
        (b"12345", "5 bytes are no whole number"),
    ],
)
def test_F28_ends_of_documents_are_checked_when_the_folder_is_opened(ends, words, tmp_path):
    np.arange(6, dtype="<u2").tofile(tmp_path / "val.bin")
    meta = {"dtype": "uint16", "val": {"tokens": 6}}
    for right in ([6], [3, 3, 6]):
        np.array(right, dtype="<i8").tofile(tmp_path / "val.docs")
        open_side(tmp_path, "val", meta)
    (tmp_path / "val.docs").write_bytes(ends if isinstance(ends, bytes) else np.array(ends, dtype="<i8").tobytes())
    with pytest.raises(RequestError, match=rf"val\.docs is damaged, or not of the ids beside it: .*{words}"):
        open_side(tmp_path, "val", meta)


def test_document_ends_are_found_by_the_end_of_text(tmp_path):
    np.array([7, 8, 0, 9, 0, 5], dtype="<u2").tofile(tmp_path / "val.bin")
    tokens = TokenFile([tmp_path / "val.bin"], "uint16")
    assert document_ends(tmp_path, "val", tokens, eot=0).tolist() == [3, 5, 6]
    assert document_ends(tmp_path, "val", tokens, eot=5).tolist() == [6]
    np.array([2, 6], dtype="<i8").tofile(tmp_path / "val.docs")
    assert document_ends(tmp_path, "val", tokens, eot=0).tolist() == [2, 6]


def test_N8_dtype_for():
    assert [dtype_for(n) for n in (257, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]
