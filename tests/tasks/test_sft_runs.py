"""Fine-tuning through the command line: what a user types, what lies there afterwards, wrong requests."""

import json
from pathlib import Path

import pytest
import torch

from launcher.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "data.batch_size=2", "hardware=cpu"]
SHORT = ["trainer.max_steps=2", "trainer.val_every=1", "trainer.log_every=1", "trainer.checkpoint_every=1"]
FEW = ["callbacks.exact_match.questions=4", "callbacks.exact_match.max_new_tokens=4"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"say {i}", "completion": f"{i} {i}"} for i in range(40)]
    Path("chat.jsonl").write_text("\n".join(map(json.dumps, rows)))


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


def train(run: str, *words: str) -> int:
    return lab("objective=sft", *SMALL, *SHORT, *FEW, f"run_dir={run}", *words)


def summary(run: str) -> dict:
    return json.loads(Path(run, "summary.json").read_text(encoding="utf-8"))


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_the_bare_objective_chooses_its_data_and_answers_questions(capsys):
    assert train("run", "data.val_examples=8") == 0
    facts = summary("run")
    assert (facts["data"], facts["objective"], facts["status"]) == ("arithmetic", "sft", "finished")
    assert {"val/loss", "val/bpb", "val/exact_match", "val/unparsed"} <= facts["metrics"].keys()
    answers = json.loads(Path("run/answers.json").read_text())
    assert answers["before"]["n"] == answers["after"]["n"] == 4
    assert {"question", "expected", "before", "after"} <= answers["examples"][0].keys()
    screen = capsys.readouterr().out
    assert "% of them supervised" in screen
    assert "answers to held-out questions" in screen
    specials = json.loads(Path("run/tokenizer/tokenizer.json").read_text())["specials"]
    assert "<|assistant_end|>" in specials


@pytest.mark.parametrize(
    "words",
    [["data.batching=packed"], ["data.learn=all"], ["data.template=alpaca"], ["tokenizer=char"],
     ["trainer.accumulate=2"], ["data.preview=1"], ["callbacks=default"], ["model=modern", "model.n_kv_head=2"]],
    ids=" ".join,
)  # fmt: skip
def test_each_option_runs(words):
    few = [word for word in FEW if "callbacks=default" not in words]
    data = ["data=chat", "data.path=chat.jsonl"]
    assert lab("objective=sft", *data, *words, *SMALL, *SHORT, *few, "run_dir=run") == 0
    assert summary("run")["step"] == 2


@pytest.mark.parametrize("batching", ["grouped", "packed"])
def test_N17_a_resumed_run_is_the_run_that_was_never_stopped(batching):
    words = ["data=chat", "data.path=chat.jsonl", f"data.batching={batching}", "schedule=constant", "model.dropout=0.1"]
    words += ["data.answers=text"]  # else there is nothing to compare answers with
    assert train("whole", *words, "trainer.max_steps=7") == 0
    assert train("parts", *words, "trainer.max_steps=3") == 0
    assert lab("resume=parts", "trainer.max_steps=5") == 0
    assert lab("resume=parts", "trainer.max_steps=7") == 0
    for name, value in weights("whole").items():
        assert torch.equal(value, weights("parts")[name]), name
    assert summary("whole")["tokens_seen"] == summary("parts")["tokens_seen"]
    before = [json.loads(Path(run, "answers.json").read_text())["before"] for run in ("whole", "parts")]
    assert before[0] == before[1]


@pytest.mark.slow
def test_the_best_checkpoint_by_a_chosen_metric():
    """By a metric of which less is better, as its name says; the opposite is refused before anything is trained."""
    assert train("run", "trainer.monitor=val/unparsed", "data.val_examples=8") == 0
    best = summary("run")["best"]
    assert best["val/unparsed"] == 1.0
    assert best["val/loss"] > 0
    assert train("other", "trainer.monitor=val/exact_match", "trainer.monitor_mode=min", "data.val_examples=8") == 2


def test_a_metric_that_is_not_measured_is_told(capsys):
    assert train("run", "trainer.monitor=val/accuracy", "data.val_examples=8") == 2
    screen = capsys.readouterr().err
    assert "val/exact_match" in screen
    assert "Traceback" not in screen


def test_validation_does_not_depend_on_the_batch_size():
    losses = []
    for i, size in enumerate((1, 3, 64)):
        words = ["data=chat", "data.path=chat.jsonl", f"data.val_batch_size={size}", "optimizer.lr=0.0"]
        assert train(f"run{i}", *words, "trainer.max_steps=1") == 0
        losses.append(summary(f"run{i}")["metrics"]["val/loss"])
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)


def test_evaluate_agrees_with_the_training_run():
    assert train("run", "data.val_examples=8") == 0
    assert lab("task=evaluate", "init_from=run/checkpoints/last.ckpt", "hardware=cpu", "run_dir=eval") == 0
    report = json.loads(Path("eval/evaluation.json").read_text())
    assert report["loss"]["value"] == pytest.approx(summary("run")["metrics"]["val/loss"], abs=1e-5)
    assert report["n"] == 8


def test_fine_tuning_starts_from_a_fine_tuned_run():
    assert train("first", "data.val_examples=8") == 0
    assert train("second", "init_from=first", "data.val_examples=8", "optimizer.lr=0.0", "trainer.max_steps=1") == 0
    first = torch.load("first/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    for name, value in first.items():
        assert torch.equal(value, weights("second")[name])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data=pydoc"], "data=arithmetic"),
        (["data=chat"], "data.path must be given"),
        (["data=chat", "data.path=nowhere.jsonl"], "nowhere.jsonl"),
        (["data.max_number=5"], "data.max_number=5"),
        (["data.val_batch_size=0"], "data.val_batch_size=0"),
        (["model.seq_len=16"], "data.seq_len=16"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_wrong_requests_exit_2_in_plain_words(words, says, capsys):
    assert train("run", *words) == 2
    screen = capsys.readouterr()
    assert says in screen.err
    assert "Traceback" not in screen.err + screen.out


def hugging_face_folder(folder: Path) -> Path:
    """A tiny Llama with a byte-level tokenizer and a chat template of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({piece: i for i, piece in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", chat_template=template).save_pretrained(
        folder
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=258, max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("how", ["init_from", "model=hf"])
def test_a_hugging_face_model_is_tuned_with_its_own_template(how, capsys):
    folder = hugging_face_folder(Path("llama"))
    start = [f"init_from={folder}"]
    if how == "model=hf":
        start = ["model=hf", f"model.path={folder}", "model.seq_len=64", "tokenizer=hf", f"tokenizer.name={folder}"]
    data = ["data=chat", "data.path=chat.jsonl", "data.preview=1", "data.batch_size=2", "data.seq_len=64"]
    assert lab("objective=sft", *start, *data, "hardware=cpu", *SHORT, *FEW, "run_dir=run") == 0
    screen = capsys.readouterr().out
    assert "<|im_start|>assistant\n[[" in screen
    assert "<|im_end|>]]" in screen
    assert summary("run")["step"] == 2


@pytest.mark.parametrize(
    "experts",
    [
        ["model.moe.capacity_factor=0.6", "model.moe.eval_dropless=false"],
        ["model.moe.router=expert_choice", "model.moe.allow_noncausal=true"],
    ],
    ids=["capacity", "expert choice"],
)
def test_F34_evaluation_is_the_validation_of_padded_conversations(experts):
    """Experts that choose or drop count padding unless they are told of it; both tell them alike."""
    rows = [{"prompt": "say", "completion": " ".join("ab" * (1 + i % 9))} for i in range(40)]
    Path("ragged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["model=moe", "model.n_kv_head=2", "model.moe.n_experts=4", "model.moe.ff=8", *experts]
    data = [
        "data=chat",
        "data.path=ragged.jsonl",
        "data.val_fraction=0.4",
        "data.batching=plain",
        "data.val_batch_size=8",
    ]
    assert train("run", *words, *data) == 0
    assert lab("task=evaluate", "init_from=run/checkpoints/last.ckpt", "hardware=cpu", "run_dir=looked") == 0
    expected, found = (summary(run)["metrics"]["val/loss"] for run in ("run", "looked"))
    assert found == pytest.approx(expected, abs=1e-6)
