"""model=hf through the command line: what needs no run of ours, only a folder as transformers writes it."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.hf_tiny import llama
from tests.tasks.test_runs import corpus, lab  # noqa: F401
from tests.tokenization.hub_like import llama_like

HF = ["model=hf", "model.path=hf", "model.seq_len=48", "hardware=cpu"]
VOCAB = 500  # more than the tokenizer has
ROWS = "sentence\tlabel\na fine film\t1\na dull film\t0\nnot bad\t1\n"
DATA = ["data=text", "data.path=text.txt", "data.batch_size=2", "data.seq_len=16"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    llama(vocab_size=VOCAB).save_pretrained(folder)
    return llama_like(folder)


@pytest.fixture(autouse=True)
def hf(made, corpus):  # noqa: F811
    """The folder hf/: a Llama with a tokenizer that puts a blank in front of a text and takes it away again."""
    Path("hf").symlink_to(made)


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["task=generate", "prompt=The fox", "max_new_tokens=5"], "samples.jsonl"),
        (["task=export", "export.path=run/out"], "out/config.json"),
        (["task=evaluate", "benchmark=sst2", "benchmark.path=dev.tsv"], "predictions.jsonl"),
        (["task=evaluate", "evaluate.past_context=32", *DATA, "model.seq_len=16"], "past_context.json"),
        (["task=inspect", "inspect.view=attention", "inspect.text=The fox jumps"], "attention.json"),
        (["task=chat", "template=plain", "max_new_tokens=3"], "chat.json"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else words,
)
def test_a_foreign_model_needs_no_run_of_ours(words, written, monkeypatch):
    Path("dev.tsv").write_text(ROWS)
    said = iter(["Hello", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    assert lab(*HF, *words, "run_dir=run") == 0
    assert Path("run", written).stat().st_size > 0


@pytest.mark.parametrize("words", [["task=generate", "prompt=The"], ["task=evaluate", "benchmark=sst2"]], ids=str)
def test_that_plain_text_lacks_the_token_that_a_folder_puts_before_it_is_said_once(words, capsys):
    Path("dev.tsv").write_text(ROWS)
    words += ["max_new_tokens=2"] if words[0] == "task=generate" else ["benchmark.path=dev.tsv"]
    shutil.copytree("hf", "own")
    config = Path("own/tokenizer_config.json")
    for add in (True, False):
        config.write_text(json.dumps(json.loads(config.read_text()) | {"add_bos_token": add}))
        assert lab("model=hf", "model.path=own", *HF[2:], *words, f"run_dir=run{add}") == 0
        assert capsys.readouterr().out.count("own puts <s> before a text, and plain text has none here") == add


@pytest.mark.parametrize(("n", "seed"), [(1, 222), (8, 2)])
def test_generated_text_begins_with_its_blank(n, seed, capsys):
    """Tokenizers of this kind drop the blank in front of a text, and a continuation is none."""
    words = ["task=generate", "prompt=of the", "max_new_tokens=6", f"n={n}", f"seed={seed}", "run_dir=run"]
    assert lab(*HF, *words) == 0
    screen, found = capsys.readouterr().out, [json.loads(x) for x in Path("run/samples.jsonl").read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained("hf")
    before = tokenizer("of the").input_ids
    for sample in found:
        assert tokenizer.decode([*before, *sample["ids"]], skip_special_tokens=True) == "of the" + sample["text"]
        assert "of the" + sample["text"].rstrip("\n") in screen
    assert any(sample["text"].startswith(" ") for sample in found)
