"""Two columns that were named, and what stands beside them: used, counted or refused."""

import json

import pytest

from datamodules.source_target import SourceTargetDataModule
from errors import RequestError
from tokenization.byte import ByteTokenizer

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def build(tmp_path):
    def make(beside, **keys):
        rows = [{"q": f"Question {i}?", "a": f"Answer {i}."} | beside for i in range(10)]
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        given = {"source": "q", "target": "a", "seq_len": 256, "batch_size": 2, "prefix": "do: "} | keys
        data = SourceTargetDataModule(tokenizer=ByteTokenizer(), path=str(tmp_path / "rows.jsonl"), **given)
        data.prepare()
        return data

    return make


def test_columns_beside_source_and_target_are_used_or_counted(build):
    data = build({"system": "Be brief.", "tools": [TOOL], "context": "c", "prompt": "p", "id": 3})
    first = next(data._conversations("train"))
    assert [(m["role"], m["content"]) for m in first.messages] == [
        ("system", "Be brief."), ("user", "do: Question 0?"), ("assistant", "Answer 0."),
    ]  # fmt: skip
    assert list(first.tools) == [TOOL]
    counted = {name: data.ignored[f"column '{name}'"] for name in ("context", "id", "prompt")}
    assert counted == {"context": 10, "id": 10, "prompt": 10}
    assert "as q and a" in data.facts()["read"]


def test_a_column_that_would_change_what_is_learned_is_refused(build):
    with pytest.raises(RequestError, match=r"column 'weight' \(how much a row counts\)"):
        build({"weight": 0.5})
    with pytest.raises(RequestError, match="column 'system' should be text"):
        build({"system": 3})


def test_a_column_that_was_named_is_no_other_thing_too(build):
    first = next(build({"system": "What is read"}, source="system", template="seq2seq")._conversations("train"))
    assert [m["content"] for m in first.messages] == ["do: What is read", "Answer 0."]
