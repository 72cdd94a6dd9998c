"""Conversations out of files: formats by their real columns, splits without leaks, errors with file and line."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.arithmetic import ArithmeticDataModule
from datamodules.chat import ChatDataModule
from datamodules.reading.formats import FORMATS, to_messages
from errors import RequestError
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer
from tokenization.chat import chat_template, check_messages

# rows as those data sets have them, columns that we do not read included
ROWS = {
    "messages": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "source": "x"},
    "sharegpt": {
        "id": "1", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "S",
    },
    "prompt_completion": {"prompt": "q", "completion": "a"},
    "prompt_answer": {"prompt": "1+1?", "answer": 2},
    "alpaca": {"instruction": "Add.", "input": "1, 2", "output": "3", "text": "..."},
    "gsm8k": {"question": "1+1?", "answer": "1+1 = <<1+1=2>>2\n#### 2"},
    "scienceqa": {
        "question": "What is a whale?", "choices": ["a fish", "a mammal"], "answer": 1, "hint": "", "image": None,
        "solution": "It breathes air.", "lecture": "Mammals do.", "subject": "natural science", "grade": "grade3",
    },
    "sst2": {"idx": 0, "sentence": "a fine film ", "label": 1},
    "samsum": {"id": "13818513", "dialogue": "A: hi\nB: hi", "summary": "A and B greet."},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("auto", [True, False])
def test_each_format_by_its_real_columns(form, auto):
    messages = to_messages(ROWS[form], "auto" if auto else form, "row 1")
    assert [m["role"] for m in messages][-2:] == ["user", "assistant"]
    assert all(m["content"] for m in messages)


def test_scienceqa_as_the_report_renders_it():
    system, user, assistant = to_messages(ROWS["scienceqa"], "scienceqa", "row 1")
    assert system["role"] == "system"
    assert user["content"] == "What is a whale?\n\nA. a fish\nB. a mammal"
    assert assistant["content"] == (
        "The correct answer is B. a mammal\n\nExplanation: It breathes air.\n\nBackground: Mammals do."
    )


def test_alpaca_without_input_and_conversational_prompts():
    assert to_messages({"instruction": "Add.", "input": "", "output": "3"}, "auto", "")[0]["content"] == "Add."
    row = {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}
    assert [m["content"] for m in to_messages(row, "auto", "")] == ["q", "a"]


def test_prompts_with_answers_are_text_numbers_or_messages_and_all_of_it_is_used():
    asked = [{"role": "system", "content": "S"}, {"role": "user", "content": "1+1?"}]
    for row in ({"prompt": asked, "answer": 2}, {"prompt": "1+1?", "system": "S", "answer": "2"}):
        messages = to_messages(row, "auto", "")
        assert [m["role"] for m in messages] == ["system", "user", "assistant"]
        assert [m["content"] for m in messages] == ["S", "1+1?", "2"]
    assert to_messages({"prompt": "q", "answer": 0.5}, "auto", "")[1]["content"] == "0.5"


@pytest.mark.parametrize(
    ("row", "form", "says"),
    [
        ({"prompt": "q", "answer": True}, "auto", "answer is bool"),
        ({"prompt": "q", "answer": ["a"]}, "auto", "answer is list"),
        ({"prompt": 5, "answer": "a"}, "auto", "instead of a list of messages"),
        ({"prompt": "q", "answer": None}, "auto", "needs 'answer'"),
        ({"a": 1}, "auto", "of no format that is known"),
        ({"question": "q"}, "gsm8k", "needs 'answer'"),
        ({"question": "q", "answer": None}, "gsm8k", "needs 'answer'"),
        (ROWS["scienceqa"] | {"answer": 5}, "scienceqa", "choice 5, but there are 2"),
        (ROWS["sst2"] | {"label": -1}, "sst2", "expected 0 or 1"),
        ({"messages": 5}, "messages", "not in data.format=messages"),
    ],
)
def test_a_wrong_row_is_named(row, form, says):
    with pytest.raises(RequestError) as caught:
        to_messages(row, form, "file.jsonl, line 7")
    assert says in str(caught.value)
    assert "file.jsonl, line 7" in str(caught.value)


def write(folder: Path, kind: str, n: int = 40) -> Path:
    rows = [{"question": f"{i}+1?", "answer": f"#### {i + 1}"} for i in range(n)]
    path = folder / f"train.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["question", "answer"], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        data = "\n".join(map(json.dumps, rows)).encode()
        path.write_bytes(gzip.compress(data) if kind == "jsonl.gz" else data)
    return path


def module(path: Path | str, **settings) -> ChatDataModule:
    keys = {"tokenizer": ByteTokenizer(), "path": str(path), "seq_len": 64, "batch_size": 4}
    return ChatDataModule(**(keys | settings))


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "parquet", "csv", "tsv"])
def test_every_kind_of_file_gives_the_same(kind, tmp_path):
    data = module(write(tmp_path, kind))
    data.prepare()
    assert data.train.size + data.val.size == 40
    assert 1 <= data.val.size <= 12
    other = module(write(tmp_path, "jsonl"))
    other.prepare()
    assert data.fingerprint == other.fingerprint


def test_a_folder_and_a_split_by_name(tmp_path):
    write(tmp_path, "jsonl").rename(tmp_path / "train-00000.jsonl")
    write(tmp_path, "jsonl", n=7).rename(tmp_path / "test.jsonl")
    data = module(tmp_path, val_split="test")
    data.prepare()
    assert (data.train.size, data.val.size) == (40, 7)


def test_saved_by_datasets(tmp_path):
    from datasets import Dataset

    Dataset.from_list([ROWS["alpaca"] | {"input": str(i)} for i in range(30)]).save_to_disk(tmp_path / "saved")
    data = module(tmp_path / "saved", seq_len=128)
    data.prepare()
    assert data.train.size + data.val.size == 30


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("dataset_dict.json", b"[", "dict.json|not as Dataset.save_to_disk writes it"),
        ("train/state.json", b'{"_data_files": [1]}', "not as Dataset.save_to_disk writes it"),
        ("train/data-00000-of-00001.arrow", b"ARROW1", "is damaged, cut off or no Arrow file"),
        ("train/data-00000-of-00001.arrow", None, "arrow is missing"),
    ],
)
def test_F23_a_damaged_folder_of_datasets_is_refused(tmp_path, file, content, words):
    from datasets import Dataset, DatasetDict

    DatasetDict({"train": Dataset.from_list([ROWS["alpaca"]] * 3)}).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / file).unlink() if content is None else (tmp_path / "saved" / file).write_bytes(content)
    with pytest.raises(RequestError, match=words):
        module(tmp_path / "saved", seq_len=128).prepare()


def test_N12_the_same_question_is_on_one_side_only(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"question": f"{i % 30}?", "answer": str(i)} for i in range(90)]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = module(path)
    train, val = data._split()
    asked = [{c.messages[0]["content"] for c in side} for side in (train, val)]
    assert not asked[0] & asked[1]
    assert len(train) + len(val) == 90


def test_scienceqa_with_pid_splits(tmp_path):
    (tmp_path / "problems.json").write_text(json.dumps({str(i): ROWS["scienceqa"] for i in range(5)}))
    (tmp_path / "pid_splits.json").write_text(json.dumps({"train": ["0", "1", "2"], "val": ["4"], "test": ["3"]}))
    data = module(tmp_path, format="scienceqa", val_split="validation", seq_len=512, answers="letter")
    data.prepare()
    assert (data.train.size, data.val.size) == (3, 1)
    (tmp_path / "pid_splits.json").write_text(json.dumps({"train": ["0", "9"], "val": ["4"]}))
    with pytest.raises(RequestError, match="1 pids of 'train' are not in problems"):
        module(tmp_path, format="scienceqa", val_split="validation").prepare()


def test_questions_ask_what_was_held_out(tmp_path):
    data = module(write(tmp_path, "jsonl"))
    data.prepare()
    (question, *_) = data.questions(3)
    assert question.expected.startswith("#### ")
    whole = data.val[0]
    assert whole.ids[: len(question.prompt)].tolist() == question.prompt.tolist()


def test_char_learns_its_vocabulary_from_conversations(tmp_path):
    data = module(write(tmp_path, "jsonl"), tokenizer=CharTokenizer())
    data.prepare()
    assert set("0123456789#? +") - {" "} <= set(data.tokenizer.chars) | {" "}
    arithmetic = ArithmeticDataModule(tokenizer=CharTokenizer(), seq_len=128, batch_size=4, val_examples=8)
    arithmetic.prepare()
    assert set("<=>#0123456789") <= set(arithmetic.tokenizer.chars)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"question": "q", "answer": "a"}\n{"question"', "line 2: not JSON"),
        ('{"question": "q", "answer": "a"}\n[1]', "line 2: expected a JSON object"),
        ('{"messages": []}', "line 1: a conversation without messages"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}', "in turn"),
        ('{"prompt": "q", "completion": ""}', "line 1: message 2 (assistant) is empty"),
        ('{"prompt": "q", "completion": "a"}', "at least 2 are needed"),
    ],
)
def test_damaged_files_are_named_with_their_line(content, says, tmp_path):
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(RequestError) as caught:
        module(tmp_path / "rows.jsonl").prepare()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"), [("rows.parquet", b"PAR1 no"), ("rows.jsonl.gz", b"\x1f\x8b no"), ("rows.xyz", b"")]
)
def test_what_is_no_file_of_ours_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError):
        module(tmp_path / name).prepare()


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path, "jsonl")
    with pytest.raises(RequestError) as caught:
        module(tmp_path / "nothing.jsonl").prepare()
    given, expected, typed = str(caught.value).splitlines()
    assert given.startswith(f"data.path={tmp_path}/nothing.jsonl: no such file or folder")
    assert given.endswith(f"{tmp_path} holds: train.jsonl.")
    kinds = ".jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow"
    assert expected == f"Expected a file ({kinds}), a folder of them, or a data set on the Hub."
    assert typed == "Type data.path=<one of these>; what needs no file: python run.py objective=sft data=arithmetic"
    with pytest.raises(RequestError, match=r"^data.val_path=a/b.tsv: no such file"):
        module(tmp_path / "train.jsonl", val_path="a/b.tsv").prepare()


def test_N26_nothing_to_learn_is_an_error_before_training(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": "q" * 90 + str(i), "completion": "a"}) for i in range(9)))
    with pytest.raises(RequestError, match=r"has nothing to learn: of \d conversations none is left"):
        module(path).prepare()


def test_N26_the_shares_are_said(tmp_path):
    data = module(write(tmp_path, "jsonl"), preview=1, batching="packed")
    data.prepare()
    words = data.facts()
    assert words["read"] == "40 rows as GSM8K"
    assert "ignored" not in words
    assert "supervised" in words["train"]
    assert "[[#### " in words["row 0"]
    assert "is filled" in words["packed"]


CALL = {"type": "function", "id": "c1", "function": {"name": "add", "arguments": '{"a": 0, "b": 1}'}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
CALLED = [
    {"role": "user", "content": "What is 0+1?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "1"},
    {"role": "assistant", "content": "It is 1."},
]


def shown(tmp_path: Path, row: dict, **settings) -> tuple[str, ChatDataModule]:
    """What is learned of a row, in brackets, and the data of nine of them."""
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for _ in range(9)))
    data = module(path, seq_len=600, preview=1, **settings)
    data.prepare()
    return data.facts()["row 0"], data


def test_F1_tools_their_calls_and_their_results_are_read_and_the_calls_are_learned(tmp_path):
    text, data = shown(tmp_path, {"messages": CALLED, "tools": TOOLS})
    assert text == (
        "<|bos|><|tools_start|>" + json.dumps(TOOLS[0]) + "<|tools_end|><|user_start|>What is 0+1?<|user_end|>"
        '<|assistant_start|>[[<|call_start|>{"name": "add", "arguments": {"a": 0, "b": 1}}<|call_end|>'
        "<|assistant_end|>]]<|tool_start|>1<|tool_end|><|assistant_start|>[[It is 1.<|assistant_end|>]]"
    )
    assert not data.ignored
    (question, *_) = data.questions()
    assert (question.asked, question.expected) == ("1", "It is 1.")


@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "reasoning"])
def test_F1_reasoning_is_learned(field, tmp_path):
    row = {"messages": [CALLED[0], {"role": "assistant", field: "0 and 1.", "content": "1"}]}
    text, _ = shown(tmp_path, row)
    assert text.endswith("<|assistant_start|>[[<|think_start|>0 and 1.<|think_end|>1<|assistant_end|>]]")
    text, data = shown(tmp_path, row, template="alpaca")
    assert "0 and 1." not in text
    assert data.ignored == {f"a message's {field!r}": 9}
    assert data.facts()["ignored"] == f"not used: a message's {field!r} (9)"


@pytest.mark.parametrize("flag", [{"weight": 0}, {"train": False}, {"loss": 0.0}, {"weight": 0, "train": False}])
def test_F1_a_turn_of_weight_0_is_read_and_neither_it_nor_its_end_is_learned(flag, tmp_path):
    first = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"} | flag]
    last = [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "weight": 1}]
    text, data = shown(tmp_path, {"messages": [*first, *last]})
    assert text.count("[[") == 1
    assert "<|assistant_start|>b<|assistant_end|><|user_start|>c" in text
    assert text.endswith("[[d<|assistant_end|>]]")
    sides = data.facts()
    assert sum(int(sides[side].split(" turns of weight 0")[0].split("; ")[-1]) for side in ("train", "val")) == 9
    with pytest.raises(RequestError, match="nothing to learn"):
        shown(tmp_path, {"messages": first})
    assert shown(tmp_path, {"messages": [*first, *last]}, learn="all")[0].count("[[") == 2


def test_F1_parts_of_text_developers_and_empty_system_messages(tmp_path):
    parts = [{"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}]
    answer = {"role": "assistant", "content": "e"}
    opening = [{"role": "developer", "content": "Be kind."}, {"role": "system", "content": ""}]
    text, _ = shown(tmp_path, {"messages": [*opening, {"role": "user", "content": parts}, answer]})
    assert text == "<|bos|><|user_start|>Be kind.\n\nabcd<|user_end|><|assistant_start|>[[e<|assistant_end|>]]"
    text, _ = shown(tmp_path, {"messages": [opening[1], {"role": "user", "content": "a"}, answer]})
    assert text == "<|bos|><|user_start|>a<|user_end|><|assistant_start|>[[e<|assistant_end|>]]"


def test_F1_an_alpaca_row_with_system_and_history(tmp_path):
    row = {
        "system": "Answer in capitals.", "instruction": "And three?", "input": "", "output": "THREE",
        "history": [["What is one?", "ONE"], ["What is two?", "TWO"]],
    }  # fmt: skip
    messages = to_messages(row, "auto", "row 1")
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 3]
    assert [m["content"] for m in messages[1:]] == ["What is one?", "ONE", "What is two?", "TWO", "And three?", "THREE"]
    text, data = shown(tmp_path, row)
    assert text.count("[[") == 3
    assert data.facts()["read"] == "9 rows as Alpaca"
    with pytest.raises(RequestError, match="row 1: history holds 'one'"):
        to_messages(row | {"history": ["one"]}, "auto", "row 1")


def test_F1_sharegpt_and_openais_former_functions(tmp_path):
    call = json.dumps({"name": "add", "arguments": {"a": 0, "b": 1}})
    said = [("human", "What is 0+1?"), ("function_call", call), ("observation", "1"), ("gpt", "It is 1.")]
    row = {"conversations": [{"from": who, "value": what} for who, what in said], "tools": json.dumps(TOOLS)}
    new, data = shown(tmp_path, {"messages": CALLED, "tools": TOOLS})
    old, data = shown(tmp_path, row)
    assert old == new
    assert data.facts()["read"] == "9 rows as ShareGPT's conversations"
    function = {"role": "assistant", "content": None, "function_call": CALL["function"]}
    messages = [CALLED[0], function, {"role": "function", "name": "add", "content": "1"}, CALLED[3]]
    old, data = shown(tmp_path, {"messages": messages, "functions": [TOOLS[0]["function"]]})
    assert old == new
    assert data.ignored == {"a message's 'name'": 9}


def test_F1_what_is_not_used_is_told_by_name(tmp_path):
    messages = [{"role": "user", "content": "q", "name": "Ann", "id": None}, {"role": "assistant", "content": "a"}]
    _, data = shown(tmp_path, {"messages": messages, "source": "web", "lang": None})
    assert data.ignored == {"column 'source'": 9, "a message's 'name'": 9}
    assert data.describe()["ignored"] == data.ignored
    assert data.facts()["ignored"] == "not used: a message's 'name' (9), column 'source' (9)"
    with pytest.raises(RequestError, match=r"'weight' .how much a row counts. would change what is learned"):
        shown(tmp_path, {"messages": messages, "weight": 0.5})
    with pytest.raises(RequestError, match=r"'history' .turns before the question. would change"):
        shown(tmp_path, {"question": "q", "answer": "a", "history": [["a", "b"]]})
    with pytest.raises(RequestError, match="'system' should be text"):
        shown(tmp_path, {"messages": messages, "system": 3})


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"content": "a", "weight": 0.5}, "weight=0.5, expected 0 or 1"),
        ({"content": "a", "train": "false"}, "train='false', expected 0 or 1"),
        ({"content": "a", "weight": 0, "train": True}, "contradict each other"),
        ({"content": None}, "content is NoneType"),
        ({"content": None, "tool_calls": []}, "content is NoneType"),
        ({"content": "a", "tool_calls": "add"}, "tool_calls is str"),
        ({"content": "a", "tool_calls": [{"function": {}}]}, "tool_calls holds {'function': {}}"),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "image_url"}]},
            "2 image_url among",
        ),
        ({"content": "a", "reasoning_content": 3}, "reasoning_content is int"),
        ({"content": "a", "thinking": "x", "reasoning": "y"}, "thinking, reasoning differ"),
        ({"content": "a", "loss_mask": 0}, "loss_mask=0 would change what is learned"),
    ],
)
def test_F1_what_would_change_what_is_learned_is_refused(message, says, tmp_path):
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant"} | message]}
    with pytest.raises(RequestError) as caught:
        shown(tmp_path, row)
    assert says in str(caught.value)
    assert "line 1: message 2 (assistant)" in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "says"),
    [({"weight": 1}, "data.learn=all"), ({"reasoning_content": "x"}, "only the assistant's turns have them")],
)
def test_F1_only_the_assistant_is_learned_from(extra, says, tmp_path):
    row = {"messages": [{"role": "user", "content": "q"} | extra, {"role": "assistant", "content": "a"}]}
    with pytest.raises(RequestError, match=says):
        shown(tmp_path, row)
    with pytest.raises(RequestError, match="alpaca knows no tool calls"):
        shown(tmp_path, {"messages": [CALLED[0], CALLED[1]]}, template="alpaca")


def test_F1_tools_that_are_no_tools_are_refused():
    for tools, says in (("[{", "expected JSON"), (["add"], "expected JSON"), ([3], "expected a list of JSON schemas")):
        with pytest.raises(RequestError, match=f"row 1: .*{says}"):
            to_messages({"messages": CALLED, "tools": tools}, "auto", "row 1")


def test_arithmetic_too_long_for_the_context_says_what_to_type():
    with pytest.raises(RequestError, match=r"model\.seq_len=64"):
        ArithmeticDataModule(tokenizer=ByteTokenizer(), seq_len=32, batch_size=4).prepare()


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a", "label": False},
        {"prompt": "q", "completion": "a", "context": "text"},
        {"instruction": "q", "output": "a", "image": "a.png"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "documents": [{}, {}]},
        {"question": "q", "answer": "a", "chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_F1_columns_that_would_change_what_is_learned_are_refused(row, tmp_path):
    name = list(row)[-1]
    with pytest.raises(RequestError, match=rf"line 1: column '{name}' .* would change what is learned"):
        shown(tmp_path, row)


@pytest.mark.parametrize("row", [{"instruction": "q", "output": "a"}, {"prompt": "q", "completion": "a"}])
def test_F1_thoughts_in_a_column_are_learned_before_the_answer(row):
    said = {"role": "assistant", "content": "a", "reasoning": "hm"}
    assert to_messages(row | {"reasoning": "hm"}, "auto", "x")[-1] == said


def test_F1_parts_of_text_by_either_name_of_OpenAI_and_fields_with_nothing_in_them():
    parts = [{"type": "input_text", "text": "q"}, {"type": "text", "text": "r"}]
    answer = {"role": "assistant", "content": "a", "annotations": [], "name": ""}
    messages = [{"role": "user", "content": parts}, answer]
    check_messages(messages, complete=True)
    template, _ = chat_template(ByteTokenizer())
    assert template.not_rendered(messages, []) == []


@pytest.mark.parametrize("written", [json.dumps, str], ids=["json", "python"])
def test_F3_messages_and_history_in_a_cell_of_a_table(written):
    talk = [{"role": "user", "content": "it's"}, {"role": "assistant", "content": "a"}]
    assert to_messages({"messages": written(talk)}, "auto", "x") == talk
    row = {"instruction": "r", "output": "b", "history": written([["it's", "a"]])}
    assert to_messages(row, "auto", "x")[:2] == talk


def test_a_split_that_is_not_there_validates_nothing(tmp_path):
    from datasets import Dataset

    one = write(tmp_path, "jsonl")
    with pytest.raises(RequestError, match=r"data\.val_split=zzz.*(?s:.*)data\.val_split=null"):
        module(one, val_split="zzz").prepare()
    one.rename(tmp_path / "rows.jsonl")
    with pytest.raises(RequestError, match=r"data\.split=train beside data\.val_split=zzz.*there are rows\.jsonl"):
        module(tmp_path, val_split="zzz").prepare()
    assert list(module(tmp_path).rows("train"))  # nobody asked: a folder of one file
    (tmp_path / "rows.jsonl").rename(one)
    with pytest.raises(RequestError, match=r"data\.val_split=zzz: no file.*there are train\.jsonl"):
        module(tmp_path, val_split="zzz").prepare()
    with pytest.raises(RequestError, match=r"data\.split=zzz: no file"):
        module(tmp_path, split="zzz").prepare()
    write(tmp_path, "jsonl").rename(tmp_path / "train_prefs-00000-of-00001.jsonl")
    write(tmp_path, "jsonl", n=7).rename(tmp_path / "test_prefs-00000-of-00001.jsonl")
    data = module(tmp_path, split="train_prefs", val_split="test_prefs")
    data.prepare()
    assert (data.train.size, data.val.size) == (40, 7)
    for split, val_split in (("train", "train_prefs"), ("test_prefs", "test")):
        with pytest.raises(RequestError, match=r"files named \w+_prefs\.\.\. are of \w+ too"):
            module(tmp_path, split=split, val_split=val_split).prepare()
    Dataset.from_list([ROWS["alpaca"]] * 3).save_to_disk(tmp_path / "saved")
    with pytest.raises(RequestError, match=r"is one whole, without splits"):
        module(tmp_path / "saved", val_split="zzz").prepare()
    with pytest.raises(RequestError, match=r"validates on what it trains on"):
        module(tmp_path, val_split="train").prepare()


def test_what_means_nothing_beside_local_files_is_named(tmp_path):
    path = write(tmp_path, "jsonl")
    given = {"name": "main", "revision": "abc", "split": "zzz", "columns": ["question", "answer"]}
    data = module(path, **given)
    data.prepare()
    assert data.ignored == {
        "data.name=main, as data.path is no id on the Hub": 1,
        "data.revision=abc, as data.path is no id on the Hub": 1,
        "data.split=zzz, as data.path has no splits": 1,
        "data.columns, as data.path names no .csv or .tsv": 1,
    }
    data = module(path, val_path=str(path), val_split="test")
    data.prepare()
    assert data.ignored == {"data.val_split=test, as data.val_path has no splits": 1}
    data = module(path, val_path=str(path), val_fraction=0.3)
    data.prepare()
    assert data.ignored == {"data.val_fraction=0.3, as validation is given": 1}
    named = path.rename(tmp_path / "test.jsonl")
    data = module(path.with_suffix(".csv"), val_path=str(named), val_split="test")
    write(tmp_path, "csv")
    data.prepare()
    assert data.ignored == {}
