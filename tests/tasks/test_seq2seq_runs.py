"""Encoder-decoders through the command line: fine-tuning, resuming, evaluating, exporting, and what is refused."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.tasks.test_sft_runs import FEW, SHORT, folder, lab, summary, weights  # noqa: F401
from tests.tasks.test_views_of_models import parts_of
from tests.tokenization.hub_like import t5_like

SMALL = ["model=t5", "objective=sft", "model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.n_inner=16",
         "data.batch_size=2", "hardware=cpu"]  # fmt: skip
CHAT = ["data=chat", "data.path=chat.jsonl", "tokenizer=byte"]


def train(run: str, *words: str) -> int:
    return lab(*SMALL, *SHORT, *FEW, f"run_dir={run}", *words)


@pytest.mark.parametrize(
    "words",
    [["data.val_examples=8"], [*CHAT, "data.template=plain"], [*CHAT, "data.template=seq2seq"],
     [*CHAT, "adapter=lora"], [*CHAT, "trainer.precision=bf16-mixed"], [*CHAT, "trainer.accumulate=2"]],
    ids=" ".join,
)  # fmt: skip
def test_fine_tuning_works_as_it_stands(words):
    assert train("run", *words) == 0
    assert {"val/loss", "val/bpb"} <= summary("run")["metrics"].keys()
    assert summary("run")["status"] == "finished"


def test_a_resumed_run_is_the_one_that_was_never_stopped():
    long = [*CHAT, "model.dropout=0.1", "trainer.max_steps=4"]
    assert train("whole", *long) == 0
    assert train("half", *CHAT, "model.dropout=0.1", "schedule.total_steps=4") == 0
    assert lab("resume=half", "trainer.max_steps=4") == 0
    whole, half = weights("whole"), weights("half")
    assert whole.keys() == half.keys()
    assert all(torch.equal(whole[name], half[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("hardware", ["ddp_cpu", "fsdp_cpu"])
def test_two_processes_learn_what_one_does(hardware):
    """The same global batch: four rows on one process, or two on each of two."""
    long = [*CHAT, "trainer.max_steps=3", "trainer.val_every=3", "data.batching=plain"]
    assert train("one", *long, "data.batch_size=4") == 0
    assert train("two", *long, f"hardware={hardware}") == 0
    one, two = weights("one"), weights("two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=2e-4), name
    assert summary("two")["metrics"]["val/loss"] == pytest.approx(summary("one")["metrics"]["val/loss"], abs=1e-4)
    assert lab("task=evaluate", "init_from=two", "run_dir=evaluated") == 0


@pytest.mark.slow
def test_a_run_is_evaluated_planned_and_written_for_transformers(capsys):
    assert train("run", *CHAT) == 0
    assert lab("task=evaluate", "init_from=run", "run_dir=evaluated") == 0
    assert {"loss", "bpb"} <= json.loads(Path("evaluated/evaluation.json").read_text()).keys()
    assert lab(*SMALL, *CHAT, "task=check", "run_dir=plan") == 0
    assert lab("task=export", "init_from=run", "run_dir=exporting", "export.path=out") == 0
    assert "AutoModelForSeq2SeqLM" in capsys.readouterr().out
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained("out").eval()
    specials = json.loads(Path("out/tokenizer.json").read_text())["added_tokens"]
    ids = {token["content"]: token["id"] for token in specials}
    assert theirs.generation_config.decoder_start_token_id == ids["<|assistant_start|>"]
    assert lab("model=hf_seq2seq", "model.path=out", "objective=sft", *CHAT[:2], *SHORT, *FEW, "run_dir=on",
               "model.seq_len=64", "data.batch_size=2", "hardware=cpu") == 0  # fmt: skip
    state = {name.removeprefix("model.hf."): value for name, value in weights("run").items()}
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_where_answers_look_is_shown_over_source_and_answer(tmp_path):
    assert train("run", *CHAT) == 0
    look = ["task=inspect", "inspect.view=attention", "init_from=run"]
    assert lab(*look, "inspect.tokens=32", "run_dir=held_out") == 0
    assert lab(*look, "inspect.text=say 3", "inspect.tokens=24", "run_dir=typed") == 0
    for run in ("held_out", "typed"):
        (maps,) = parts_of(Path(run) / "attention.html")["maps"]
        assert [m["g"] for m in maps["maps"][::2]] == [
            "encoder layer 0", "decoder layer 0", "decoder layer 0, at the source",
        ]  # fmt: skip
        assert "<|assistant_start|>" in maps["labels"]
    assert "".join(maps["labels"]).startswith("<|bos|><|user_start|>say 3")
    events = EventAccumulator("run/tensorboard").Reload()
    assert set(events.Tags()["images"]) == {"attention/encoder", "attention/decoder", "attention/source"}


def test_an_answer_goes_to_the_terminal(monkeypatch):
    assert train("run", *CHAT) == 0
    said = iter(["say 3", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    assert lab("task=chat", "init_from=run", "max_new_tokens=3", "run_dir=talk") == 0
    assert [m["role"] for m in json.loads(Path("talk/chat.json").read_text())] == ["user", "assistant"]


@pytest.fixture
def small_t5(tmp_path):
    """The folder t5/: a T5 with a tokenizer of its kind, as the Hub has them."""
    config = transformers.T5Config(
        vocab_size=320, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    return t5_like(tmp_path / "t5")


def test_a_t5_of_the_hub_is_tuned_asked_and_written_again(small_t5, monkeypatch):
    rows = [{"dialogue": f"A: say {i}?\nB: {i}!", "summary": f"B says {i}."} for i in range(30)]
    Path("samsum.json").write_text(json.dumps(rows))
    words = ["model=hf_seq2seq", "model.path=t5", "objective=sft", "data=samsum", "data.path=samsum.json",
             "data.val_split=null", "data.template=seq2seq", "data.batch_size=2", "model.seq_len=96",
             "hardware=cpu"]  # fmt: skip
    assert lab(*words, *SHORT, *FEW, "run_dir=run") == 0
    ask = ["task=evaluate", "benchmark=samsum", "benchmark.path=samsum.json", "evaluate.limit=4"]
    assert lab("init_from=run", *ask, "evaluate.max_new_tokens=4", "run_dir=asked") == 0
    assert "rougeL" in Path("asked/evaluation.json").read_text()
    said = iter(["A: say 3?", "A: say 4?", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    assert lab("task=chat", "init_from=run", "max_new_tokens=3", "run_dir=talk") == 0  # as the run told to type
    assert [m["role"] for m in json.loads(Path("talk/chat.json").read_text())] == ["user", "assistant"]
    assert lab("task=export", "init_from=run", "run_dir=exporting", "export.path=out") == 0
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained("out")
    assert theirs.generation_config.decoder_start_token_id == 0


@pytest.mark.slow
def test_summaries_that_ship_with_python_are_learned_scored_and_searched_for(capsys):
    words = ["data=docstring_summaries", "tokenizer=byte", "callbacks.exact_match.questions=3",
             "trainer.monitor=val/rougeL"]  # fmt: skip
    assert train("run", *words, "callbacks.exact_match.max_new_tokens=4") == 0
    assert {"val/rouge1", "val/rougeLsum", "val/answer_tokens"} <= summary("run")["metrics"].keys()
    ask = ["init_from=run", "evaluate.limit=2", "evaluate.beams=2", "evaluate.length_penalty=0.5"]
    assert lab("task=evaluate", *ask, "run_dir=evaluated") == 0
    found = json.loads(Path("evaluated/evaluation.json").read_text())
    assert found["rougeLsum"]["low"] <= found["rougeLsum"]["value"] <= found["rougeLsum"]["high"]
    capsys.readouterr()
    ask = ["task=generate", "init_from=run", "prompt=Reads a file", "max_new_tokens=4", "beams=3", "n=2"]
    assert lab(*ask, "run_dir=written") == 0
    screen = capsys.readouterr().out
    assert screen.count("[score ") == screen.count("Reads a file\n") == 2
    rows = [json.loads(line) for line in Path("written/samples.jsonl").read_text().splitlines()]
    assert rows[0]["score"] == pytest.approx(sum(rows[0]["logprobs"]) / len(rows[0]["ids"]), abs=1e-4)
    assert rows[0]["score"] > rows[1]["score"]
    assert lab(*ask, "top_p=0.9", "run_dir=refused") == 2
    assert "beams are not drawn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["objective=causal_lm"], "Type: objective=sft"),
        (["objective=dpo"], "encoder-decoder"),
        (["objective=reward"], "encoder-decoder"),
        (["objective=gbft"], "encoder-decoder"),
        (["objective=kto"], "encoder-decoder"),
        (["objective=grpo"], "encoder-decoder"),
        (["objective=ppo"], "encoder-decoder"),
        (["objective=rloo"], "encoder-decoder"),
        (["objective=verifier"], "encoder-decoder"),
        (["data.batching=packed"], "Type: data.batching=grouped"),
        (["data.learn=all"], "Type: data.learn=assistant"),
        (["trainer.precision=16-mixed"], "Type trainer.precision=bf16-mixed"),
        (["model.n_embd=15"], "not divisible"),
        (["data=chat", "data.path=turns.jsonl", "data.template=seq2seq"], "type data.template=chat data.learn=last"),
        pytest.param(
            ["adapter=qlora"],
            "Type adapter=lora",
            marks=pytest.mark.skipif(
                torch.cuda.is_available() and find_spec("bitsandbytes") is not None, reason="has what it takes"
            ),
        ),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_what_cannot_work_is_refused_in_words(words, said, capsys):
    turns = [{"role": role, "content": "3"} for role in ("user", "assistant") * 2]
    Path("turns.jsonl").write_text("\n".join([json.dumps({"messages": turns})] * 30))
    assert lab("model=t5", "objective=sft", "run_dir=run", *SMALL[2:], *words) == 2
    assert said in capsys.readouterr().err


def test_a_folder_of_an_encoder_decoder_says_how_it_is_named(small_t5, capsys):
    assert lab("init_from=t5", "run_dir=run") == 2
    assert "model=hf_seq2seq" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["samsum_t5_small", "samsum_flan_t5_small_lora"])
def test_the_recipes_run_on_a_file_in_the_hubs_format(recipe, small_t5):
    rows = [{"id": str(i), "dialogue": f"A: say {i}?\r\nB: {i}!", "summary": f"B says {i}."} for i in range(30)]
    Path("samsum.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["model.path=t5", "data.path=samsum.jsonl", "data.val_split=null", "model.seq_len=96", "hardware=cpu"]
    short = ["trainer.max_steps=20", "trainer.val_every=20", "trainer.checkpoint_every=20", *FEW]
    assert lab(f"experiment={recipe}", *words, *short, "run_dir=run") == 0
    counts = summary("run")["parameters"]
    assert (counts["trainable"] < counts["total"]) == ("lora" in recipe)


def test_two_columns_of_a_table_are_question_and_answer(capsys):
    Path("pairs.csv").write_text(
        "long,short\n" + "".join(f'"a tale of {i}, which is long",tale {i}\n' for i in range(30))
    )
    words = ["data=source_target", "data.path=pairs.csv", "data.prefix='summarize: '", "tokenizer=byte",
             "data.preview=1", "data.template=seq2seq"]  # fmt: skip
    assert train("run", *words, "data.source=long", "data.target=short") == 0
    assert "summarize: a tale of" in capsys.readouterr().out
    assert train("wrong", *words, "data.source=long", "data.target=brief") == 2
    assert "data.target=brief names no text there; the columns are 'long', 'short'" in capsys.readouterr().err


def test_N26_with_truncate_source_the_answer_stays_whole_and_what_was_cut_is_counted(capsys):
    rows = [{"prompt": f"{i} " * 60, "completion": f"it is {i}"} for i in range(10, 40)]
    Path("long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["data=chat", "data.path=long.jsonl", "tokenizer=byte", "data.template=seq2seq", "model.seq_len=64"]
    assert train("run", *words, "data.truncate=source", "data.preview=1") == 0
    screen = capsys.readouterr().out
    assert "cut (" in screen
    assert "it is " in screen
