"""The one decoder of JSON: what it takes, what it refuses, and lists that tables hold as text."""

import json
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strict_json import HALF_A_PAIR, nested, object_in, value_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, st.booleans())
def test_F23_any_value_comes_back(value, ascii):
    text = json.dumps(value, ensure_ascii=ascii)
    assert value_of(text) == value_of(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands in one object twice"),
        ("[NaN]", "NaN is no number"),
        ("[1e400]", "1e400 is too large"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "limit"),
        ('{"a": 1} x', "Extra data"),
        ("", "Expecting value"),
        ('{"a": "\0"}', "control character"),
    ],
)
def test_F23_what_is_no_JSON_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        value_of(text)


def test_F23_half_of_a_surrogate_pair_in_a_name_is_counted_too():
    from collections import Counter

    halves: Counter[str] = Counter()
    assert value_of(r'{"\ud800": 1}', halves) == {"\ufffd": 1}
    assert halves == {HALF_A_PAIR: 1}


def test_F29_a_small_file_takes_little_memory(tmp_path):
    """256 MiB, the most that is read of any file, were asked for at once: with less left, no run could be looked at."""
    (tmp_path / "a.json").write_text('{"a": 1}')
    tracemalloc.start()
    object_in(tmp_path / "a.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_F2_F25_a_file_holds_one_object_and_is_a_plain_file(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert object_in(tmp_path / "a.json") == {"a": 1}
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(ValueError, match="it holds list, no object"):
        object_in(tmp_path / "b.json")
    os.mkfifo(tmp_path / "c.json")
    with pytest.raises(ValueError, match="no plain file"):
        object_in(tmp_path / "c.json")
    with pytest.raises(FileNotFoundError):
        object_in(tmp_path / "d.json")


@given(st.lists(st.text(max_size=6), min_size=1, max_size=4), st.sampled_from([json.dumps, repr]))
def test_F3_a_list_in_a_cell_comes_back(value, written):
    assert nested(written(value)) == value


@pytest.mark.parametrize(
    "text", ["['a' 'b']", "['a'\n 'b']", "a, b", "3", "'a'", "array(['a'], dtype=object)", "[", "x" * 9]
)
def test_F3_what_is_no_list_in_a_cell_is_refused(text):
    with pytest.raises(ValueError, match="expected a list or an object"):
        nested(text)
