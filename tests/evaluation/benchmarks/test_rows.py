"""Each benchmark on a row with the columns that its data set has."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.reading.formats import to_messages
from datamodules.reading.ignored import Ignored
from errors import RequestError
from evaluation.benchmarks.arc import ARC
from evaluation.benchmarks.base import Benchmark
from evaluation.benchmarks.gsm8k import GSM8K
from evaluation.benchmarks.hellaswag import HellaSwag
from evaluation.benchmarks.mawps import MAWPS
from evaluation.benchmarks.mmlu import MMLU
from evaluation.benchmarks.samsum import SAMSum
from evaluation.benchmarks.scienceqa import ScienceQA
from evaluation.benchmarks.sst2 import SST2
from evaluation.benchmarks.svamp import SVAMP
from evaluation.intervals import mean_interval
from launcher.config.compose import compose
from launcher.config.instantiate import build
from launcher.lab import Lab
from tasks.evaluating.asking import Facts
from tasks.evaluating.benchmark import load, record

LAB = Lab(Path(__file__).parents[3])

ROWS = [
    (SST2, {"sentence": "good ", "label": 1}, "positive", 2, "good\nIs this"),
    (GSM8K, {"question": "How many?", "answer": "2+2=<<2+2=4>>4\n#### 4"}, "2+2=<<2+2=4>>4\n#### 4", 0, "How many?"),
    (
        SVAMP,
        {"Body": "Tim has 3 pens", "Question": "How many?", "Answer": 3.0},
        "#### 3",
        0,
        "Tim has 3 pens. How many?",
    ),
    (MAWPS, {"question": "1 + 1 ?", "result_float": 2.5}, "#### 2.5", 0, "1 + 1 ?"),
    (ScienceQA, {"question": "Q", "choices": ["x", "y"], "answer": 1, "hint": "H"}, "B. y", 2, "H\n\nQ\n\nA. x\nB. y"),
    (ScienceQA, {"question": "Q", "choices": ["x\nz", "y"], "answer": 1}, "B. y", 2, "Q\n\nA. x\nz\nB. y"),
    (ARC, {"question": "Q", "choices": {"label": ["1", "2"], "text": ["x", "y"]}, "answerKey": "2"}, "y", 2, "Q"),
    (
        HellaSwag,
        {"activity_label": "Cooking", "ctx": "He [header] stirs", "endings": ["a [step] b", "c"], "label": "0"},
        *("a b", 2, "Cooking: He stirs"),
    ),
    (MMLU, {"question": "Q", "choices": ["a", "b", "c", "d"], "answer": 3}, "D", 4, "Q\nA. a\nB. b"),
    (SAMSum, {"dialogue": "A: hi", "summary": "A greets."}, "A greets.", 0, "Summarise this dialogue.\n\nA: hi"),
]


@pytest.mark.parametrize(("kind", "row", "answer", "choices", "ask"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_a_row_becomes_a_question(kind: type[Benchmark], row: dict, answer: str, choices: int, ask: str) -> None:
    (question,) = kind(path="x").questions([(row, "x, row 1")])
    assert (question.answer, len(question.choices)) == (answer, choices)
    assert question.ask.startswith(ask)
    assert not question.choices or answer in question.choices


def test_one_question_has_no_interval_and_the_file_stays_json(tmp_path: Path, capsys) -> None:
    """NaN is no JSON: jq and browsers refuse the whole file."""
    run = SimpleNamespace(path=tmp_path, results={})
    record(run, "sst2", "choices", {"accuracy": mean_interval(np.ones(1))}, [{"right": True}], cut=0, more=Facts())

    def refuse(word: str) -> None:
        raise AssertionError(word)

    written = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=refuse)
    assert written["accuracy"] == {"value": 1.0, "low": None, "high": None}
    assert "one question: no interval" in capsys.readouterr().out


def test_a_split_without_labels_is_refused_and_not_scored_against_the_last_choice() -> None:
    """SST-2's test split has -1 for every label, and choices[-1] is "positive"."""
    for kind, row in (
        (SST2, {"sentence": "good", "label": -1}),
        (MMLU, {"question": "Q", "choices": ["a", "b"], "answer": -1}),
        (ScienceQA, {"question": "Q", "choices": ["a", "b"], "answer": 2}),
        (HellaSwag, {"activity_label": "C", "ctx": "x", "endings": ["a", "b"], "label": "-1"}),
    ):
        with pytest.raises(RequestError, match="does this split have labels"):
            kind(path="x").questions([(row, "x, row 1")])


# whole rows as the data sets publish them, other columns included: what a downloaded file holds
PUBLISHED = [
    ("svamp", {"ID": "chal-1", "Body": "There are 87 oranges", "Question": "How many?", "Equation": "( 87.0 - 2.0 )",
               "Answer": "85.0", "Type": "Subtraction", "question_concat": "x"}, "#### 85"),
    ("mawps", {"id": "mawps__x", "question": "Joan found 70 seashells.", "chain": "<gadget/>", "result": "27",
               "result_float": 27.0, "equation": "x=70-43", "expression": "70 - 43"}, "#### 27"),
    ("arc", {"id": "Mercury_7175875", "question": "Which?", "answerKey": "C",
             "choices": {"text": ["a", "b", "c", "d"], "label": ["A", "B", "C", "D"]}}, "c"),
    ("hellaswag", {"ind": 24, "activity_label": "Roof", "ctx_a": "A man", "ctx_b": "he", "ctx": "A man he",
                   "endings": ["w", "x", "y", "z"], "source_id": "v", "split": "val", "split_type": "i", "label": "3"},
     "z"),
    ("mmlu", {"question": "Find it.", "subject": "algebra", "choices": ["0", "4", "2", "6"], "answer": 1}, "B"),
    ("samsum", {"id": "13818513", "dialogue": "Amanda: I baked cookies.\r\nJerry: Sure!", "summary": "Amanda baked."},
     "Amanda baked."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "answer"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_downloaded_file_is_read(name: str, row: dict, answer: str, kind: str, tmp_path: Path) -> None:
    plan = compose(["task=evaluate", f"benchmark={name}", f"benchmark.path={tmp_path}"], LAB)
    benchmark = build(plan.cfg.benchmark)
    for split, rows in ((benchmark.split, [row]), (benchmark.shots_split, [row, row])):
        if kind == "jsonl":
            lines = "".join(json.dumps(r) + "\n" for r in rows)
            (tmp_path / f"{split}.jsonl").write_text(lines)
        else:
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{split}-00000-of-00001.parquet")
    assert [question.answer for question in load(benchmark, benchmark.split, None)] == [answer]
    assert len(load(benchmark, benchmark.shots_split, None)) == 2


MAWPS_CSV = """Question,Numbers,Equation,Answer,group_nums,Body,Ques_Statement
ann needs number0 nails . she has number1 nails . how many are missing ?,8.0 2.0,- number0 number1,6.0,"[12, 13]",x,y
how much is number0 of number1 ?,0.5 3,* number0 number1,1.5,[],x,y
"""


def evaluated(name: str, path: Path, *words: str) -> Benchmark:
    return build(compose(["task=evaluate", f"benchmark={name}", f"benchmark.path={path}", *words], LAB).cfg.benchmark)


def test_F40_the_published_csv_of_mawps_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(MAWPS_CSV)
    (tmp_path / "dev.csv").write_text(MAWPS_CSV)
    benchmark = evaluated("mawps", tmp_path, "benchmark.split=dev")
    first, second = load(benchmark, "dev", None)
    assert first.ask == "ann needs 8 nails . she has 2 nails . how many are missing ?"
    assert (first.answer, second.ask, second.answer) == ("#### 6", "how much is 0.5 of 3 ?", "#### 1.5")
    (tmp_path / "dev.csv").write_text(MAWPS_CSV.replace("8.0 2.0", "8.0"))
    with pytest.raises(RequestError, match=r"dev.csv, row 1: not a row of this benchmark"):
        load(benchmark, "dev", None)
    (tmp_path / "dev.jsonl").write_text(json.dumps({"sQuestion": "1 + 1 ?", "lSolutions": [2.0]}) + "\n")
    (question,) = load(evaluated("mawps", tmp_path / "dev.jsonl"), "dev", None)
    assert (question.ask, question.answer) == ("1 + 1 ?", "#### 2")


def test_F40_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    """Once all rows were asked, those of training among them."""
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text(MAWPS_CSV)
    with pytest.raises(RequestError, match=r"(?s)has no split 'test'; there are dev, train\..*benchmark.split=dev"):
        load(evaluated("mawps", tmp_path), "test", None)
    for side in ("train", "test"):
        (tmp_path / "deep" / side).mkdir(parents=True)
        (tmp_path / "deep" / side / "0000.jsonl").write_text(json.dumps({"question": side, "answer": "#### 1"}) + "\n")
    assert [q.ask for q in load(evaluated("gsm8k", tmp_path / "deep"), "test", None)] == ["test"]
    with pytest.raises(RequestError, match="there are test, train"):
        load(evaluated("gsm8k", tmp_path / "deep"), "validation", None)


def test_F40_a_folder_whose_files_name_no_split_is_one_as_a_whole(tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / f"part-{i}.jsonl").write_text(json.dumps({"question": f"q{i}", "answer": "#### 1"}) + "\n")
    assert len(load(evaluated("gsm8k", tmp_path), "test", None)) == 2


def test_F40_columns_of_other_names(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("problem,solution\n1 + 1?,#### 2\n")
    words = "benchmark.columns={question: problem, answer: solution}"
    (question,) = load(evaluated("gsm8k", tmp_path / "own.csv", words), "test", None)
    assert (question.ask, question.answer) == ("1 + 1?", "#### 2")
    with pytest.raises(RequestError, match="names 'problems'; columns: 'problem', 'solution'"):
        load(evaluated("gsm8k", tmp_path / "own.csv", words.replace("problem", "problems")), "test", None)
    with pytest.raises(RequestError, match="'answers' is none of answer, question"):
        evaluated("gsm8k", tmp_path / "own.csv", "benchmark.columns={answers: solution}")
    (tmp_path / "bare.csv").write_text("1 + 1?,#### 2\n")
    (question,) = load(evaluated("gsm8k", tmp_path / "bare.csv", "benchmark.columns=[question,answer]"), "test", None)
    assert question.answer == "#### 2"


def test_what_is_missing_offline_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    benchmark = build(compose(["task=evaluate", "benchmark=svamp"], LAB).cfg.benchmark)
    with pytest.raises(
        RequestError, match=r"(?s)benchmark.path=.*datasets/ChilleD/SVAMP \(split test\).*Body, Question"
    ):
        load(benchmark, benchmark.split, 3)


@pytest.mark.parametrize("written", [json.dumps, str], ids=["json", "python"])
def test_F3_choices_in_a_cell_of_a_table_are_a_list_and_not_letters(written, tmp_path: Path) -> None:
    """A .csv of ScienceQA holds "['pine', 'oak']": one choice for each character of it once."""
    row = {"question": "Q", "choices": written(["it's, a pine", "oak"]), "answer": 1}
    with (tmp_path / "test.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    benchmark = evaluated("scienceqa", tmp_path)
    (question,) = load(benchmark, "test", None)
    assert question.choices == ("A. it's, a pine", "B. oak")
    assert to_messages(row, "scienceqa", "x")[1]["content"] == "Q\n\nA. it's, a pine\nB. oak"


def test_F3_choices_as_numpy_prints_them_are_refused() -> None:
    for kind, row in (
        (ScienceQA, {"question": "Q", "choices": "['pine' 'oak']", "answer": 0}),
        (MMLU, {"question": "Q", "choices": "pine, oak", "answer": 0}),
        (ARC, {"question": "Q", "choices": "{'text': array(['x'], dtype=object)}", "answerKey": "A"}),
    ):
        with pytest.raises(RequestError, match=r"x, row 1: .* expected a list or an object"):
            kind(path="x").questions([(row, "x, row 1")])


@pytest.mark.parametrize(("name", "row", "answer"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_F4_columns_that_are_not_asked_are_counted_by_name(name: str, row: dict, answer: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text((json.dumps(row | {"note": None}) + "\n") * 3)
    (tmp_path / "notes.pdf").write_text("x")
    ignored = Ignored()
    benchmark = evaluated(name, tmp_path)
    load(benchmark, benchmark.split, None, ignored)
    unused = {
        "svamp": ["ID", "Equation", "Type", "question_concat"],
        "mawps": ["id", "chain", "result", "equation", "expression"],
        "arc": ["id"],
        "hellaswag": ["ind", "ctx_a", "ctx_b", "source_id", "split", "split_type"],
        "mmlu": ["subject"],
        "samsum": ["id"],
    }[name]
    assert ignored == {f"column {column!r}": 3 for column in unused} | {"file ending .pdf": 1}


def test_F4_a_column_that_was_renamed_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"problem": "1+1?", "solution": "#### 2", "question": "other"}) + "\n")
    benchmark = evaluated("gsm8k", tmp_path, "benchmark.columns={question: problem, answer: solution}")
    ignored = Ignored()
    load(benchmark, benchmark.split, None, ignored)
    assert ignored == {"column 'question'": 1}
