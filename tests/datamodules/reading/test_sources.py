"""What data.path may name, and what is said when it names nothing that can be read."""

import os

import pytest

from datamodules.reading import sources
from datamodules.reading.ignored import Ignored
from datamodules.reading.sources import FileSource, find_files
from errors import RequestError


def test_a_file_a_folder_and_a_glob(write, tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.jsonl", "notes.md", ".hidden.txt"):
        write(name, "x")
    names = lambda path: [f.relative_to(tmp_path).as_posix() for f in find_files(path)]  # noqa: E731
    assert names(str(tmp_path / "b.txt")) == ["b.txt"]
    assert names(str(tmp_path)) == ["a.txt", "b.txt", "notes.md", "sub/c.jsonl"]
    assert names(str(tmp_path / "*.txt")) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none.txt", r"data\.path=.*none\.txt: no such file or folder\. .* holds: bad\.doc, empty\.txt, folder"),
        ("*.csv", "no file matches this pattern"),
        ("empty.txt", r"empty, 0 bytes in 1 file"),
        ("folder", r"holds no file that can be read \(\.txt, \.text, \.md, .*; not used: file ending \.doc \(1\)"),
        ("bad.doc", r"bad\.doc has an unknown extension; expected \.txt"),
    ],
)
def test_nothing_to_read(path, words, write, tmp_path):
    write("empty.txt", "")
    write("bad.doc", "x")
    write("folder/readme.doc", "x")
    with pytest.raises(RequestError, match=words):
        find_files(str(tmp_path / path))


def test_F4_folders_that_are_not_entered_are_counted(write, tmp_path):
    write("all/a.txt", "a")
    write("all/deep/b.txt", "b")
    write("elsewhere/c.txt", "c")
    (tmp_path / "all/more").symlink_to(tmp_path / "elsewhere")
    for path, found, ignored in [
        ("all", ["a.txt", "b.txt"], {"link to a folder, which is not followed": 1}),
        ("all/*", ["a.txt"], {"folder that the pattern names beside files": 2}),
        ("all/**/*.txt", ["a.txt", "b.txt", "c.txt"], {}),
    ]:
        counted = Ignored()
        files = [file.name for file in find_files(f"{tmp_path}/{path}", ignored=counted)]
        assert (files, counted) == (found, ignored)


@pytest.mark.parametrize("path", [".", "..", "../here", "{here}"])
def test_what_runs_wrote_is_no_data_unless_it_is_asked_for(path, write, tmp_path, monkeypatch):
    for name in ("a.txt", "outputs/cache/1/merges.tsv", "outputs/crawl/docs/corpus.txt", "mine/outputs/b.txt"):
        write(f"here/{name}", "x")
    monkeypatch.chdir(tmp_path / "here")
    counted = Ignored()
    files = find_files(path.format(here=tmp_path / "here"), ignored=counted)
    assert [file.name for file in files] == ["a.txt", "b.txt"]
    assert counted == {"file below outputs/, where runs are written": 2}
    assert [file.name for file in find_files("outputs/crawl/docs")] == ["corpus.txt"]


@pytest.mark.parametrize(
    ("files", "column", "separator", "named"),
    [
        (["a.txt", "b.md"], "body", None, "data.text_column=body, as data.path names no file with columns"),
        (["a.jsonl"], "body", "--", "data.separator='--', as data.path names no plain text"),
        (["a.txt.gz"], "text", "--", None),
        (["a.txt", "b.jsonl"], "body", "--", None),
        (["a.tar"], "body", "--", None),
    ],
    ids=str,
)
def test_keys_that_no_file_uses_are_named(files, column, separator, named, write, tmp_path):
    for file in files:
        write(f"all/{file}", "x")
    found = sources.file_source("data.path", str(tmp_path / "all"), column, separator).ignored
    assert found == ({} if named is None else {named: 1})


def test_a_missing_file_that_can_be_fetched(tmp_path):
    with pytest.raises(
        RequestError, match=r"curl -L -o \S+/valid\.txt https://host/valid\.txt\nType data\.val_path=.* null"
    ):
        find_files(str(tmp_path / "d" / "valid.txt"), "data.val_path", "https://host/{name}")


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["sampled", "whole"])
def test_N8_fingerprint_follows_the_content(limit, write, monkeypatch):
    monkeypatch.setattr(sources, "HASH_WHOLE_BYTES", limit)
    path = write("a.txt", "x" * 300_000)

    def fingerprint(separator=None):
        return FileSource("x", (path,), "text", separator).fingerprint()

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(separator="|") != first
    stat = path.stat()
    write("a.txt", "x" * 299_999 + "y")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size and time: the sample sees the end
    assert fingerprint() != first
