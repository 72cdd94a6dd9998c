"""Rows in, the same rows out, or words that name the row: JSON, tables, Parquet and Arrow."""

import csv
import gzip
import io
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.reading.ignored import Ignored
from datamodules.reading.records import Asked, read_rows
from errors import RequestError
from strict_json import HALF_A_PAIR

PAIRS = [{"prompt": f"Say hello {i}", "completion": f"Hello friend {i}"} for i in range(3)]
CSV = "prompt,completion\r\n" + "".join(f"{p['prompt']},{p['completion']}\r\n" for p in PAIRS)
JSONL = "".join(json.dumps(pair) + "\n" for pair in PAIRS)


def read(path, columns=None, ignored=None):
    asked = Asked("data.path", "data=arithmetic")
    found = read_rows(str(path), name=None, split="train", revision=None, columns=columns, asked=asked, ignored=ignored)
    return [row for row, _ in found]


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "mark"])
@pytest.mark.parametrize(("pack", "end"), [(bytes, ""), (gzip.compress, ".GZ"), (zstd, ".zst")])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.CSV", CSV),
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.Jsonl", JSONL),
        ("a.ndjson", JSONL),
        ("a.json", json.dumps(PAIRS)),
        ("b.json", json.dumps(PAIRS, indent=2)),
        ("c.json", JSONL),
        ("semicolons.csv", CSV.replace(",", ";")),
    ],
)
def test_F2_a_mark_an_ending_or_a_packing_changes_no_row(name, text, pack, end, mark, write):
    assert read(write(name + end, pack((mark + text).encode()))) == PAIRS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,4,5\n", r"row 2 \(line 3\): 3 columns, and the first line names 2: a cell that holds a comma"),
        ("a;b\n1;2;3\n", "a cell that holds a semicolon needs quotes"),
        ("a,b\n1,2\n3\n", r"row 2 \(line 3\): 1 columns, and the first line names 2"),
        ('a,b\n1,2\n3,"4\n5,6\n', r"row 2, which begins in line 3: not CSV \(unexpected end of data\)"),
        ('a,b\n1,"2\n3"x,4\n', "row 1, which begins in line 2: not CSV"),
        ("a,a\n1,2\n", "line 1: 'a' names more than one column"),
        ("a;b\n1;2;3\n", r"row 1 \(line 2\): 3 columns"),
        (b"\xff\xfea\x00,\x00b\x00", r"not UTF-8: byte 0xff at offset 0\. It begins as UTF-16 does"),
        (b"a,b\n" + b"1,2\n" * 9000 + b"\xe9,2\n", r"not UTF-8: byte 0xe9 at offset 36,004"),
    ],
)
def test_F3_tables_that_are_none_are_refused_with_their_row(text, words, write):
    with pytest.raises(RequestError, match=words):
        read(write("a.csv", text))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[" * 100_000, r"line 2: not JSON \(it is nested too deeply\)"),
        ('{"a": ' * 100_000, "line 2: not JSON .*too deeply"),
        ('{"a": NaN}', "line 2: not JSON .NaN is no number"),
        ('{"a": -Infinity}', "line 2: not JSON .-Infinity is no number"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "line 2: not JSON .the key 'c' stands in one object twice"),
        ('{"a": ' + "9" * 5000 + "}", "line 2: not JSON"),
        ("[1]", "line 2: expected a JSON object, found list"),
        (b'{"a": "\xe9"}', "not UTF-8: byte 0xe9 at offset 16"),
    ],
)
def test_F23_JSON_that_is_none_is_refused_with_its_line(line, words, write):
    data = line if isinstance(line, bytes) else line.encode()
    with pytest.raises(RequestError, match=words):
        read(write("a.jsonl", b'{"a": 1}\n' + data + b"\n"))


def test_F23_UTF_16_is_told_in_words(write):
    with pytest.raises(RequestError, match="It begins as UTF-16 does"):
        read(write("a.jsonl", '{"a": 1}\n'.encode("utf-16")))
    with pytest.raises(RequestError, match="It begins as UTF-16 does"):
        read(write("a.json", '[{"a": 1}]'.encode("utf-16")))


def test_F23_half_of_a_surrogate_pair_is_read_as_the_replacement_and_counted(write):
    ignored = Ignored()
    path = write("a.jsonl", '{"a": "x\\ud83d"}\n{"a": "\\uD83D\\uDE00"}\n{"a": [{"b": "\\udc00"}]}\n')
    rows = read(path, None, ignored)
    assert rows == [{"a": "x\ufffd"}, {"a": "\U0001f600"}, {"a": [{"b": "\ufffd"}]}]
    assert ignored == {HALF_A_PAIR: 2}


def arrow(path, batch):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return path


def test_arrow_and_parquet_give_rows(tmp_path):
    pq.write_table(pa.Table.from_pylist(PAIRS), tmp_path / "a.PARQUET")
    assert read(tmp_path / "a.PARQUET") == PAIRS
    assert read(arrow(tmp_path / "a.arrow", pa.RecordBatch.from_pylist(PAIRS))) == PAIRS


def strings(offsets, data):
    buffers = [None, pa.py_buffer(np.array(offsets, dtype=np.int32).tobytes()), pa.py_buffer(data)]
    return pa.RecordBatch.from_arrays([pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)], ["text"])


@pytest.mark.parametrize(
    ("offsets", "row"), [([0, 3, 2_000_000_000], 2), ([0, -90_000, 6], 1)], ids=["past the end", "negative"]
)
def test_F24_an_arrow_file_with_wrong_offsets_is_refused_before_it_is_used(offsets, row, tmp_path):
    path = arrow(tmp_path / "a.arrow", strings([0, 3, 6], b"abcdef"))
    right, wrong = (np.array(numbers, dtype=np.int32).tobytes() for numbers in ([0, 3, 6], offsets))
    assert path.read_bytes().count(right) == 1
    path.write_bytes(path.read_bytes().replace(right, wrong))
    with pytest.raises(RequestError, match=rf"a\.arrow, row {row}: "):
        read(path)


def test_F23_arrow_with_text_that_is_none_names_the_row(tmp_path):
    with pytest.raises(RequestError, match=r"a\.arrow, row 2: .*Invalid UTF8"):
        read(arrow(tmp_path / "a.arrow", strings([0, 3, 6], b"abc\xff\xfe\xfd")))


def test_F23_parquet_with_text_that_is_none_names_the_row(tmp_path):
    table = pa.Table.from_batches([strings([0, 3, 6], b"abc\xff\xfe\xfd")])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RequestError, match=r"a\.parquet, row 2: .*Invalid UTF8"):
        read(tmp_path / "a.parquet")


def test_F23_two_columns_of_one_name_are_refused(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(RequestError, match="'text' names more than one column"):
        read(tmp_path / "a.parquet")


def test_a_pipe_is_refused_and_in_a_folder_it_is_counted(tmp_path, write):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(RequestError, match="is a pipe or a device"):
        read(tmp_path / "pipe.jsonl")
    write("rows.jsonl", JSONL)
    ignored = Ignored()
    assert read(tmp_path, None, ignored) == PAIRS
    assert ignored == {"file that is a pipe or a device": 1}


def test_F4_files_of_another_split_are_counted(tmp_path, write):
    write("train.jsonl", JSONL)
    write("test-0.jsonl", JSONL)
    write("notes.pdf", "x")
    ignored = Ignored()
    assert read(tmp_path, None, ignored) == PAIRS
    assert ignored == {"file of another split than train": 1, "file ending .pdf": 1}


def test_columns_name_a_file_without_a_header(write):
    assert read(write("a.tsv", 'one\t"two\nthree\tfour\n'), ["a", "b"]) == [
        {"a": "one", "b": '"two'},
        {"a": "three", "b": "four"},
    ]


def rows_or_words(path):
    try:
        return read(path), ""
    except RequestError as error:
        return [], str(error)


cell = st.text(alphabet='ab ,;"\n\té\u2028中', max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(rows=st.lists(st.dictionaries(st.text(max_size=3), values, max_size=3), max_size=5), ascii=st.booleans())
def test_any_JSON_rows_come_back(rows, ascii, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=ascii) + "\n" for row in rows), encoding="utf-8", newline="")
    assert read(path) == rows


@given(rows=st.lists(st.lists(cell, min_size=2, max_size=2), max_size=5))
def test_any_table_comes_back(rows, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["a", "b"], *rows])
    assert [list(row.values()) for row in read(path)] == rows


@given(data=st.binary(max_size=60) | st.text(alphabet='ab,"\n{}[]:1;\t').map(str.encode), kind=st.sampled_from(
    ["csv", "tsv", "jsonl", "json", "csv.gz", "jsonl.zst", "parquet", "arrow"]
))  # fmt: skip
def test_any_bytes_are_rows_or_refused_in_words(data, kind, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"noise.{kind}"
    path.write_bytes(data)
    rows, refused = rows_or_words(path)
    assert not refused or str(path) in refused
    if not refused and kind in ("csv", "tsv"):  # every line that is not blank is a part of a row, or the header
        lines = [line for line in io.StringIO(data.decode("utf-8-sig"), newline=None) if line.strip("\n")]
        assert len(rows) <= max(0, len(lines) - 1)
        assert "".join(lines).count('"') or len(rows) == max(0, len(lines) - 1)


@given(data=st.data())
def test_a_damaged_arrow_file_never_ends_the_process(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    whole = arrow(folder / "damaged.arrow", pa.RecordBatch.from_pylist(PAIRS)).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    (folder / "damaged.arrow").write_bytes(whole[:at] + data.draw(st.binary(min_size=1, max_size=4)) + whole[at + 1 :])
    rows, refused = rows_or_words(folder / "damaged.arrow")
    assert "damaged.arrow" in refused if refused else len(rows) <= 2 * len(PAIRS)


SPREADSHEETS = ["\n\r\na,b\n1,2\n", "sep=;\na;b\n1;2\n", "a|b\n1|2\n", "\ufeff\ufeffa,b\n1,2\n", "a;b\r1;2\r"]


@pytest.mark.parametrize("text", SPREADSHEETS)
def test_F3_tables_as_spreadsheets_write_them(text, write):
    assert read(write("a.csv", text)) == [{"a": "1", "b": "2"}]


def test_F3_blank_lines_before_a_table_are_counted_in_its_errors(write):
    with pytest.raises(RequestError, match=r"row 2 \(line 5\): 3 columns"):
        read(write("a.csv", "\n\na,b\n1,2\n1,2,3\n"))


def test_F3_quotes_of_a_tsv_are_text_and_said_once(write, caplog):
    rows = read(write("a.tsv", 'a\tb\n"x"\t1\n"y"\t2\nz\t3\n'))
    assert [row["a"] for row in rows] == ['"x"', '"y"', "z"]
    assert caplog.text.count("cells in quotes are taken with their quotes") == 1


@pytest.mark.parametrize(("pack", "end"), [(gzip.compress, ".gz"), (zstd, ".zst")])
def test_F2_a_packed_file_under_a_plain_name_says_so(pack, end, write):
    with pytest.raises(RequestError, match=rf"is compressed, and its name does not say so.\nType: mv .*a\.jsonl{end}"):
        read(write("a.jsonl", pack(b'{"a": 1}\n' * 50)))


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", ""), ("a.csv", "a,b\n"), ("a.json", "[]")])
def test_F4_a_file_without_rows_is_counted(name, text, write, tmp_path):
    write(name, text)
    write("b.jsonl", '{"a": 1}\n')
    ignored = Ignored()
    assert read(tmp_path, ignored=ignored) == [{"a": 1}]
    assert ignored == {"file without rows": 1}
