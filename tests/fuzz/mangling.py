"""Values, texts, trees and files that hurt; everything out of one `random.Random`, so that a case can be had again."""

import gzip
import json
import os
import shutil
import zlib
from pathlib import Path
from random import Random
from typing import Any

DEEP = 20_000
VALUES = (
    *("-1", "0", "1", "2", "3.5", "0.5", "1e-300", "1e308", "nan", "inf", "-inf", ".nan", "1_000", "0x10", "007"),
    *("9223372036854775807", "9223372036854775808", "1" + "0" * 40, "-9223372036854775809", "null", "true", "False"),
    *("text", "", "''", "' '", "[]", "[1]", "[a,b]", "[[1],2]", "[null]", "{}", "{a: 1}", "{a: {b: []}}", "???"),
    *("é", "日本語", "\u202eabc", "🙂" * 300, "a" * 3000, "x\ny", "\\n", "\udcff", "%s%n", "{}{}", "$(touch X)"),
    *("${seed}", "${nope}", "${", "${model.seq_len}", "${oc.env:HOME}", "${hydra:run.dir}", "no/such/file", ".", ".."),
    *("/dev/null", "/dev/zero", "/dev/full", "~", "auto", "cpu", "os.system", "models.gpt.GPT", "text.txt", "text/"),
    *("1,2", "a,b", "range(1,3)", "choice(1,2)", "glob(*)", "sort(3,2)", "float(3)", "str(3)", "int(a)", "00:00:01"),
    *("99:99:99", "-1:0:0", "1:2", "last", "best", "main", "-", "--", "=", "a=b", "http://127.0.0.1:9/", "file:///x"),
)
HUGE = {"9223372036854775807", "1" + "0" * 40, "1e308", "inf"}
SYNTAX = "${}[](),='\"\\~+@:.;#!&|<>*? \t\nnull_é🙂0-/%"
LEAVES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**63, 10**400, -0.0, 0.5, 1e308, float("nan"), float("inf")),
    *("", " ", "x", "text", "\ud800", "\x00", "é" * 500, "<|endoftext|>", "<|user|>", "</s>", "{{ 7*7 }}", "../../x"),
    *([], [None], [[]], [1, "a"], {}, {"a": 1}, {"content": None}, {"role": "system"}, ["x"] * 1000),
)
BYTES = (
    *(b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"{", b"[]", b"{}", b"null", b"\n", b"\r\n\r\n", b"3", b'"text"'),
    *(b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"ARROW1", b"\x28\xb5\x2f\xfd", b"\xed\xa0\x80", b"a: &a [x]\nb: *a\n"),
    *(b"[" * DEEP, b'{"a":' * DEEP, b"- " * 3000, b"9" * 100_000, b"!!python/object:os.system x\n", b"%PDF-1.4"),
    *(b"a,b\n1\n", b"a,a\n1,2\n", b'"', b"x" * 2_000_000, gzip.compress(b"0" * 20_000_000), b"version https://git-lfs"),
)
TEMPLATES = (
    *("{{", "{% for m in messages %}", "{% while true %}{% endwhile %}", "{{ messages[9].content }}", "{{ 1/0 }}"),
    *("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", "{{ 'x' * 10**10 }}"),
    *("{{ '%999999999d' % 1 }}", "{{ 'x'.center(10**10) }}", "{{ messages|tojson(indent=10**9) }}", "{{ cycler }}"),
    *("{{ ''.__class__.__mro__ }}", "{% include 'x' %}", "{{ raise_exception('no') }}", "{{ messages.x.y.z }}", ""),
    *("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{{ lipsum(10000) }}", "{% set x = messages %}" * 3000),
    *("{{ messages|map(attribute='content')|join }}", "{{ strftime_now('%Y') }}", "{{ 2**2**40 }}", "{% raw %}"),
    *("{{ [1]|sum(start='a') }}", "{{ 'a'|replace('a', 'a'*1000000) }}", "(" * 3000, "{{ " + "(" * 3000, "\x00"),
    *(
        "{{ messages|length|string|list|sort|first|int|filesizeformat|urlize|wordwrap|truncate }}",
        "{{ '{:>9999999999}'.format(1) }}",
    ),
)


def value(rng: Random) -> str:
    return rng.choice(VALUES)


def text(rng: Random, given: str) -> str:
    """`given` with a few characters put in, taken out or doubled."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(given))
        match rng.randrange(4):
            case 0:
                given = given[:at] + rng.choice(SYNTAX) + given[at:]
            case 1:
                given = given[:at] + given[at + 1 :]
            case 2:
                given = given[:at] + given[at : at + 5] + given[at:]
            case _:
                given = given[:at] + rng.choice(VALUES) + given[at:]
    return given.replace("\x00", "")


def tree(rng: Random, given: Any, depth: int = 0) -> Any:
    """`given` with one node changed: replaced, left out, doubled, renamed, nested."""
    if not isinstance(given, dict | list) or not given or (depth and rng.random() < 0.3):
        return rng.choice(LEAVES)
    if isinstance(given, list):
        at = rng.randrange(len(given))
        if rng.random() < 0.2:
            return given[:at] + given[at + 1 :]
        return [*given[:at], tree(rng, given[at], depth + 1), *given[at + 1 :]]
    key = rng.choice(list(given))
    match rng.randrange(8):
        case 0:
            return {name: inner for name, inner in given.items() if name != key}
        case 1:
            return {
                (rng.choice(("", "x", "\ud800", "Text", "messages")) if k == key else k): v for k, v in given.items()
            }
        case 2:
            return given | {
                rng.choice(("extra", "weight", "tools", "name", "system", "auto_map", "_target_")): rng.choice(LEAVES)
            }
        case _:
            return given | {key: tree(rng, given[key], depth + 1)}


def json_text(given: Any) -> bytes:
    return json.dumps(given).encode("utf-8", "surrogatepass")


def content(rng: Random, given: bytes) -> bytes:
    """Bytes of a file, damaged as disks, editors, downloads and people damage them."""
    at, length = rng.randint(0, len(given)), rng.randint(1, 64)
    match rng.randrange(8):
        case 0:
            return rng.choice(BYTES)
        case 1:
            return given[:at]
        case 2:
            return given[:at] + rng.choice(BYTES[:20]) + given[at:]
        case 3:
            return given[:at] + rng.randbytes(length) + given[at + length :]
        case 4:
            return given[:at] + given[at + length :]
        case 5:
            return given + rng.choice(BYTES[:20])
        case 6:
            return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00" * 16)) + given
        case _:
            return bytes(byte ^ (1 << rng.randrange(8)) if rng.random() < 0.01 else byte for byte in given[:200_000])


def of_kind(rng: Random, name: str, given: bytes) -> bytes:
    """Damage that fits the kind of file: a node of JSON, a line of JSONL, a cell, a value of YAML, or any bytes."""
    try:
        if rng.random() < 0.35:
            return content(rng, given)
        if name.endswith(".json"):
            return json_text(tree(rng, json.loads(given)))
        if name.endswith(".jsonl"):
            lines = given.splitlines()
            for at in rng.sample(range(len(lines)), rng.choice((1, 2, len(lines)))):
                lines[at] = json_text(tree(rng, json.loads(lines[at])))
            return b"\n".join(lines) + b"\n"
        if name.endswith(".gz"):
            return content(rng, gzip.compress(of_kind(rng, name[:-3], gzip.decompress(given))))
        if name.endswith((".yaml", ".csv", ".tsv")):
            return _line(rng, given)
    except (ValueError, RecursionError, EOFError, OSError, zlib.error):  # what is hurt already
        pass
    return content(rng, given)


def _line(rng: Random, given: bytes) -> bytes:
    """One line of a table or of YAML: its value changed, left out, doubled, indented."""
    lines = given.splitlines()
    at = rng.randrange(len(lines))
    value_of = rng.choice(VALUES).encode("utf-8", "surrogateescape")
    key, colon, _ = lines[at].partition(b":")
    changed = {
        0: key + colon + b" " + value_of,
        1: b"  " + lines[at],
        2: lines[at] + b"," + value_of,
        3: lines[at] + b'"',
        4: text(rng, lines[at].decode("utf-8", "replace")).encode("utf-8", "surrogateescape"),
        5: lines[at] + b"\n" + lines[at],
    }[rng.randrange(6)]
    return b"\n".join([*lines[:at], changed, *lines[at + 1 :]]) + b"\n"


def file(rng: Random, path: Path) -> str:
    """Damages a file in place, and says how."""
    what = rng.choice(("content",) * 12 + ("missing", "folder", "pipe", "loop", "device", "empty", "other"))
    if path.is_symlink():
        return what
    given = path.read_bytes()
    if what in ("content", "empty"):
        path.write_bytes(of_kind(rng, path.name, given) if what == "content" else b"")
        return what
    path.unlink()
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path.name)
        case "device":
            path.symlink_to(rng.choice(("/dev/zero", "/dev/null", "/proc/self/mem")))
        case "other":
            others = sorted(other for other in path.parent.iterdir() if other.is_file())
            if others:
                shutil.copyfile(rng.choice(others), path)
    return what
