"""What answers are worth: hand-worked numbers, and simulated chances."""

import itertools

import numpy as np
import pytest
import torch

from evaluation.metrics import (
    by_sentence,
    calibration_error,
    macro_f1,
    majority,
    pass_at_k,
    rouge,
    squad_exact,
    squad_f1,
)


def test_pass_at_k_is_the_share_of_draws_with_a_right_answer() -> None:
    for n, right in itertools.product(range(1, 6), range(6)):
        if right > n:
            continue
        for k in range(1, n + 1):
            draws = list(itertools.combinations([True] * right + [False] * (n - right), k))
            assert pass_at_k(n, right, k) == pytest.approx(np.mean([any(draw) for draw in draws]))
    with pytest.raises(ValueError, match="at least 5"):
        pass_at_k(4, 1, 5)


def test_macro_f1_worked_by_hand() -> None:
    # class 0: precision 1/2, recall 1/2, F1 0.5; class 1: precision 1/1, recall 1/2, F1 2/3; one answer was no choice
    assert macro_f1([0, -1, 0, 1], [0, 0, 1, 1], 2) == pytest.approx((0.5 + 2 / 3) / 2)
    assert macro_f1([0, 0], [0, 0], 2) == 1.0, "class 1 was neither asked for nor given: it has no F1"
    assert macro_f1([0, 1], [0, 0], 3) == pytest.approx((2 / 3 + 0) / 2)


def test_macro_f1_is_that_of_torchmetrics_where_every_answer_is_a_choice() -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 5):
        made, expected = torch.randint(0, classes - (classes > 2), (2, 30), generator=generator)
        theirs = functional.multiclass_f1_score(made, expected, num_classes=classes, average="macro")
        assert macro_f1(made.tolist(), expected.tolist(), classes) == pytest.approx(float(theirs))


def test_calibration_error_worked_by_hand() -> None:
    # bins (0.5, 0.6] and (0.8, 0.9]: |0.55 - 0.5| * 2/4 + |0.85 - 1.0| * 2/4
    found = calibration_error(np.array([0.55, 0.55, 0.85, 0.85]), np.array([1, 0, 1, 1]))
    assert found == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)


def test_majority_leaves_out_what_could_not_be_read() -> None:
    assert majority([None, None, "7", "5", "7"]) == "7"
    assert majority([None]) is None


def test_rouge_worked_by_hand() -> None:
    pytest.importorskip("rouge_score")
    (score,) = rouge(["the cat sat"], ["the cat ran far"])
    # two of three words, two of four; one bigram of two, of three; longest common subsequence 2
    assert score["rouge1"] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert score["rouge2"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert score["rougeL"] == pytest.approx(score["rouge1"])


def test_rouge_Lsum_compares_sentences_by_hand() -> None:
    pytest.importorskip("rouge_score")
    (score,) = rouge(["He left. She ran."], ["She ran! He left."])
    assert score["rougeL"] == pytest.approx(0.5)  # two words of four in one order
    assert score["rougeLsum"] == 1.0  # each sentence is there
    assert by_sentence("It cost 3.50. Why? Yes") == "It cost 3.50.\nWhy?\nYes"


IDENTICAL = {
    "Chinese": "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u3002",
    "Russian": "\u0445\u043e\u0440\u043e\u0448\u0438\u0439 \u0434\u0435\u043d\u044c.",
    "Thai": "\u0e27\u0e31\u0e19\u0e19\u0e35\u0e49\u0e2d\u0e32\u0e01\u0e32\u0e28\u0e14\u0e35",
    "Hindi": "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "Arabic": "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
}


@pytest.mark.parametrize("text", IDENTICAL.values(), ids=IDENTICAL)
def test_F12_identical_texts_of_any_script_score_one(text: str) -> None:
    pytest.importorskip("rouge_score")
    assert rouge([text], [text]) == [{"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0, "rougeLsum": 1.0}]
    assert 0 < rouge([text + " x y"], [text])[0]["rouge1"] < 1


ENGLISH = [
    ("The cats were sitting on the mats, weren't they?", "A cat sat on 2 mats; they're its mats."),
    ("snake_case and U.S. dollars: $1,200.50", "Snake case, US dollars 1200"),
    ("", "nothing"),
]


def test_F12_english_is_scored_as_by_rouge_score() -> None:
    scorers = pytest.importorskip("rouge_score.rouge_scorer")
    theirs = scorers.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    for made, reference in ENGLISH:
        lines = [text.replace("; ", ";\n") for text in (reference, made)]  # no sentence ends within these texts
        wanted = {name: score.fmeasure for name, score in theirs.score(reference, made).items()}
        by_line = theirs.score(*lines)["rougeLsum"].fmeasure
        assert rouge([lines[1]], [lines[0]])[0]["rougeLsum"] == by_line
        assert rouge([made], [reference]) == [wanted]


def test_F12_squad_worked_by_hand() -> None:
    assert squad_exact("The  Eiffel-Tower!", ["a tower", "eiffeltower"]) == 1.0, "punctuation goes without a space"
    assert squad_exact("Eiffel Tower", ["eiffeltower"]) == 0.0
    # made: tall old tower; right: old old stone tower. Two words shared of three and of four
    assert squad_f1("the tall, old tower", ["old old stone tower"]) == pytest.approx(
        2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)
    )
    assert squad_f1("x y", ["z", "y x", "x"]) == 1.0, "the best of the right answers counts"
    assert (squad_f1("the", ["a"]), squad_f1("the", ["b"])) == (1.0, 0.0), "both without words: equal"
