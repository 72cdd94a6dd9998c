"""Each benchmark on a row with the columns that its data set has."""

import pytest

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
