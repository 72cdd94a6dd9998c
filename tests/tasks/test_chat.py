"""task=chat: turns in the terminal, a conversation that outgrows the context, a model that knows no turns."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from errors import RequestError
from launcher.cli import main
from models.gpt import GPT
from tasks import chat as chatting
from tasks import parts
from tasks.chat import _ask, answer_to
from tests.hf_tiny import llama
from tests.tasks.test_runs import ROOT
from tests.tokenization.hub_like import gpt2_like
from tokenization.byte import ByteTokenizer
from tokenization.chat import chat_template


def test_a_conversation_is_answered_and_kept(tmp_path, monkeypatch, capsys):
    _, tokenizer = chat_template(ByteTokenizer())
    model = GPT(vocab_size=tokenizer.vocab_size, seq_len=64, n_layer=1, n_head=2, n_embd=8)
    monkeypatch.chdir(tmp_path)
    Path("fake").mkdir()
    (tmp_path / "fake" / "last.ckpt").write_bytes(b"")
    monkeypatch.setattr(parts, "saved_tokenizer", lambda cfg: tokenizer)
    monkeypatch.setattr(parts, "trained_model", lambda cfg, tokenizer: model)
    said = iter(["Hello", "And now?", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    words = ["task=chat", "init_from=fake/last.ckpt", "max_new_tokens=5", "hardware=cpu", "run_dir=talk"]
    assert main(words, root=ROOT) == 0
    messages = json.loads(Path("talk/chat.json").read_text())
    assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant"]
    assert [m["content"] for m in messages[::2]] == ["Hello", "And now?"]


def test_a_turn_does_not_read_the_conversation_again(tmp_path, monkeypatch, capsys):
    template, tokenizer = chat_template(ByteTokenizer())
    model = GPT(vocab_size=tokenizer.vocab_size, seq_len=256, n_layer=1, n_head=2, n_embd=8)
    monkeypatch.chdir(tmp_path)
    Path("fake").mkdir()
    (tmp_path / "fake" / "last.ckpt").write_bytes(b"")
    monkeypatch.setattr(parts, "saved_tokenizer", lambda cfg: tokenizer)
    monkeypatch.setattr(parts, "trained_model", lambda cfg, tokenizer: model)
    read, trunk = [], model.trunk
    monkeypatch.setattr(model, "trunk", lambda ids_BT, **more: read.append(ids_BT.shape[1]) or trunk(ids_BT, **more))
    questions = ["Are you there, and how are you?", "And now?"]
    said = iter([*questions, ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    words = ["task=chat", "init_from=fake/last.ckpt", "max_new_tokens=5", "hardware=cpu", "run_dir=talk"]
    assert main(words, root=ROOT) == 0
    messages = json.loads(Path("talk/chat.json").read_text())
    first, second = (len(template.render_for_completion(messages[:n])) for n in (1, 3))
    prompts = [n for n in read if n > 1]
    assert prompts[0] == first
    assert prompts[1] <= second - first


ANSWERS = {
    "nothing": [],
    "blanks": ["  ", "\n"],
    "half a character": [b"\xe6"],
    "thoughts and a call": [
        *("<|think_start|>", "two", "<|think_end|>", "Well"),
        *("<|call_start|>", '{"name": "add", "arguments": {}}', "<|call_end|>"),
    ],
    "thoughts without an end": ["<|think_start|>", "two"],
    "a call that is none": ["<|call_start|>", "add", "<|call_end|>"],
    "specials out of place": ["<|user_start|>", "a", "<|bos|>", "<|think_end|>", "<|assistant_start|>"],
    "only thoughts": ["<|think_start|>", "two", "<|think_end|>"],
}  # fmt: skip

WELL_FORMED = ("nothing", "blanks", "thoughts and a call", "only thoughts")


def ids_of(tokenizer, parts: list) -> list[int]:
    specials = tokenizer.specials
    raw = [p if isinstance(p, bytes) else [specials[p]] if p in specials else tokenizer.encode(p) for p in parts]
    return [int(i) for part in raw for i in part]


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("ends", [True, False])
def test_F9_a_conversation_survives_any_answer_and_streams(name, ends, tmp_path, monkeypatch, capsys):
    """Whatever was said comes back as it was said in the next prompt."""
    template, tokenizer = chat_template(ByteTokenizer())
    monkeypatch.chdir(tmp_path)
    Path("fake").mkdir()
    (tmp_path / "fake" / "last.ckpt").write_bytes(b"")
    monkeypatch.setattr(parts, "saved_tokenizer", lambda cfg: tokenizer)
    monkeypatch.setattr(parts, "trained_model", lambda cfg, tokenizer: SimpleNamespace(seq_len=4096))
    monkeypatch.setattr(chatting, "settle_reading", lambda cfg, model, run: None)
    answer, prompts, seen = ids_of(tokenizer, ANSWERS[name]), [], []

    def stream(model, ids, **_):
        prompts.append(ids)
        for token in [*answer, *[template.end] * ends]:
            yield SimpleNamespace(id=token)
            seen.append(capsys.readouterr().out)

    monkeypatch.setattr(chatting, "stream", stream)
    said = iter(["Hello", "And now?", "Still there?", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    assert main(["task=chat", "init_from=fake/last.ckpt", "hardware=cpu", "run_dir=talk"], root=ROOT) == 0
    assert len(prompts) == 3
    if name in WELL_FORMED:
        turn = [*answer, template.end]
        assert prompts[1][len(prompts[0]) :][: len(turn)] == turn
    else:  # no text makes a special (N13), not even the model's own
        assert tokenizer.decode(answer) in tokenizer.decode(prompts[1])
    messages = json.loads(Path("talk/chat.json").read_text())
    assert [m["role"] for m in messages] == ["user", "assistant"] * 3
    assert "".join(seen).count("two") == 3 * ("two" in ANSWERS[name])
    if name == "thoughts and a call":
        assert messages[1] == {
            "role": "assistant", "content": "Well", "reasoning_content": "two",
            "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {}}}],
        }  # fmt: skip


def test_F9_a_conversation_that_its_template_refuses_begins_anew(capsys):
    class Refusing:
        def render_for_completion(self, messages):
            if len(messages) > 1:
                raise RequestError("the template refuses an empty answer.")
            return list(messages[0]["content"].encode())

    turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "b"}]
    assert chatting.asked(Refusing(), turn, [], 9) == ([98], turn[2:], 0)
    assert capsys.readouterr().out == "the template refuses an empty answer.\nThe conversation begins anew.\n"
    long = [{"role": "user", "content": "b" * 9}]
    assert chatting.asked(Refusing(), long, [], 9) == ([], [], 0)
    assert capsys.readouterr().out.endswith("The question is left out.\n")


def test_the_oldest_turns_go_first_and_the_system_message_stays():
    template, _ = chat_template(ByteTokenizer())
    turn = [{"role": "user", "content": "a" * 10}, {"role": "assistant", "content": "b" * 10}]
    messages = [{"role": "system", "content": "S"}, *turn, *turn, {"role": "user", "content": "last"}]
    ids, left_out = chatting.fitting(template, messages, 59)
    assert left_out == 2
    assert ids == template.render_for_completion([messages[0], *messages[3:]]).tolist()
    with pytest.raises(RequestError, match="longer than the model's context"):
        chatting.fitting(template, messages, 8)


def test_turns_that_are_left_out_are_said_each_time_that_more_are(tmp_path, monkeypatch, capsys, caplog):
    template, tokenizer = chat_template(ByteTokenizer())
    model = GPT(vocab_size=tokenizer.vocab_size, seq_len=64, n_layer=1, n_head=2, n_embd=8)
    monkeypatch.chdir(tmp_path)
    Path("fake").mkdir()
    (tmp_path / "fake" / "last.ckpt").write_bytes(b"")
    monkeypatch.setattr(parts, "saved_tokenizer", lambda cfg: tokenizer)
    monkeypatch.setattr(parts, "trained_model", lambda cfg, tokenizer: model)
    said = iter(["a" * 20, "b" * 40, "c", "d" * 40, ""])
    monkeypatch.setattr("builtins.input", lambda _: next(said))
    words = ["task=chat", "init_from=fake/last.ckpt", "max_new_tokens=3", "hardware=cpu", "run_dir=talk"]
    assert main(words, root=ROOT) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "no longer sees" in line]
    assert [line.split("oldest")[0] for line in told] == [
        "(the model no longer sees the 2 ", "(the model no longer sees the 4 "
    ]  # fmt: skip
    messages = json.loads(Path("talk/chat.json").read_text())
    answer_to(model, tokenizer, template, messages[:-1], max_new_tokens=1)
    assert "no longer sees the 4 oldest messages" in caplog.text


def test_a_template_of_its_own_needs_no_specials_and_a_system_message_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    llama(vocab_size=500).save_pretrained("hf")
    gpt2_like(Path("hf"))
    asked = []
    fitting = chatting.fitting
    monkeypatch.setattr(
        chatting, "fitting", lambda turns, messages, n: asked.append(list(messages)) or fitting(turns, messages, n)
    )
    words = ["task=chat", "model=hf", "model.path=hf", "model.seq_len=64", "max_new_tokens=2", "hardware=cpu"]
    for template in ("chat", "plain", "alpaca"):
        said = iter(["Hello", "And now?", ""])
        monkeypatch.setattr("builtins.input", lambda _, said=said: next(said))
        assert main([*words, f"template={template}", "system=Be kind.", f"run_dir={template}"], root=ROOT) == 0
        roles = [[m["role"] for m in messages] for messages in asked[-2:]]
        later = ["user", "assistant", "user"] if template == "chat" else ["user"]
        assert roles == [["system", "user"], ["system", *later]]
        assert [m["content"] for m in asked[-1]][0 :: len(later)] == ["Be kind.", "And now?"]


def test_F23_a_line_that_is_not_utf8_ends_no_conversation(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a \xff b\nc \xfe\n"), encoding="utf-8"))
    assert [_ask(), _ask(), _ask()] == ["a \ufffd b", "c \ufffd", ""]


def test_F20_a_keyboard_that_was_closed_ends_a_chat_as_its_end_does(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert _ask() == ""
