"""Readers give exactly the text that is there, and say where and why they cannot."""

import gzip
import io
import json
import tarfile
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.reading.ignored import Ignored
from datamodules.reading.readers import read_txt, reader_for, split_pieces, text_pieces
from errors import RequestError


def texts(documents) -> list[str]:
    return ["".join(document) for document in documents]


def read(path, column="text", ignored=None) -> list[str]:
    found = Ignored() if ignored is None else ignored
    return texts(reader_for(path)(path, text_column=column, separator=None, ignored=found))


@given(text=st.text(alphabet="ab é\n\r\U0001f600"), size=st.integers(1, 9))
def test_pieces_join_to_the_text_whatever_their_size(text, size, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "pieces.txt"
    path.write_bytes(text.encode())
    pieces = list(text_pieces(path, size))
    assert "".join(pieces) == text
    for before, after in pairwise(pieces):
        assert before[-1].isalnum() != after[0].isalnum()


def test_a_long_text_without_any_newline_still_comes_in_pieces(write, monkeypatch):
    monkeypatch.setattr("datamodules.reading.readers.PIECE_BYTES", 100)
    pieces = list(text_pieces(write("a.txt", "x" * 1000), 100))
    assert len(pieces) > 2
    assert "".join(pieces) == "x" * 1000


def test_a_byte_order_mark_is_no_text(write):
    assert texts(read_txt(write("a.txt", "\ufeffab"), separator=None)) == ["ab"]


@given(pieces=st.lists(st.text(alphabet="ab|-")), separator=st.sampled_from(["|", "|-", "-|-", "aa"]))
def test_separators_are_found_across_pieces(pieces, separator):
    assert list(split_pieces(pieces, separator)) == "".join(pieces).split(separator)


@pytest.mark.parametrize("at", [0, 5, 2**20 - 1, 2**20, 2**21 + 7])
def test_not_utf8_names_the_byte_and_its_offset(at, write):
    path = write("a.txt", b"a" * at + b"\xff" + b"b" * 10)
    with pytest.raises(RequestError, match=f"(?s)not UTF-8: byte 0xff at offset {at:,}.*iconv"):
        texts(read_txt(path, separator=None))


def test_a_character_cut_off_at_the_end_is_not_utf8(write):
    with pytest.raises(RequestError, match="byte 0xc3 at offset 3"):
        texts(read_txt(write("a.txt", "aaaé".encode()[:-1]), separator=None))


def test_utf16_is_recognised(write):
    with pytest.raises(RequestError, match="iconv -f UTF-16"):
        texts(read_txt(write("a.txt", "abc".encode("utf-16")), separator=None))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_jsonl(name, write):
    lines = "\n".join(json.dumps(r) for r in [{"text": "one\n"}, {"text": None}, {"text": "zwölf", "n": 1}]) + "\n\n"
    path = write(name, gzip.compress(lines.encode()) if name.endswith("gz") else lines)
    assert read(path) == ["one\n", "zwölf"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "line 2: not JSON"),
        (b"[1]", "line 2: expected a JSON object with 'text', found list"),
        (b'{"body": "x", "id": 1}', r"line 2: no column 'text'; there are 'body', 'id'\.\nType data\.text_column="),
        (b'{"text": 7}', "line 2: 'text' should be text, found int"),
        (b'{"text": "\xff"}', "not UTF-8: byte 0xff at offset 25"),
    ],
)
def test_jsonl_errors_name_the_line(line, words, write):
    with pytest.raises(RequestError, match=words):
        read(write("a.jsonl", b'{"text": "ok"}\n' + line + b"\n"))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-12], lambda b: b"no gzip at all", lambda b: b[:40] + b"?" * 9 + b[49:]]
)
def test_a_damaged_gz_is_refused(damage, write):
    whole = gzip.compress(b"".join(b'{"text": "%d"}\n' % i for i in range(500)))
    with pytest.raises(RequestError, match=r"damaged or cut off|not JSON|not UTF-8"):
        read(write("a.jsonl.gz", damage(whole)))


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one", None, "zwölf"], "n": [1, 2, 3]}), path)
    assert read(path) == ["one", "zwölf"]
    with pytest.raises(RequestError, match="no column 'body'; there are 'text', 'n'"):
        read(path, "body")
    with pytest.raises(RequestError, match="'n' should be text, found int64"):
        read(path, "n")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RequestError, match="damaged, cut off or no Parquet"):
        read(path)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.md", "# A\n\nb", ["# A\n\nb"]),
        ("a.RST", "A\n=\n", ["A\n=\n"]),
        ("a.text", "\ufeffa", ["a"]),
        ("a.TXT.GZ", gzip.compress(b"packed", mtime=0), ["packed"]),
        ("a.md.zst", pa.compress(b"packed", codec="zstd", asbytes=True), ["packed"]),
        ("a.json", '[{"text": "a"}, {"text": "b", "n": 1}]', ["a", "b"]),
        ("b.json", '{"text": "a"}', ["a"]),
        ("c.json", '["a", "b"]', ["a", "b"]),
        ("d.json", '{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        ("e.json.gz", gzip.compress(b'{"text": "a"}\n\n{"text": "b"}\n', mtime=0), ["a", "b"]),
        ("a.tsv", 'n\ttext\n1\t"a\n', ['"a']),
        ("a.csv", "n;text\n1;a, b\n", ["a, b"]),
    ],
)
def test_F4_every_kind_of_text(name, data, expected, write):
    assert read(write(name, data)) == expected


def test_F4_a_page_gives_its_main_text(write):
    body = "<p>" + "The harbour was quiet that morning, and the boats lay still in the grey water. " * 8 + "</p>"
    page = f"<html><body><nav><a href='/'>Home</a></nav><main><h1>Boats</h1>{body}</main></body></html>"
    ignored = Ignored()
    (text,) = read(write("a.html", page), ignored=ignored)
    assert "The harbour was quiet" in text
    assert "<p>" not in text
    assert "Home" not in text
    assert read(write("b.html", "<html><body></body></html>"), ignored=ignored) == []
    assert ignored == {"file ending .html without text": 1}


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.TGZ", "w:gz")])
def test_F4_an_archive_of_texts(name, mode, tmp_path):
    with tarfile.open(tmp_path / name, mode) as archive:
        for member, text in (("d/a.txt", "one"), ("d/b.md", "two"), ("d/c.pdf", "x"), ("d/d.txt", "three")):
            info = tarfile.TarInfo(member)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
        for member, kind in (("d/e.txt", tarfile.SYMTYPE), ("d/.f.txt", tarfile.REGTYPE), ("g", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(member)
            info.type, info.linkname = kind, "a.txt"
            archive.addfile(info)
    ignored = Ignored()
    assert read(tmp_path / name, ignored=ignored) == ["one", "two", "three"]
    assert ignored == {
        "file ending .pdf in an archive": 1, "file that is a link or a device in an archive": 1,
        "file that is hidden in an archive": 1,
    }  # fmt: skip
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20] if name != "a.tar" else b"x" * 600)
    with pytest.raises(RequestError, match="damaged or cut off"):
        read(tmp_path / name)


def test_F4_rows_without_text_and_columns_beside_it_are_counted(write, tmp_path):
    rows = [{"text": "a", "id": 1}, {"text": None, "id": 2}, {"text": " ", "id": 3}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = "text,id\na,1\n,2\n ,3\n"
    for path in (write("a.jsonl", lines), tmp_path / "a.parquet", write("a.csv", table), write("a.json", lines)):
        ignored = Ignored()
        assert read(path, ignored=ignored) == ["a", " "]
        assert ignored == {"row without text": 2, "column 'id'": 3}


columns = st.dictionaries(st.sampled_from(["text", "id", "note"]), st.none() | st.text(max_size=4), max_size=3)


@given(rows=st.lists(columns, max_size=6))
def test_any_row_is_a_document_or_counted_or_refused_with_its_number(rows, tmp_path_factory):
    path, ignored = tmp_path_factory.getbasetemp() / "rows.jsonl", Ignored()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lacking = next((i for i, row in enumerate(rows, start=1) if "text" not in row), None)
    if lacking is not None:
        with pytest.raises(RequestError, match=f"line {lacking}: no column 'text'"):
            read(path)
        return
    found = read(path, ignored=ignored)
    filled = [text for text in found if text.strip()]
    assert len(filled) + ignored["row without text"] == len(rows)
    for name in ("id", "note"):
        assert ignored[f"column {name!r}"] == sum(name in row for row in rows)
