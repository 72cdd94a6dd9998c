"""Small corpora and data modules for the tests of this folder."""

from pathlib import Path

import pytest

from datamodules.text import TextDataModule
from tokenization.byte import ByteTokenizer


@pytest.fixture
def make(tmp_path):
    """Writes `texts` as one .txt file each and returns an unprepared TextDataModule over them; keywords as its own."""

    def build(*texts: str, folder: str = "corpus", **kwargs) -> TextDataModule:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        for i, text in enumerate(texts):
            (where / f"{i:03}.txt").write_text(text, encoding="utf-8", newline="")
        given = {"tokenizer": ByteTokenizer(), "path": str(where), "cache_dir": str(tmp_path / "cache")}
        return TextDataModule(**{**given, "seq_len": 8, "batch_size": 4, **kwargs})

    return build


@pytest.fixture
def write(tmp_path):
    """Writes a file of bytes or text, returns its path."""

    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to
