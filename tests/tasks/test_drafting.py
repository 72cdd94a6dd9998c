"""generate.draft: the text of the model alone, what the screen says of the draft, and the drafts that are refused."""

import json
from pathlib import Path

import pytest

from launcher.cli import main
from tests.tasks.test_runs import ROOT, SHORT, SMALL

ASKED = ["prompt=The ", "max_new_tokens=20", "hardware=cpu"]


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A model, a smaller one on the same text, one of another tokenizer."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in {
            "model": [],
            "draft": ["model.n_embd=8"],
            "chars": ["model.n_embd=8", "tokenizer=char"],
        }.items():
            assert lab(*SMALL, *SHORT, "data=text", "data.path=text.txt", f"run_dir={name}", *words) == 0
    return folder


@pytest.fixture(autouse=True)
def here(runs, monkeypatch):
    monkeypatch.chdir(runs)


def samples(run: str) -> list[dict]:
    return [json.loads(line) for line in Path(run, "samples.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("n", [1, 3])
def test_a_greedy_text_is_the_models_and_the_screen_says_what_was_accepted(n, capsys, tmp_path):
    words = ["task=generate", "init_from=model", *ASKED, "temperature=0", f"n={n}"]
    assert lab(*words, f"run_dir={tmp_path}/alone") == 0
    assert lab(*words, "generate.draft=draft", "generate.ahead=3", f"run_dir={tmp_path}/drafted") == 0
    assert [s["ids"] for s in samples(f"{tmp_path}/drafted")] == [s["ids"] for s in samples(f"{tmp_path}/alone")]
    said = capsys.readouterr().out
    assert "of the draft's tokens accepted" in said
    assert "tokens a step" in said
    facts = json.loads(Path(tmp_path, "drafted/summary.json").read_text(encoding="utf-8"))["draft"]
    assert facts["written"] == n * 19
    assert facts["steps"] <= facts["written"]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["generate.draft=nowhere"], "there is no such folder"),
        (["generate.ahead=3"], "generate.ahead=3 is of generate.draft"),
        (["generate.draft=draft", "generate.ahead=0"], "generate.ahead=0"),
        (["generate.draft=model"], "not smaller"),
        (["generate.draft=chars"], "another tokenizer"),
        (["generate.draft=draft", "beams=2"], "beams=2"),
    ],
)
def test_drafts_that_cannot_serve_are_refused_in_words(typed, told, capsys):
    assert lab("task=generate", "init_from=model", *ASKED, *typed) == 2
    assert told in capsys.readouterr().err


def test_a_judged_text_can_be_drafted(tmp_path):
    asked = ["prompt=The ", "max_new_tokens=8", "hardware=cpu"]
    words = ["task=generate", "init_from=model", *asked, "generate.verify=likelihood"]
    assert lab(*words, "generate.retry=1", "generate.draft=draft", f"run_dir={tmp_path}/judged") == 0
    assert "score" in samples(f"{tmp_path}/judged")[0]
    assert json.loads(Path(tmp_path, "judged/summary.json").read_text(encoding="utf-8"))["draft"]["steps"] > 0
