"""Fine-tuning on conversations from somebody else's folder, and what can be done with the run and its export then."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from launcher.cli import main
from tests.hf_tiny import llama
from tests.tokenization.hub_like import CHAT, gpt2_like
from tokenization.base import load_tokenizer
from tokenization.chat import CHAT_SPECIALS, chat_template

ROOT = Path(__file__).parents[2]
TALK = [{"role": "user", "content": "say 1"}, {"role": "assistant", "content": "1 1"}]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"say {i}", "completion": f"{i} {i}"} for i in range(40)]
    Path("chat.jsonl").write_text("\n".join(map(json.dumps, rows)))


def hub(template: str | None) -> None:
    llama(vocab_size=405).save_pretrained("hub")
    gpt2_like(Path("hub"), template)


def lab(*words: str) -> int:
    return main([*words, "hardware=cpu"], root=ROOT)


def tune(*words: str) -> int:
    data = ["data=chat", "data.path=chat.jsonl", "data.seq_len=64", "data.batch_size=2", "data.val_fraction=0.1"]
    return lab("objective=sft", *data, *words, "trainer.max_steps=1", "callbacks=minimal", "logger=none", "run_dir=run")


STARTS = pytest.mark.parametrize(
    "start", [["init_from=hub"], ["model=hf", "model.path=hub", "model.seq_len=64"]], ids=["own", "wrapped"]
)


@STARTS
def test_a_base_model_without_a_chat_template_answers_and_is_exported_with_the_one_it_learned(start):
    hub(None)
    assert tune(*start) == 0
    assert lab("task=generate", "init_from=run", "prompt=say 1", "max_new_tokens=2", "run_dir=said") == 0
    assert lab("task=export", "init_from=run", "export.path=out", "run_dir=exported") == 0
    template, ours = chat_template(load_tokenizer(Path("run/tokenizer")))
    theirs = AutoTokenizer.from_pretrained("out")
    assert theirs.convert_tokens_to_ids(list(CHAT_SPECIALS)) == [ours.specials[name] for name in CHAT_SPECIALS]
    assert theirs.apply_chat_template(TALK, return_dict=False) == template.render(TALK).ids.tolist()


@STARTS
def test_an_exported_chat_model_stops_where_its_turn_ends_and_where_its_start_did(start):
    """The template of hub_like ends a turn with <User>, the model's texts end with 1 and 2."""
    hub(CHAT)
    config = json.loads(Path("hub/generation_config.json").read_text())
    Path("hub/generation_config.json").write_text(json.dumps(config | {"eos_token_id": [1, 2]}))
    assert tune(*start) == 0
    assert lab("task=export", "init_from=run", "export.path=out", "run_dir=exported") == 0
    tokenizer = AutoTokenizer.from_pretrained("out")
    ends = {1, 2, *tokenizer.convert_tokens_to_ids(["<User>", "<|endoftext|>"])}
    for name in ("config.json", "generation_config.json"):
        assert set(json.loads(Path("out", name).read_text())["eos_token_id"]) == ends, name


def test_a_run_of_yesterday_goes_on_where_its_template_writes_the_date():
    hub("{{ strftime_now('%d %b %Y') }}" + CHAT)
    yesterday = datetime.now() - timedelta(days=1)
    with pytest.MonkeyPatch.context() as before:
        before.setattr("tokenization.hf.time.time", yesterday.timestamp)
        assert tune("init_from=hub") == 0
    assert main(["resume=run", "trainer.max_steps=2"], root=ROOT) == 0
    assert json.loads(Path("run/summary.json").read_text())["step"] == 2
