"""generate.weights: what the screen and summary.json say of the change, by hand; what is refused; serve.weights."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from launcher.config.inherit import read_run
from models.layers.narrow import NarrowLinears
from tasks import parts
from tasks.serve import load
from tests.models.test_narrow import compiled
from tests.tasks.test_drafting import ASKED, lab, runs, samples  # noqa: F401 - runs is a fixture

pytestmark = compiled


@pytest.fixture(autouse=True)
def here(runs, monkeypatch):  # noqa: F811
    monkeypatch.chdir(runs)


def model_of(run: str):
    cfg = read_run(run)[0]
    cfg.init_from = run
    return parts.trained_model(cfg, parts.saved_tokenizer(cfg)).eval(), parts.saved_tokenizer(cfg)


def logprobs(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(torch.tensor([ids]), logits="all").logits[0, :-1].double()
    return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:]).unsqueeze(1))[:, 0]


@pytest.mark.parametrize("kind", ["int8", "bfloat16"])
@pytest.mark.parametrize("words", [["n=3"], ["max_new_tokens=40"], ["generate.draft=draft"], ["beams=2"]], ids=str)
def test_the_change_of_log_probabilities_is_said(kind, words, capsys, tmp_path):
    asked = ["prompt=The ", "max_new_tokens=10", "temperature=0.5", "hardware=cpu", *words]
    assert lab("task=generate", "init_from=model", *asked, f"generate.weights={kind}", f"run_dir={tmp_path}/run") == 0
    model, tokenizer = model_of("model")
    layers, off = NarrowLinears(model, kind), []
    for sample in samples(f"{tmp_path}/run"):
        ids = [*map(int, tokenizer.encode("The ")), *sample["ids"]][-model.seq_len :]
        with layers.active():
            by_narrow = logprobs(model, ids)
        off.append((by_narrow - logprobs(model, ids)).abs()[-len(sample["ids"]) :])
    off_N, facts = torch.cat(off), json.loads(Path(tmp_path, "run/summary.json").read_text(encoding="utf-8"))["weights"]
    assert facts["kind"] == kind
    assert facts["narrow"] == layers.weights < facts["of"]
    assert facts["tokens"] == len(off_N)
    assert facts["logprob_difference_mean"] == pytest.approx(float(off_N.mean()), abs=1e-6)
    assert facts["logprob_difference_max"] == pytest.approx(float(off_N.max()), abs=2e-6)
    assert facts["logprob_difference_max"] > 1e-5
    said = capsys.readouterr().out
    assert f"{kind} weights" in said
    assert f"of the {len(off_N)} tokens written differ" in said


def test_without_the_key_nothing_is_said_and_nothing_changes(capsys, tmp_path):
    for name, words in {"a": [], "b": ["generate.weights=null"]}.items():
        assert lab("task=generate", "init_from=model", *ASKED, *words, f"run_dir={tmp_path}/{name}") == 0
    assert samples(f"{tmp_path}/a") == samples(f"{tmp_path}/b")
    assert "full weights" not in capsys.readouterr().out
    assert "weights" not in json.loads(Path(tmp_path, "a/summary.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("words", "of_model", "of_draft", "lighter"),
    [
        ([], None, None, 1),
        (["generate.draft_weights=int8"], None, "int8", 1 / 4),
        (["generate.weights=int8"], "int8", "int8", 1),
        (["generate.weights=bfloat16", "generate.draft_weights=int8"], "bfloat16", "int8", 1 / 2),
    ],
)
def test_the_draft_has_the_weights_that_are_typed_for_it(words, of_model, of_draft, lighter, monkeypatch, tmp_path):
    """A greedy text is the model's alone whatever the draft has, and only the model's weights are told of."""
    made, given = [], []
    kinds = lambda *of: made.append((id(of[0]), of[1])) or NarrowLinears(*of)  # noqa: E731
    monkeypatch.setattr("tasks.narrowing.NarrowLinears", kinds)
    monkeypatch.setattr("tasks.generate.tell", lambda draft, run: given.append(draft))
    asked = ["task=generate", "init_from=model", "prompt=The ", "max_new_tokens=12", "temperature=0", "hardware=cpu"]
    assert lab(*asked, "generate.draft=draft", *words, f"run_dir={tmp_path}/drafted") == 0
    assert {kind for model, kind in made if model == id(given[0].model)} == ({of_draft} - {None})
    assert {kind for model, kind in made if model != id(given[0].model)} == ({of_model} - {None})
    assert given[0].lighter == lighter
    alone = [word for word in words if not word.startswith("generate.draft")]
    assert lab(*asked, *alone, f"run_dir={tmp_path}/alone") == 0
    assert [s["ids"] for s in samples(f"{tmp_path}/drafted")] == [s["ids"] for s in samples(f"{tmp_path}/alone")]
    told = json.loads(Path(tmp_path, "drafted/summary.json").read_text(encoding="utf-8")).get("weights")
    assert (told or {}).get("kind") == of_model


def test_a_chat_says_it_of_all_its_answers(monkeypatch, capsys, tmp_path):
    lines = iter(["The", "fox", ""])
    monkeypatch.setattr("tasks.chat._ask", lambda: next(lines))
    words = ["task=chat", "init_from=model", "template=plain", "max_new_tokens=5", "hardware=cpu"]
    assert lab(*words, "generate.weights=int8", f"run_dir={tmp_path}/chat") == 0
    facts = json.loads(Path(tmp_path, "chat/summary.json").read_text(encoding="utf-8"))["weights"]
    assert facts["tokens"] == 10
    assert "of the 10 tokens written differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["task=generate", "init_from=model", "generate.weights=int4"], "expected one of: bfloat16, int8"),
        (["task=generate", "init_from=model", "generate.draft_weights=int8"], "Type generate.draft=RUN"),
        (["task=fit", "generate.weights=int8"], "is a key of task=chat and task=generate only"),
        (["task=evaluate", "init_from=model", "generate.weights=int8"], "is a key of task=chat and task=generate only"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(typed, told, capsys):
    assert lab(*typed, "hardware=cpu") == 2
    assert told in capsys.readouterr().err


def test_a_served_run_has_narrow_weights_where_they_are_typed():
    cfg = OmegaConf.create({"trainer": read_run("model")[0].trainer, "serve": {"weights": "int8"}})
    assert "forward" in load(cfg, "model", Path("model")).model.head.__dict__
    cfg.serve.weights = None
    assert "forward" not in load(cfg, "model", Path("model")).model.head.__dict__
