"""Whole runs through the command line, in this process: what a user types, what lies there afterwards, exit status."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from launcher.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=16", "data.batch_size=2"]
SHORT = ["trainer.max_steps=2", "trainer.val_every=1", "trainer.log_every=1", "hardware=cpu"]
# those on other data than text: tests/tasks/test_pair_runs.py, test_seq2seq_runs.py; a pipeline: test_pipeline.py
ELSEWHERE = {
    "alignment",
    "dpo_arithmetic",
    "reward_arithmetic",
    "samsum_t5_small",
    "samsum_flan_t5_small_lora",
    "t5_arithmetic",
}
EXPERIMENTS = sorted({path.stem for path in (ROOT / "conf/experiment").glob("*.yaml")} - ELSEWHERE)


@pytest.fixture(autouse=True)
def corpus(tmp_path, monkeypatch):
    """A small text in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    return Path("text.txt")


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


def train(run: str, *words: str) -> int:
    return lab(*SMALL, *SHORT, "data=text", "data.path=text.txt", f"run_dir={run}", *words)


def summary(run: str) -> dict:
    return json.loads(Path(run, "summary.json").read_text(encoding="utf-8"))


def test_a_run_leaves_what_the_contract_promises(capsys):
    assert train("run") == 0
    facts = summary("run")
    assert (facts["status"], facts["error"], facts["step"], facts["tokens_seen"]) == ("finished", None, 2, 64)
    for key in ("tokens_per_second", "wall_seconds", "peak_memory_bytes"):
        assert facts[key] > 0
    for name in ("train/loss", "val/loss", "val/bpb", "val/perplexity"):
        assert facts["metrics"][name] > 0
    assert facts["parameters"]["total"] == facts["parameters"]["active"] > 0
    assert facts["best"]["step"] in (1, 2)
    assert len(facts["data_fingerprint"]) == len(facts["tokenizer_fingerprint"]) == 64
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "tokenizer", "tensorboard", ".hydra/config.yaml"):
        assert Path("run", name).exists(), name
    with open("run/metrics.csv") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    screen = capsys.readouterr().out
    for command in ("task=generate init_from=run", "task=evaluate init_from=run", "resume=run", "tensorboard --logdir"):
        assert command in screen


def test_N37_hparams_are_in_the_event_file_with_the_final_metrics():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    train("run", "optimizer.lr=0.01", "model=gpt", "seed=3")
    events = EventAccumulator("run/tensorboard").Reload()
    assert events.Scalars("val/loss")[-1].value == pytest.approx(summary("run")["metrics"]["val/loss"], abs=1e-5)
    places = {tag.split("/")[0] for tag in events.Tags()["scalars"]}
    assert places == {"train", "val", "tokens_seen"}  # no charts of one point (F44)
    shown = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/experiment"])
    assert "val/loss" in [metric.name.tag for metric in shown.experiment.metric_infos]
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    found = HParamsPluginData.FromString(content).session_start_info.hparams
    assert {"optimizer.lr": 0.01, "seed": 3}.items() <= {k: v.number_value for k, v in found.items()}.items()
    assert found["model"].string_value == "gpt"
    words = [*SMALL, *SHORT, "data=text", "data.path=text.txt", "optimizer.lr=0.01", "model=gpt", "seed=3"]
    assert set(found) == {word.partition("=")[0] for word in words}  # what was typed; not hundreds of defaults


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_each_experiment_runs(experiment):
    words = [f"experiment={experiment}", *SHORT, "data=text", "data.path=text.txt", "run_dir=run"]
    assert lab(*words, "model.seq_len=16") == 0
    assert summary("run")["step"] == 2


@pytest.mark.parametrize(
    "words",
    [["optimizer=muon"], ["schedule=wsd"], ["schedule=linear"], ["schedule=constant"], ["tokenizer=char"],
     ["trainer.tokens_per_step=128"], ["logger=csv", "callbacks=minimal"], ["trainer.profile=simple"],
     ["model.checkpoint_blocks=true"], ["data.doc_mask=true", "data.separator=fox"]],
    ids=" ".join,
)  # fmt: skip
def test_each_option_of_this_issue_runs(words):
    assert train("run", *words) == 0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_half_precision_trains_and_its_checkpoint_is_evaluated(precision):
    assert train("half", f"trainer.precision={precision}") == 0
    assert train("full") == 0
    assert summary("half")["metrics"]["val/loss"] == pytest.approx(summary("full")["metrics"]["val/loss"], abs=0.05)
    assert lab("task=evaluate", "init_from=half", "hardware=cpu") == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [["trainer.compile=true"], ["hardware=ddp_cpu"], ["hardware=fsdp_cpu"]])
def test_N34_runs_load_into_each_other_however_they_were_made(kind):
    """Steps of size zero: what comes out is what was loaded."""
    still = ["optimizer.lr=0", "optimizer.weight_decay=0"]
    assert train("plain") == 0
    assert train("other", *kind, *still, "init_from=plain") == 0
    assert train("back", *still, "init_from=other") == 0
    weights = [
        torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in ("plain", "other", "back")
    ]
    for state in weights[1:]:
        assert state.keys() == weights[0].keys()
        assert all(torch.equal(state[name], weights[0][name]) for name in state)


def test_accumulation_is_set_as_a_target_of_tokens():
    assert train("run", "trainer.tokens_per_step=128") == 0
    assert summary("run")["tokens_seen"] == 256


def test_debug_overfit_learns_its_window_by_heart():
    words = ["debug=overfit", "trainer.max_steps=150", "trainer.val_every=150", "model.n_embd=32", "optimizer.lr=1e-2"]
    assert train("run", *words) == 0
    assert summary("run")["metrics"]["train/loss"] < 0.3


def test_evaluate_agrees_with_the_training_run(capsys):
    train("run")
    assert lab("task=evaluate", "init_from=run/checkpoints/last.ckpt", "hardware=cpu", "run_dir=eval") == 0
    report = json.loads(Path("eval/evaluation.json").read_text())
    assert report["loss"]["value"] == pytest.approx(summary("run")["metrics"]["val/loss"], abs=1e-6)
    assert report["bpb"]["value"] == pytest.approx(summary("run")["metrics"]["val/bpb"], abs=1e-6)
    assert report["loss"]["low"] <= report["loss"]["value"] <= report["loss"]["high"]


def test_generate_repeats_itself_with_the_same_seed(capsys):
    train("run")
    texts = []
    for seed in (1, 1, 2):
        words = ["task=generate", "init_from=run", "prompt=The ", "max_new_tokens=20", f"seed={seed}", "hardware=cpu"]
        assert lab(*words, f"run_dir=sample{len(texts)}") == 0
        texts.append(Path(f"sample{len(texts)}/sample.txt").read_text(encoding="utf-8"))
    assert texts[0].startswith("The ")
    assert texts[0] == texts[1] != texts[2]


def test_generate_takes_samples_and_stops_at_text(capsys):
    train("run")
    words = ["task=generate", "init_from=run", "prompt=The ", "max_new_tokens=30", "n=3", "hardware=cpu"]
    assert lab(*words, "run_dir=three") == 0
    samples = [json.loads(line) for line in Path("three/samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(samples) == 3
    assert all(len(s["ids"]) == len(s["logprobs"]) <= 30 for s in samples)
    letter = samples[0]["text"][5]
    assert lab(*words, "run_dir=cut", f"stop=['{letter}']") == 0
    first = json.loads(Path("cut/samples.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["text"] == samples[0]["text"].split(letter)[0]
    assert first["stopped"]


def test_F42_a_new_line_can_be_typed():
    train("run")
    words = ["task=generate", "init_from=run", "max_new_tokens=30", "hardware=cpu", "temperature=2"]
    assert lab(*words, r"prompt=a\nb", r"stop=['\n']", "run_dir=typed") == 0
    text = Path("typed/sample.txt").read_text(encoding="utf-8")
    assert text.startswith("a\nb")
    assert text.count("\n") == 2  # the prompt's and the file's own


@pytest.mark.parametrize("wrong", ["n=0", "max_new_tokens=0", "top_p=0", "temperature=-1", f"prompt={'x' * 17}"])
def test_generate_refuses_what_means_nothing(wrong, capsys):
    train("run")
    assert lab("task=generate", "init_from=run", "hardware=cpu", wrong) == 2
    assert (wrong if "prompt" not in wrong else "longer than the model's context of 16") in capsys.readouterr().err


def test_N3_check_prints_the_plan_and_trains_nothing(capsys):
    assert (
        lab(
            "task=check",
            "model=gpt2",
            "tokenizer=byte",
            "model.seq_len=64",
            "data=text",
            "data.path=text.txt",
            "hardware=cpu",
        )
        == 0
    )
    screen = capsys.readouterr().out
    for words in ("parameters", "FLOPs per token", "memory per device", "tokens per run", "disk", "85,3"):
        assert words in screen, words
    assert not list(Path().rglob("*.ckpt"))


def test_N3_check_plans_stages(capsys):
    words = ["objective=gbft", "gbft.stages=2", "gbft.steps_per_stage=2", "data.sampling=shuffle", "hardware=cpu"]
    assert lab("task=check", *SMALL, *words, "data=text", "data.path=text.txt") == 0
    assert "Boosted, vocabulary" in capsys.readouterr().out


def test_resume_of_a_finished_run_takes_it_further():
    train("run")
    assert lab("resume=run", "trainer.max_steps=4") == 0
    assert summary("run")["step"] == 4


def test_init_from_starts_from_those_weights(capsys):
    train("first", "trainer.max_steps=2")
    assert train("second", "init_from=first", "optimizer.lr=0.0", "trainer.max_steps=1") == 0
    first, second = (torch.load(f"{run}/checkpoints/best.ckpt", weights_only=True) for run in ("first", "second"))
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name])


def spoiled(name: str) -> list[str]:
    """A wrong request's words, its files made."""
    if name == "empty file":
        Path("text.txt").write_text("")
    elif name == "not UTF-8":
        Path("text.txt").write_bytes(b"abc\xff\xfe" * 100)
    elif name == "shorter than one window":
        Path("text.txt").write_text("short")
    elif name == "missing file":
        return ["data.path=nowhere.txt"]
    elif name == "heads":
        return ["model.n_embd=15"]
    elif name == "window longer than the context":
        return ["data.seq_len=32"]
    elif name == "checkpoint of another model":
        assert train("other", "model.n_embd=8") == 0
        return ["init_from=other", "model=gpt", "model.n_embd=16"]
    elif name == "damaged checkpoint":
        assert train("other") == 0
        Path("other/checkpoints/best.ckpt").write_bytes(b"PK\x03\x04 not a checkpoint")
        return ["init_from=other"]
    elif name == "folder of a finished run":
        assert train("run") == 0
    elif name == "ids beyond the vocabulary":
        Path("tokens").mkdir()
        for side in ("train", "val"):
            (np.arange(1000, dtype="<u2") % 300).tofile(f"tokens/{side}.bin")
        return ["data=bin", "data.path=tokens"]
    elif name == "both ways to accumulate":
        return ["trainer.accumulate=2", "trainer.tokens_per_step=128"]
    return []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty file", "empty"),
        ("not UTF-8", "UTF-8"),
        ("shorter than one window", "window"),
        ("missing file", "nowhere.txt"),
        ("heads", "n_head"),
        ("window longer than the context", "model.seq_len=32"),
        ("checkpoint of another model", "another model"),
        ("damaged checkpoint", "cannot be read"),
        ("folder of a finished run", "resume="),
        ("ids beyond the vocabulary", "made by another tokenizer"),
        ("both ways to accumulate", "twice"),
    ],
)
def test_wrong_requests_exit_2_in_plain_words(name, says, capsys):
    words = spoiled(name)
    data = [] if "data=bin" in words else ["data=text"]
    path = [] if any("data.path" in word for word in words) else ["data.path=text.txt"]
    capsys.readouterr()
    assert lab(*SMALL, *SHORT, *data, *path, "run_dir=run", *words) == 2
    screen = capsys.readouterr()
    assert says in screen.err
    assert "Traceback" not in screen.err + screen.out


def test_a_run_that_ended_early_says_so_and_goes_on_with_more_patience(capsys):
    """No gain of 50 nats comes: the first validation counts, the second is one without, the third another."""
    words = ["trainer.max_steps=9", "trainer.patience=1", "trainer.min_delta=50", "data=text", "data.path=text.txt"]
    assert lab(*[w for w in SHORT if "max_steps" not in w], *words, "run_dir=run") == 0
    assert summary("run")["step"] == 2
    assert summary("run")["stopped_early"] == {"monitor": "val/loss", "validations": 1}
    said = capsys.readouterr().out
    assert "has not gained in 1 validation" in said
    assert "resume=run trainer.patience=2" in said
    assert lab("resume=run", "trainer.patience=2") == 0
    assert summary("run")["step"] == 3
