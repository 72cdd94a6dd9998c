"""Rendering, cutting and counting: what becomes of every row is known (N26, S11)."""

import numpy as np
import pytest

from datamodules.batching.example_batches import packed, padded
from datamodules.batching.examples import Conversation, cut, render_all
from datamodules.batching.preview import marked, tokens_with_weights
from tokenization.byte import ByteTokenizer
from tokenization.chat import Rendered, chat_template

TEMPLATE, TOKENIZER = chat_template(ByteTokenizer())


def chat(question: str, answer: str) -> Conversation:
    return Conversation([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])


def rendered(n: int, learned: set[int]) -> Rendered:
    return Rendered(np.arange(n), np.array([i in learned for i in range(n)]))


@pytest.mark.parametrize(
    ("truncate", "ids"), [("end", [0, 1, 2, 3]), ("start", [6, 7, 8, 9]), ("drop", None)], ids=lambda x: str(x)
)
def test_what_is_cut_is_said(truncate, ids):
    example, left_out_as_long = cut(rendered(10, {3, 7, 9}), 3, truncate)
    assert (None if example is None else example.ids.tolist()) == ids
    assert left_out_as_long == (truncate == "drop")


def test_S11_a_cut_that_takes_the_whole_answer_leaves_nothing_to_learn():
    assert cut(rendered(10, {8, 9}), 3, "end") == (None, False)


def test_the_first_token_alone_is_nothing_to_learn():
    assert cut(rendered(4, {0}), 8, "end") == (None, False)


def test_N26_rows_are_counted():
    rows = [chat("q", "answer"), chat("q" * 50, "a"), chat("q", "a" * 50)]
    kept: list[Conversation] = []
    examples = render_all(rows, TEMPLATE, learn="assistant", seq_len=20, truncate="end", kept=kept.append)
    report = examples.report
    assert (report.rows, report.kept, report.unsupervised, report.too_long) == (3, 2, 1, 1)
    assert kept == [rows[0], rows[2]]
    whole = len(TEMPLATE.render(rows[2].messages).ids)
    assert report.tokens_cut == whole - 21
    assert report.tokens == (len(examples[0].ids) - 1) + 20
    assert report.supervised == len("answer") + 1 + (20 - 4)  # the last row: all that is left of its answer
    assert report.supervised_share == report.supervised / report.tokens
    dropped = render_all(rows, TEMPLATE, learn="assistant", seq_len=20, truncate="drop").report
    assert (dropped.kept, dropped.unsupervised, dropped.too_long, dropped.tokens_cut) == (1, 0, 2, 0)


def test_N26_the_mask_is_shown():
    example = TEMPLATE.render(chat("ab", "cd").messages)
    assert marked(TOKENIZER, example, colour=False) == (
        "<|bos|><|user_start|>ab<|user_end|><|assistant_start|>[[cd<|assistant_end|>]]"
    )
    assert "\033[32mcd<|assistant_end|>\033[0m" in marked(TOKENIZER, example, colour=True)


def test_each_token_with_the_weight_of_its_own_loss():
    example = TEMPLATE.render(chat("ab", "cd").messages)
    (row,) = tokens_with_weights(TOKENIZER, padded([example], pad=0))
    weights = {text: weight for text, _, weight in row[: len(example.ids)]}
    assert [text for text, weight in weights.items() if weight] == ["c", "d", "<|assistant_end|>"]


def test_targets_are_the_next_tokens_and_rows_are_filled_up():
    batch = padded([rendered(4, {2, 3}), rendered(9, {8})], pad=99, rows=3)
    assert batch["ids"].tolist() == [[0, 1, 2] + [99] * 5, list(range(8)), [99] * 8]
    assert batch["targets"].tolist() == [[-100, 2, 3] + [-100] * 5, [-100] * 7 + [8], [-100] * 8]


def test_S6_a_packed_row_has_no_target_across_a_border():
    batch = packed([[rendered(3, {1, 2}), rendered(3, {1, 2})]], 6, pad=99)
    assert batch["ids"].tolist() == [[0, 1, 0, 1, 99, 99]]
    assert batch["targets"].tolist() == [[1, 2, 1, 2, -100, -100]]
    assert batch["documents"].tolist() == [[0, 0, 1, 1, 2, 2]]
