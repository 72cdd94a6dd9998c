"""Span corruption: lengths by T5's formula, masks, rows by hand, and a run through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from batch import IGNORE
from lightning_modules.span_corruption import corrupted_row, lengths_of, noise_mask, random_parts
from tests.tasks.test_runs import SHORT, corpus, lab, summary  # noqa: F401


@pytest.mark.parametrize(
    ("n", "density", "span", "expected"),
    # T5's random_spans_helper: 512 inputs come from 568 tokens, with 114 targets
    [(568, 0.15, 3.0, (85, 28, 512, 114)), (128, 0.15, 3.0, (19, 6, 116, 26)), (2, 0.15, 3.0, (1, 1, 3, 3)),
     (10, 0.9, 1.0, (9, 1, 3, 11))],
)  # fmt: skip
def test_lengths_are_those_of_the_paper(n, density, span, expected):
    assert lengths_of(n, density, span) == expected


def test_masks_cut_the_share_in_spans_of_the_mean_length():
    lengths, rng = lengths_of(568, 0.15, 3.0), np.random.default_rng(0)
    places = np.zeros(568)
    for _ in range(400):
        mask = noise_mask(568, lengths, rng)
        starts = mask & ~np.concatenate([[False], mask[:-1]])
        assert (mask.sum(), starts.sum(), mask[0], mask[-1]) == (85, 28, False, True)
        places += mask
    inner = places[20:-20] / 400  # everywhere about as often: a standard error is .018
    assert abs(inner.mean() - 0.15) < 0.01
    assert inner.std() < 0.03


def test_every_way_of_cutting_is_as_likely():
    rng = np.random.default_rng(0)
    found = [tuple(random_parts(4, 2, rng)) for _ in range(3000)]
    assert set(found) == {(1, 3), (2, 2), (3, 1)}
    assert all(abs(found.count(way) - 1000) < 130 for way in set(found))  # five standard errors


def test_a_row_by_hand():
    ids, mask = np.array([11, 12, 13, 14, 15, 16, 17]), np.array([0, 0, 1, 1, 0, 0, 1], dtype=bool)
    inputs, targets = corrupted_row(ids, mask, np.array([90, 91, 92]), start=0, end=1)
    assert inputs == [11, 12, 90, 15, 16, 91, 1, 0, 90, 13, 14, 91, 17]
    assert targets == [IGNORE] * 7 + [90, 13, 14, 91, 17, 1]


SMALL = ["objective=span_corruption", "data=text", "data.path=text.txt", "model.n_layer=1", "model.n_embd=16",
         "model.n_head=2", "model.n_inner=16", "data.batch_size=4", "data.seq_len=32", "hardware=cpu"]  # fmt: skip


def test_it_chooses_an_encoder_decoder_and_its_loss_falls(corpus):  # noqa: F811
    words = ["trainer.max_steps=60", "trainer.val_every=30", "trainer.log_every=1", "optimizer.lr=1e-2"]
    assert lab(*SMALL, *words, "run_dir=run") == 0
    facts = summary("run")
    assert facts["model"] == "t5"
    # 32 tokens: 5 cut out, in 2 spans, and an end: 8 targets a row
    assert facts["tokens_seen"] == 60 * 4 * 8
    losses = [float(row.split(",")[1]) for row in loss_rows()]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    specials = json.loads(Path("run/tokenizer/tokenizer.json").read_text())["specials"]
    assert {"<pad>", "<extra_id_0>", "<extra_id_99>"} <= set(specials)


def loss_rows() -> list[str]:
    header, *rows = Path("run/metrics.csv").read_text().splitlines()
    at = header.split(",").index("train/loss")
    return [f"_,{row.split(',')[at]}" for row in rows if row.split(",")[at]]


def test_validation_is_the_same_each_time_and_a_decoder_may_fill_in_too(corpus):  # noqa: F811
    for run in ("a", "b"):
        assert lab(*SMALL, *SHORT, f"run_dir={run}", "optimizer.lr=1e-9") == 0
    assert summary("a")["metrics"]["val/loss"] == summary("b")["metrics"]["val/loss"]
    decoder = [word for word in SMALL if "n_inner" not in word]
    assert lab(*decoder, *SHORT, "model=gpt", "model.seq_len=64", "run_dir=c") == 0


def test_more_spans_than_sentinels_are_refused(corpus, capsys):  # noqa: F811
    words = ["objective.density=0.9", "objective.mean_span=1", "model.seq_len=512", "data.seq_len=512"]
    assert lab(*[w for w in SMALL if "seq_len" not in w], *SHORT, *words, "objective.density=0.5", "run_dir=run") == 2
    assert "100 sentinels" in capsys.readouterr().err


def test_what_was_pretrained_is_tuned_and_before_has_no_answers_to_evaluate(corpus, capsys):  # noqa: F811
    assert lab(*SMALL, *SHORT, "run_dir=run") == 0
    assert lab("task=evaluate", "init_from=run", "run_dir=evaluated") == 2
    assert "python run.py objective=sft init_from=run" in capsys.readouterr().err
    assert lab("task=generate", "init_from=run", "prompt=a b", "max_new_tokens=2", "run_dir=written") == 0
    words = ["callbacks.exact_match.questions=2", "callbacks.exact_match.max_new_tokens=2", "data.val_examples=4"]
    tuned = ["objective=sft", "init_from=run", "data=arithmetic", "model.seq_len=256", "data.batch_size=2"]
    assert lab(*tuned, *SHORT, *words, "hardware=cpu", "run_dir=tuned") == 0
