"""task=inspect's views of models, typed: pages that stand alone, wrong requests in plain words."""

import json
import re
from pathlib import Path

import pytest

from launcher.cli import main
from models.layers import products
from tests.hf_tiny import llama, tokenizer

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=2", "model.n_embd=16", "model.n_head=2", "model.seq_len=16", "data.batch_size=2"]
SHORT = ["trainer.max_steps=1", "trainer.val_every=1", "hardware=cpu", "logger=none", "callbacks=minimal"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A dense run, one with experts, and a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("A text of 12 words, or more.\n" * 100)
    data = ["data=text", f"data.path={folder / 'text.txt'}", f"data.cache_dir={folder / 'cache'}"]
    for name, words in {"gpt": [], "moe": ["model=moe", "model.n_kv_head=2"]}.items():
        assert main([*words, *data, *SMALL, *SHORT, f"run_dir={folder / name}"], root=ROOT) == 0
    llama().save_pretrained(folder / "hf")
    tokenizer().save_pretrained(folder / "hf")
    return folder


def lab(*words: str) -> int:
    return main(["task=inspect", "hardware=cpu", *words], root=ROOT)


def parts_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!#)', text), "a page needs no file beside it"
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def test_attention_of_our_own_run_and_of_hugging_faces(runs, tmp_path):
    assert lab("inspect.view=attention", f"init_from={runs / 'gpt'}", f"run_dir={tmp_path / 'a'}") == 0
    (maps,) = parts_of(tmp_path / "a" / "attention.html")["maps"]
    assert len(maps["maps"]) == 4
    assert len(maps["labels"]) == 16
    words = [f"model.path={runs / 'hf'}", "model.seq_len=16", "inspect.text='w5 w6 w7 </script>'"]
    assert lab("model=hf", "inspect.view=attention", *words, f"run_dir={tmp_path / 'b'}") == 0
    (maps,) = parts_of(tmp_path / "b" / "attention.html")["maps"]
    assert [label.strip() for label in maps["labels"]][:3] == ["w5", "w6", "w7"]
    assert len(json.loads((tmp_path / "b" / "attention.json").read_text())) == 4


@pytest.mark.skipif(not products.is_there(), reason="this PyTorch has no oneDNN")
def test_a_view_multiplies_by_the_library_that_was_typed_and_gives_it_back(runs, tmp_path, monkeypatch):
    seen, by_onednn = [], products.by_onednn
    monkeypatch.setattr(products, "SMALLEST", 8)
    monkeypatch.setattr(products, "by_onednn", lambda *of: seen.append(1) or by_onednn(*of))
    view = ["inspect.view=attention", f"init_from={runs / 'gpt'}"]
    for library in ("torch", "onednn"):
        assert lab(*view, f"trainer.products={library}", f"run_dir={tmp_path / library}") == 0
        assert bool(seen) == (library == "onednn")
        assert products.chosen() == "torch"


def test_positions_that_were_learned_and_that_turn(runs, tmp_path):
    for name, kind in (("gpt", "learned vectors"), ("moe", "rotary")):
        assert lab("inspect.view=positions", f"init_from={runs / name}", f"run_dir={tmp_path / name}") == 0
        found = json.loads((tmp_path / name / "positions.json").read_text())
        assert found["kind"] == kind
        assert found["by_distance"][0] == pytest.approx(1)
        assert len(found["by_distance"]) == 16
    words = ["model=hf", f"model.path={runs / 'hf'}", "model.seq_len=16", "inspect.view=positions"]
    assert lab(*words, f"run_dir={tmp_path / 'hf'}") == 0
    assert json.loads((tmp_path / "hf" / "positions.json").read_text())["kind"] == "rotary"


def test_routing_counts_validation_or_the_text_that_was_typed(runs, tmp_path):
    words = ["inspect.view=routing", f"init_from={runs / 'moe'}"]
    assert lab(*words, f"run_dir={tmp_path / 'a'}") == 0
    (routes,) = parts_of(tmp_path / "a" / "routing.html")["routes"]
    assert [layer["n"] for layer in routes["layers"]] == [0, 1]
    assert all(len(to) == 2 for layer in routes["layers"] for to in layer["to"])
    assert sum(routes["layers"][0]["load"]) == pytest.approx(1, abs=1e-3)
    assert lab(*words, "inspect.text='12 words'", f"run_dir={tmp_path / 'b'}") == 0
    found = json.loads((tmp_path / "b" / "routing.json").read_text())
    assert sum(found["1"]["by_class"]["number"]) == pytest.approx(1)
    assert not sum(found["1"]["by_class"]["line break"])


def test_errors_are_grouped_with_examples(tmp_path):
    right = {"prompt": "1+1?", "expected": "#### 2", "texts": ["#### 2"], "read": ["2"], "right": True, "choices": []}
    slip = right | {"texts": ["<<1+1=3>>\n#### 3"], "expected": "<<1+1=2>>\n#### 2", "read": ["3"], "right": False}
    lines = "\n".join(json.dumps(row) for row in [right, slip, slip | {"texts": ["two"]}])
    (tmp_path / "predictions.jsonl").write_text(lines + "\n")
    words = ["inspect.view=errors", f"inspect.predictions={tmp_path}", f"run_dir={tmp_path / 'a'}"]
    assert lab(*words) == 0
    found = json.loads((tmp_path / "a" / "errors.json").read_text())
    assert found["classes"] == {"arithmetic slip": 1, "format": 1}
    assert (found["wrong"], found["n"]) == (2, 3)
    assert "&lt;&lt;1+1=3&gt;&gt;" in (tmp_path / "a" / "errors.html").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["inspect.view=attention"], "type init_from=RUN_FOLDER"),
        (["inspect.view=routing", "init_from=RUNS/gpt"], "has no experts"),
        (["inspect.view=attention", "init_from=RUNS/gpt", "inspect.tokens=1"], "expected a whole number (2 to 512)"),
        (["inspect.view=attention", "init_from=RUNS/gpt", "inspect.text=''"], "inspect.text= is empty"),
        (["inspect.view=errors"], "type inspect.predictions="),
        (["inspect.view=errors", "inspect.predictions=nowhere"], "there is no file nowhere"),
        (["inspect.view=errors", "inspect.predictions=x", "init_from=RUNS/gpt"], "leave one of them out"),
        (["inspect.view=errors", "inspect.predictions=RUNS/text.txt"], "text.txt, line 1: not a line of"),
        (["inspect.view=heads"], "attention, boosting, data, errors, positions, rollouts, routing, tokenizer"),
    ],
    ids=lambda words: words if isinstance(words, str) else None,
)
def test_wrong_requests_end_in_plain_words(words, told, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert lab(*(word.replace("RUNS", str(runs)) for word in words)) == 2
    assert told in capsys.readouterr().err
