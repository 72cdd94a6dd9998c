"""data=judged: runs put together, questions on one side, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.judged import JudgedDataModule, judged_ids
from errors import RequestError
from tokenization.byte import ByteTokenizer
from tokenization.chat import chat_template


def line(i: int, texts: list[str], labels: list[bool], **more) -> dict:
    return {"question": f"q{i}", "texts": texts, "labels": labels, "source": f"chain {i // 2}"} | more


def written(folder: Path, lines: list[dict]) -> str:
    folder.mkdir()
    (folder / "predictions.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    return str(folder)


def module(path, **settings) -> JudgedDataModule:
    shared = {"seq_len": 64, "batch_size": 4, "val_fraction": 0.3, "seed": 0} | settings
    return JudgedDataModule(path=path, tokenizer=ByteTokenizer(), **shared)


def prepared(path, **settings) -> JudgedDataModule:
    data = module(path, **settings)
    data.prepare()
    return data


def test_several_runs_together_by_question(tmp_path) -> None:
    one = written(tmp_path / "one", [line(i, ["a", "b"], [True, False]) for i in range(20)])
    two = written(tmp_path / "two", [line(i, ["c", ""], [False, False]) for i in range(20)])
    data = prepared([one, f"{two}/predictions.jsonl"])
    facts = data.describe()
    assert facts["train"]["questions"] + facts["val"]["questions"] == 20
    assert facts["train"]["answers"] == 4 * facts["train"]["questions"]
    assert facts["train"]["right"] == facts["val"]["right"] == 0.25
    sides = [{int(q[1:]) // 2 for q in data.table(side).asked} for side in ("train", "val")]
    assert not sides[0] & sides[1], "what is about the same is on one side"
    fewer = prepared([one, two], per_question=3)
    assert fewer.left_out == 20
    assert len(fewer.table("train")) == 3 * len(fewer.table("train").asked)
    assert fewer.fingerprint == prepared([one, two], per_question=3).fingerprint != data.fingerprint


def test_batches_carry_labels_and_every_token_that_is_read(tmp_path) -> None:
    data = prepared(written(tmp_path / "run", [line(i, ["yes", "no"], [True, False]) for i in range(30)]))
    (micro,) = data.train_dataloader().dataset[0]
    assert set(micro) == {"ids", "targets", "padding", "labels", "index"}
    table = data.table("train")
    for row in range(len(micro["ids"])):
        n = int(micro["padding"][row].sum())
        assert micro["ids"][row, n - 1] == data.template.end, "the end of the answer is read"
        example = table.examples[int(micro["index"][row])]
        assert micro["ids"][row, :n].tolist() == example.ids[:-1].tolist()
        assert micro["labels"][row] == table.labels[micro["index"][row]] == (b"yes"[0] in micro["ids"][row].tolist())
    seen = [i for rank in (0, 1) for b in data._validation(rank, 2) for i in b["index"].tolist() if i >= 0]
    assert sorted(seen) == list(range(len(data.table("val"))))


def test_an_answer_is_its_text_and_its_end() -> None:
    template, tokenizer = chat_template(ByteTokenizer())
    ids, mask = judged_ids("2+2?", "4", template)
    assert tokenizer.decode(ids[mask].tolist(), skip_specials=True) == "4"
    assert ids[np.flatnonzero(mask)[-1]] == template.end
    assert not mask[-1]
    blank, counted = judged_ids("2+2?", " ", template)
    assert (blank[counted].tolist(), counted[-1]) == ([32, template.end], False)
    prompt = template.render_for_completion([{"role": "user", "content": "2+2?"}])
    assert ids[: len(prompt)].tolist() == prompt.tolist(), "as the model was asked"


def test_without_a_path_word_problems_are_judged() -> None:
    data = prepared(None, pairs=12, val_pairs=4, seq_len=256)
    assert data.describe()["train"] | {"tokens": 0} == {
        "questions": 12, "answers": 24, "right": 0.5, "tokens": 0, "documents": 24,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"question": "q", "texts": ["a"], "rights": 1}], "as many 'labels'.*have no labels: run task=evaluate"),
        ([line(0, ["a", "b"], [True])], "as many 'labels'"),
        ([line(i, ["a"], [True]) for i in range(20)], "all .* answers of the train.* side are right"),
        ([line(i, ["a"], [False]) for i in range(20)], "are wrong: there is nothing to tell apart"),
        ([line(0, ["a"], [True]), line(0, ["a"], [False])], "'a' is right here and wrong in an earlier line"
         "|is wrong here|right here and wrong"),
        ([line(0, ["a"], [True]), line(0, ["b"], [False], source="other")], "would stand on both sides"),
        ([line(i, ["a" * 90, "b"], [True, False]) for i in range(20)], "take more than data.seq_len=64.*longest 98"),
        ([], "no row|no question is left|empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(tmp_path, lines, message) -> None:
    with pytest.raises(RequestError, match=f"(?s){message}"):
        prepared(written(tmp_path / "run", lines))


def test_a_run_without_predictions_says_what_writes_them(tmp_path) -> None:
    with pytest.raises(RequestError, match=r"init_from=RUN benchmark=NAME evaluate\.samples=16"):
        prepared(str(tmp_path))
