"""task=prepare and task=inspect through the command line; every bad input of a corpus ends in plain words."""

import gzip
import json
import re
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launcher.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=16", "data.batch_size=2"]


@pytest.fixture(autouse=True)
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"text": f"Document {i} says </script> hello to document {i + 1}."}) for i in range(40)]
    Path("text.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def lab(*words: str) -> int:
    return main(["data=text", *words], root=ROOT)


def test_prepare_writes_files_that_train_and_a_card(capsys):
    assert lab("task=prepare", "data.path=text.jsonl", "data.out=tokens", "data.shard_tokens=500", "run_dir=run") == 0
    screen = capsys.readouterr().out
    for words in ("characters per token", "most frequent", "data=bin data.path=tokens"):
        assert words in screen
    card = json.loads(Path("run/card.json").read_text())
    assert card["train"]["documents"] + card["val"]["documents"] == 40
    assert json.loads(Path("tokens/meta.json").read_text())["tokenizer"] == "byte"
    assert len(list(Path("tokens").glob("train-*.bin"))) > 2
    words = [*SMALL, "trainer.max_steps=1", "trainer.val_every=1", "hardware=cpu", "logger=none"]
    assert main(["data=bin", "data.path=tokens", *words, "run_dir=fit"], root=ROOT) == 0


def test_the_command_after_preparing_a_mixture_works(capsys):
    words = ["data=mixture", "data.paths={x: text.jsonl, y: text.jsonl}", "run_dir=run", "data.cache_dir=cache"]
    assert lab("task=prepare", *words) == 0
    (typed,) = re.findall(r"python run\.py (.*)", capsys.readouterr().out)
    assert shlex.split(typed)[:2][1].startswith("data.paths=")
    assert not list(Path("cache").glob("card.json"))
    words = [*SMALL, "trainer.max_steps=1", "trainer.val_every=1", "hardware=cpu", "logger=none", "run_dir=fit"]
    assert main([*shlex.split(typed), *words], root=ROOT) == 0


@pytest.mark.parametrize(
    "words",
    [[], ["data.doc_mask=true", "data.packing=bestfit"], ["data.sampling=sequential", "data.stride=4"]],
    ids=["windows", "packed", "overlapping"],
)
def test_inspect_shows_what_the_model_sees(words, capsys):
    assert lab("task=inspect", "data.path=text.jsonl", *SMALL, *words, "run_dir=run") == 0
    screen, page = capsys.readouterr().out, Path("run/inspect.html").read_text(encoding="utf-8")
    assert "step 1, micro-batch 1, row 1" in screen
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    rows, documents = data["groups"]
    assert len(rows) == 2
    assert all(len(row["i"]) == len(row["y"]) == 16 for row in rows)
    assert len(documents) == 40
    first = "".join(data["texts"][str(i)] for i in documents[0]["i"])
    assert re.fullmatch(r"Document \d+ says </script> hello to document \d+\.<\|endoftext\|>", first)
    if "data.stride=4" in words:
        assert rows[1]["a"] == 12
    if "data.doc_mask=true" in words:
        assert "d" in rows[0]
    for heading in ("At a glance", "Batches", "How often tokens occur", "How long documents are", "Documents"):
        assert f"<h2>{heading}</h2>" in page


def test_a_view_that_is_not_there(capsys):
    assert lab("task=inspect", "inspect.view=nothing", "data.path=text.jsonl", *SMALL) == 2
    assert "there is no such view. There are: " in capsys.readouterr().err


def spoiled(name: str) -> str:
    """Makes the corpus of a wrong request; returns its path."""
    path, good = Path(name), b'{"text": "good"}\n'
    if name == "bytes.txt":
        path.write_bytes(b"good text \xff bad")
    elif name == "cut.jsonl.gz":
        path.write_bytes(gzip.compress(good * 5000)[:60])
    elif name == "cut.parquet":
        pq.write_table(pa.table({"text": ["a"] * 100}), path)
        path.write_bytes(path.read_bytes()[:-30])
    elif name == "list.jsonl":
        path.write_bytes(good + b"[1, 2]\n")
    elif name == "column.jsonl":
        path.write_bytes(good + b'{"body": "x", "id": 1}\n')
    elif name == "columns.csv":
        path.write_bytes(b"id,text\n1,good\n2\n")
    elif name == "blank.jsonl":
        path.write_bytes(b'{"text": ""}\n' * 3)
    else:
        path.write_bytes(b"")
    return name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bytes.txt", r"bytes\.txt is not UTF-8: byte 0xff at offset 10"),
        ("cut.jsonl.gz", r"cut\.jsonl\.gz is damaged or cut off"),
        ("cut.parquet", r"cut\.parquet is damaged, cut off"),
        ("list.jsonl", r"list\.jsonl, line 2: expected a JSON object with 'text', found list"),
        ("column.jsonl", r"column\.jsonl, line 2: no column 'text'; there are 'body', 'id'"),
        ("columns.csv", r"columns\.csv, row 2 \(line 3\): 1 columns, and the first line names 2"),
        ("blank.jsonl", "no text is left for the train side"),
        ("empty.txt", "empty, 0 bytes"),
    ],
)
@pytest.mark.parametrize("data", ["text", "hf"])
def test_bad_input_is_said_in_plain_words_and_leaves_nothing(name, says, data, capsys):
    words = ["task=prepare", f"data={data}", f"data.path={spoiled(name)}", "run_dir=run"]
    assert main(words, root=ROOT) == 2
    screen = capsys.readouterr()
    assert re.search(says, screen.err)
    assert "Traceback" not in screen.err + screen.out
    assert list(Path().rglob("*.bin")) == list(Path().rglob("*.part")) == []
