"""task=export and init_from of a Hugging Face folder, through the command line; what transformers makes of it."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from errors import RequestError
from launcher.cli import main
from models.weights.files import read_tensors
from models.weights.proving import whole_or_removed
from tasks.export import check_keys
from tests.tasks.test_runs import ROOT, SHORT, corpus  # noqa: F401

SIZES = ["model.n_layer=2", "model.n_embd=16", "model.n_head=2", "model.seq_len=16", "data.batch_size=2"]
GPT2 = ["model=gpt2", "tokenizer=byte", *SIZES]
MODELS = {
    "gpt": ["model=gpt", *SIZES],
    "gpt2": GPT2,
    "llama": ["model=llama", *SIZES, "model.n_kv_head=1"],
    "qwen3_moe": ["model=moe", *SIZES, "model.n_kv_head=1", "model.qk_norm=head", "model.moe.n_experts=4",
                  "model.moe.ff=8"],
}  # fmt: skip


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


def train(*words: str) -> None:
    assert lab(*words, *SHORT, "data=text", "data.path=text.txt", "run_dir=run") == 0


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if "gpt" in kind else []) for kind in MODELS]
)
def test_N34_export_loads_in_transformers_and_here(kind, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train(*MODELS[kind])
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 0
    family = "gpt2" if kind == "gpt" else kind  # without biases: zeros there
    assert f"parameters as {family} -> out" in capsys.readouterr().out
    tokenizer, model = AutoTokenizer.from_pretrained("out"), AutoModelForCausalLM.from_pretrained("out").eval()
    assert model.config.model_type == family
    words = ["task=generate", "prompt=The quick", "max_new_tokens=5", "temperature=0", "hardware=cpu"]
    for source in ("run", "out"):
        assert lab(*words, f"init_from={source}", f"run_dir=from_{source}") == 0
    ours, again = (json.loads(Path(f"from_{s}/samples.jsonl").read_text()) for s in ("run", "out"))
    assert ours["ids"] == again["ids"]
    ids = tokenizer("The quick", return_tensors="pt").input_ids
    theirs = model.generate(ids, max_new_tokens=5, do_sample=False)[0, ids.shape[1] :]
    assert theirs.tolist() == ours["ids"]
    logprob = model(ids).logits[0, -1].log_softmax(-1)[ours["ids"][0]].item()
    assert ours["logprobs"][0] == pytest.approx(logprob, abs=1e-4)


def test_tied_weights_are_kept_once_and_a_used_folder_is_refused(capsys):
    train(*GPT2)
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 0
    assert "lm_head.weight" not in read_tensors("out")
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu") == 2
    assert "export.path=out is not empty" in capsys.readouterr().err


def test_a_model_without_a_family_is_refused_by_key(capsys):
    train("model=modern", *SIZES, "model.n_kv_head=1", "model.softcap=15.0")
    assert lab("task=export", "init_from=run", "hardware=cpu") == 2
    assert "in the way: model.softcap=15.0" in capsys.readouterr().err


def test_training_goes_on_from_a_hugging_face_folder_with_its_model_and_tokenizer(capsys):
    train(*MODELS["llama"])
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 0
    words = ["data=text", "data.path=text.txt", "data.batch_size=2", "init_from=out", *SHORT]
    assert lab(*words, "run_dir=more", "optimizer.lr=0.0") == 0
    assert "weights from out" in capsys.readouterr().out
    first, second = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("run", "more"))
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    facts = json.loads(Path("more/summary.json").read_text())
    assert (facts["model"], facts["tokenizer"]) == ("llama", "hf")
    assert lab("task=generate", "init_from=more", "hardware=cpu", "max_new_tokens=3") == 0


def test_N25_a_dense_run_goes_on_as_a_mixture_that_computes_the_same(capsys):
    train("model=llama", *SIZES, "model.n_kv_head=1", "model.n_inner=24")
    mixture = ["model=moe", *SIZES, "model.n_kv_head=1", "model.tied=false", "model.moe.n_experts=4", "model.moe.ff=24"]
    data = ["data=text", "data.path=text.txt", *SHORT]
    capsys.readouterr()
    assert lab(*mixture, *data, "init_from=run", "run_dir=no") == 2
    assert "init.upcycle=copy" in capsys.readouterr().err
    words = [*mixture, *data, "init_from=run", "init.upcycle=copy", "optimizer.lr=0.0", "run_dir=more"]
    assert lab(*words) == 0
    dense, sparse = (json.loads(Path(f"{run}/summary.json").read_text())["metrics"] for run in ("run", "more"))
    last = json.loads(Path("run/summary.json").read_text())["best"]["val/loss"]
    assert sparse["val/loss"] == pytest.approx(last, abs=1e-5), dense


@pytest.mark.slow
def test_the_readmes_line_for_upcycling_runs_and_narrower_experts_are_told_of_it(capsys):
    data = ["data=text", "data.path=text.txt", *SHORT]
    train("model=modern", *SIZES)
    (line,) = [x for x in (ROOT / "docs/models.md").read_text().splitlines() if "init.upcycle=copy" in x]
    words = line.split("#")[0].replace("MODERN_RUN", "run").split()[2:]
    assert lab(*words, *SIZES, *data, "run_dir=more") == 0
    capsys.readouterr()
    assert lab(*(w for w in words if "moe.ff" not in w), *SIZES, *data) == 2
    told = capsys.readouterr().err
    assert "Type model.moe.ff=384" in told
    assert "model.moe.routed_scale=2.0" in told


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda out: (out / "config.json").write_text('{"model_type": "mamba"}'), "Known: gpt2, llama"),
        (lambda out: (out / "model.safetensors").write_bytes(b"x" * 100), "cannot be read as safetensors"),
        (lambda out: (out / "model.safetensors").unlink(), "no weights"),
    ],
    ids=["unknown family", "corrupt", "no weights"],
)
def test_wrong_folders_exit_2(spoil, says, capsys):
    train(*GPT2)
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 0
    spoil(Path("out"))
    capsys.readouterr()
    assert lab("task=generate", "init_from=out", "hardware=cpu") == 2
    screen = capsys.readouterr()
    assert says in screen.err
    assert "Traceback" not in screen.err


MOE = [*MODELS["qwen3_moe"], "trainer.max_steps=2"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model.moe.capacity_factor=1.0", "model.moe.eval_dropless=false"], "model.moe.eval_dropless=False"),
        (["model.qk_norm=full", "model.head_dim=4"], "in the way"),
    ],
)
def test_F31_what_means_something_else_there_is_refused(words, says, capsys):
    train(*MOE, *words)
    capsys.readouterr()
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 2
    assert says in capsys.readouterr().err
    assert not Path("out").exists()


def test_F31_an_export_that_computes_something_else_is_told_and_removed(capsys, monkeypatch):
    from models.weights import saving

    honest = saving.config_of
    twice = lambda settings, wanted=None: (  # noqa: E731
        honest(settings, wanted)[0], honest(settings, wanted)[1] | {"rms_norm_eps": 0.5}
    )  # fmt: skip
    monkeypatch.setattr(saving, "config_of", twice)
    train(*MODELS["llama"])
    capsys.readouterr()
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 2
    assert "computes something else" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("at", ["safetensors.torch.save_file", "tasks.export.hf_files"])
def test_F29_an_export_on_a_full_disk_says_so_and_leaves_no_half(at, capsys, monkeypatch):
    """safetensors loses the number of the error: only its words are left."""
    train(*MODELS["gpt"])
    capsys.readouterr()

    def full(*arguments, **settings):
        Path("out/model.safetensors").write_text("x")
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(at, full)
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 1
    said = capsys.readouterr().err
    assert "the disk is full" in said
    assert "traceback" not in said
    assert not Path("out").exists()


def test_F17_what_somebody_puts_into_a_failing_export_stays(tmp_path):
    def fails() -> None:
        (tmp_path / "out").mkdir()
        for name in ("config.json", "model.safetensors", "model.gguf", "notes.txt"):
            (tmp_path / "out" / name).write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), whole_or_removed(tmp_path / "out"):
        fails()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_an_export_is_proven_without_a_second_model_in_memory(monkeypatch):
    from models.weights import proving

    train(*MODELS["gpt"])
    seen, theirs = [], proving._theirs

    def watched(model, folder, ids_BT):
        seen.extend(str(tensor.device) for tensor in model.state_dict().values())
        return theirs(model, folder, ids_BT)

    monkeypatch.setattr(proving, "_theirs", watched)
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 0
    assert set(seen) == {"meta"}, "its weights are gone before the other one's come"


def test_F31_an_export_says_what_it_has_checked(capsys):
    train(*MODELS["gpt"])  # whose head is its embedding: one parameter, counted once
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 0
    screen, summary = capsys.readouterr().out, json.loads(Path("exported/summary.json").read_text())
    assert "loaded with transformers: logits differ by" in screen
    assert summary["export_difference"] < 1e-4
    trained = json.loads(Path("run/summary.json").read_text())["parameters"]
    assert summary["parameters"]["total"] == trained["total"]
    assert f"{trained['total']:,} parameters as gpt2 -> out" in screen


@pytest.mark.slow
def test_a_family_can_be_asked_for_by_name(capsys):
    train(*MODELS["llama"])
    words = ["task=export", "init_from=run", "hardware=cpu"]
    for family in ("phi3", "granite"):
        assert lab(*words, f"export.path={family}", f"export.family={family}", f"run_dir=as_{family}") == 0
        assert json.loads(Path(family, "config.json").read_text())["model_type"] == family
    capsys.readouterr()
    assert lab(*words, "export.path=no", "export.family=gemma3_text") == 2
    assert "cannot be exported as gemma3_text" in capsys.readouterr().err
    assert lab(*words, "export.path=no", "export.family=mamba") == 2
    assert "export.family=mamba" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "words"),
    [({"dtype": "q8_0"}, "format=gguf"), ({"private": False}, "export.push"), ({"push": "tiny"}, "OWNER/NAME")],
)
def test_keys_that_would_change_nothing_are_refused(section, words):
    given = {"format": "hf", "dtype": None, "push": None, "private": True} | section
    with pytest.raises(RequestError, match=words):
        check_keys(OmegaConf.create(given))
