"""A file is fetched once, and only the right one is taken."""

import hashlib

import pytest

from datamodules.reading import download, retry
from datamodules.reading.download import fetched
from datamodules.text import TextDataModule
from errors import RequestError, RunError
from tokenization.byte import ByteTokenizer

CONTENT = b"First Citizen: before we proceed any further, hear me speak.\n" * 9
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def page(tmp_path):
    (tmp_path / "input.txt").write_bytes(CONTENT)
    return (tmp_path / "input.txt").as_uri()


def test_it_is_fetched_once(page, tmp_path, monkeypatch):
    path = fetched(page, SHA256, tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    monkeypatch.setattr(download, "read", None)
    assert fetched(page, SHA256, tmp_path / "cache") == path


def test_another_file_is_refused_and_not_kept(page, tmp_path):
    with pytest.raises(RunError, match=r"(?s)another file than it was.*curl -L"):
        fetched(page, "0" * 64, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_no_network_says_how_to_fetch_it_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(retry.time, "sleep", lambda s: None)
    with pytest.raises(RunError, match=r"(?s)could not be fetched.*data\.path=FILE"):
        fetched((tmp_path / "nowhere.txt").as_uri(), SHA256, tmp_path / "cache")


def test_data_text_takes_it_where_no_path_is_given(page, tmp_path):
    def module(**keys) -> TextDataModule:
        given = {"seq_len": 8, "batch_size": 2, "cache_dir": str(tmp_path / "cache")}
        return TextDataModule(tokenizer=ByteTokenizer(), **given, **keys)

    data = module(path=None, url=page, sha256=SHA256)
    data.prepare()
    assert len(data.folder.train) + len(data.folder.val) == len(CONTENT)
    with pytest.raises(RequestError, match=r"data\.path=<"):
        module(path=None).prepare()
