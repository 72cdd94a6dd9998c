"""What docs/tools.md says to type, by its result."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("llguidance")

from launcher.cli import main

ROOT = Path(__file__).parents[3]
RUN = f"init_from={ROOT / 'tests/fixtures/run_of_a56f643'}"
PAGE = (ROOT / "docs/tools.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lab(*words: str) -> int:
    return main(["hardware=cpu", RUN, *words], root=ROOT)


def samples(folder: str) -> list[dict]:
    return list(map(json.loads, Path(folder, "samples.jsonl").read_text().splitlines()))


def test_the_calculator_writes_the_result():
    assert lab("task=generate", "tools=[calculator]", "prompt=<<2+7=", "max_new_tokens=8", "run_dir=a") == 0
    (sample,) = samples("a")
    assert sample["text"].startswith("9>>")
    assert sample["forced"] == list(range(len(sample["forced"])))
    assert json.loads(Path("a/summary.json").read_text())["forced_tokens"] == len(sample["forced"]) > 0


def test_the_pages_schema_as_a_file_and_typed():
    schema = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]
    Path("answer.json").write_text(schema)
    for given, where in (("answer.json", "a"), (json.dumps(json.loads(schema)), "b")):
        assert lab("task=generate", f"schema={given}", "prompt=a: ", "n=3", f"run_dir={where}") == 0
    assert samples("a") == samples("b")
    for sample in samples("a"):
        found = json.loads(sample["text"])
        assert found.keys() == {"name", "age"} and len(found["name"]) <= 20 and 0 <= found["age"] <= 120  # noqa: PT018


def test_the_pages_regular_expression(capsys):
    assert lab("task=generate", "regex=[0-9]{4}-[0-9]{2}-[0-9]{2}", "prompt=born on ", "run_dir=a") == 0
    assert re.search(r"^born on \d{4}-\d\d-\d\d$", capsys.readouterr().out, re.MULTILINE)


def test_a_text_that_is_cut_is_told(capsys):
    assert lab("task=generate", "regex=[a-z]{30}", "max_new_tokens=3", "n=2", "run_dir=a") == 0
    assert "2 of 2 texts were cut at max_new_tokens=3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [(["task=generate", "tools=[abacus]"], "There are: calculator"),
     (["task=generate", "schema=nowhere.json"], "schema=nowhere.json: No such file"),
     (["task=generate", "schema={}", "tools=[calculator]"], "tools and schema"),
     (["task=chat", "template=plain", 'schema={"foo":1}'], "'foo' at \\$ is not supported"),
     (["task=evaluate", "evaluate.tools=[calculator]", "benchmark=sst2", "benchmark.path=sst2.jsonl"],
      "evaluate.mode=generate"),
     (["task=evaluate", "evaluate.tools=[calculator]", "evaluate.past_context=64"], "evaluate.past_context")],
    ids=range(6),
)  # fmt: skip
def test_wrong_requests_are_told_before_a_model_is_loaded(words, says, capsys, monkeypatch):
    Path("sst2.jsonl").write_text('{"sentence": "good", "label": 1}\n')
    if "benchmark=sst2" not in words:
        monkeypatch.setattr("tasks.parts.trained_model", lambda *_: pytest.fail("a model was loaded"))
    assert lab(*words) == 2
    said = capsys.readouterr()
    assert re.search(says, said.out + said.err)


def test_the_pages_tool_is_a_tool():
    space: dict = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], space)
    assert (space["answer"]("r in strawberry"), space["answer"]("2+2")) == ("3", None)
