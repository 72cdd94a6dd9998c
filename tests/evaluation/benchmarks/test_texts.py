"""Texts as benchmarks: where documents begin, windows over a long text, and what is counted."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from errors import RequestError
from evaluation.benchmarks.texts import Document
from evaluation.benchmarks.tinystories import TinyStories
from evaluation.benchmarks.wikitext2 import WikiText2
from evaluation.likelihood import rolling_pairs
from launcher.cli import main
from models.gpt import GPT
from tasks.evaluating.benchmark_texts import load, measure, text_metrics
from tokenization.byte import ByteTokenizer

ROOT = Path(__file__).parents[3]
WIKI = [
    "",
    " = Lobster = \n",
    "",
    " It lives in water . \n",
    " = = Name = = \n",
    " Red = not blue = \n",
    "",
    " = A = \n",
    " x \n",
]


def wiki(path: str = "x") -> WikiText2:
    return WikiText2(path=path)


def test_articles_begin_at_titles_and_not_at_headings() -> None:
    rows = [({"text": line}, f"row {i}") for i, line in enumerate(WIKI)]
    first, second = wiki().documents(rows)
    assert first == (" = Lobster = \n It lives in water . \n = = Name = = \n Red = not blue = \n", "row 1")
    assert second == (" = A = \n x \n", "row 7")


@pytest.mark.parametrize("name", ["test.txt", "test.jsonl"])
def test_a_file_as_published_gives_the_same_articles(name: str, tmp_path: Path) -> None:
    plain = "".join(WIKI)
    rows = "".join(json.dumps({"text": line}) + "\n" for line in WIKI)
    (tmp_path / name).write_text(plain if name.endswith("txt") else rows)
    found = load(wiki(str(tmp_path / name)), None)
    assert [document.text for document in found] == [
        d.text for d in wiki().documents([({"text": t}, "") for t in WIKI])
    ]
    assert len(load(wiki(str(tmp_path / name)), 1)) == 1


def test_stories_are_rows_and_empty_ones_are_none(tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text('{"text": "One day."}\n{"text": "  "}\n{"text": "Two dogs."}\n')
    found = load(TinyStories(path=str(tmp_path / "v.jsonl")), None)
    assert [document.text for document in found] == ["One day.", "Two dogs."]
    with pytest.raises(RequestError, match=r"(?s)no text in 'story'; columns: 'text'.*benchmark.text_column="):
        load(TinyStories(path=str(tmp_path / "v.jsonl"), text_column="story"), None)
    (tmp_path / "none.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(RequestError, match="no text in split test"):
        load(TinyStories(path=str(tmp_path / "none.jsonl")), None)


def test_a_plain_file_is_one_story_and_must_be_UTF_8(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes("\ufeffOne day.\nTwo\u2028dogs.\n".encode())
    (found,) = load(TinyStories(path=str(tmp_path / "one.txt")), None)
    assert found.text == "One day.\nTwo\u2028dogs.\n"  # the byte order mark is no text
    (tmp_path / "old.txt").write_bytes(" = Lobster = \n caf\xe9 \n".encode("latin-1"))
    for benchmark in (TinyStories, WikiText2):
        with pytest.raises(RequestError, match=r"(?s)old.txt is not UTF-8.*iconv .*then benchmark.path=new.txt"):
            load(benchmark(path=str(tmp_path / "old.txt")), None)


@pytest.mark.parametrize("n", [1, 5, 6, 7, 12, 13, 29])
def test_windows_predict_each_token_once_and_are_full(n: int) -> None:
    ids = np.arange(100, 100 + n)
    pairs = rolling_pairs(ids, 7, 6)
    assert np.concatenate([answer for _, answer in pairs]).tolist() == ids.tolist()
    assert pairs[0][0].tolist() == [7]
    for before, answer in pairs[1:]:
        assert len(before) + len(answer) == 7  # six are read, the last one is only predicted
        assert before[-1] == answer[0] - 1


def test_windows_are_those_of_the_harness() -> None:
    utils = pytest.importorskip("lm_eval.utils", reason="pip install lm_eval")
    for n in range(1, 40):
        ids = np.arange(n)
        theirs = utils.get_rolling_token_windows(token_list=ids.tolist(), prefix_token=99, max_seq_len=8, context_len=1)
        ours = [(before.tolist(), answer.tolist()) for before, answer in rolling_pairs(ids, 99, 8)]
        assert ours == [tuple(map(list, utils.make_disjoint_window(window))) for window in theirs]


def test_a_text_is_counted_as_by_hand() -> None:
    torch.manual_seed(0)
    model, tokenizer = GPT(vocab_size=257, seq_len=8, n_layer=1, n_head=2, n_embd=16).eval(), ByteTokenizer()
    text = "Größe zählt."  # 15 bytes: two windows
    found = measure(model, tokenizer, Document(text, "here"), batch_size=2)
    ids, nats = [tokenizer.eot, *text.encode()], 0.0
    for context, answer in ((ids[:1], ids[1:9]), (ids[15 - 8 : 9], ids[9:])):
        logprobs = model(torch.tensor([(context + answer)[:-1]]), logits="all").logits[0].log_softmax(-1)
        nats -= sum(logprobs[len(context) - 1 + i, token].item() for i, token in enumerate(answer))
    assert found == {"where": "here", "nats": pytest.approx(nats, rel=1e-6), "tokens": 15, "words": 2, "bytes": 15}


def test_perplexities_by_hand() -> None:
    counted = [{"nats": 6.0, "tokens": 3, "words": 1, "bytes": 8}, {"nats": 2.0, "tokens": 1, "words": 1, "bytes": 8}]
    found = text_metrics(counted, seed=0)
    assert found["loss"].value == 2.0
    assert found["perplexity"].value == pytest.approx(math.exp(2.0))
    assert found["word_perplexity"].value == pytest.approx(math.exp(4.0))  # 8 nats of 2 words
    assert found["bpb"].value == pytest.approx(8 / math.log(2) / 16)


def test_task_evaluate_with_texts(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60)
    Path("test.txt").write_text("".join(WIKI))
    small = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=16", "trainer.max_steps=1"]
    assert main(["data=text", "data.path=text.txt", "hardware=cpu", "run_dir=run", *small], ROOT) == 0
    ask = ["task=evaluate", "init_from=run", "benchmark=wikitext2", "benchmark.path=test.txt", "hardware=cpu"]
    assert main([*ask, "run_dir=out"], ROOT) == 0
    said = capsys.readouterr().out
    assert f"wikitext2: {len(''.join(WIKI))} tokens in 2 documents" in said
    assert "word_perplexity" in said
    metrics = json.loads(Path("out/summary.json").read_text())["metrics"]
    assert metrics["test/wikitext2/perplexity"] == pytest.approx(math.exp(metrics["test/wikitext2/loss"]))
    assert len(Path("out/predictions.jsonl").read_text().splitlines()) == 2
    assert main([*ask, "evaluate.shots=2"], ROOT) == 2
    assert "has texts, no questions" in capsys.readouterr().err
    assert main([*ask[:-2], "hardware=cpu", "benchmark.path=nowhere/here/test.txt"], ROOT) == 2
    assert "nowhere/here/test.txt" in capsys.readouterr().err
