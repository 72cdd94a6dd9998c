"""What stages do, counted from known arrays and from a small ensemble."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from batch import IGNORE
from evaluation.boosting import (
    Measured,
    by_category,
    by_stage,
    examples,
    frequency_bands,
    in_context,
    kind_of,
    measure,
    word_part,
)
from evaluation.boosting_moves import Move, Moves, moves
from evaluation.boosting_page import example_places, page
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.gpt import GPT
from tests.hostile import HOSTILE, assert_stays_text

TEXT = "ab 12. <b>"
IDS = np.array([ord(c) for c in TEXT])


def decode(ids):
    return "".join(map(chr, ids))


@pytest.fixture
def found():
    """Ten targets in two windows of five; stage 1 takes 0.5 off digits, stage 2 adds 0.25 everywhere."""
    base = np.full(10, 2.0)
    first = base - 0.5 * np.isin(IDS, [ord("1"), ord("2")])
    return Measured(
        nll_Sn=np.stack([base, first, first + 0.25]),
        right_Sn=np.stack([ord("a") == IDS] * 3),
        norm_Mn=np.stack([np.arange(10.0), np.ones(10)]),
        residual_Sn=np.ones((3, 10)),
        cosine_MM=np.eye(2),
        target_n=IDS,
        previous_n=np.concatenate([[32], IDS[:-1]]),
        row_n=np.repeat([0, 1], 5),
        position_n=np.tile(np.arange(5), 2),
        document_n=np.zeros(10, dtype=np.int64),
    )


def test_stages_are_compared_window_by_window(found):
    table = by_stage(found, np.ones(256, dtype=np.int64))
    assert [row["loss"].value for row in table] == pytest.approx([2.0, 1.9, 2.15])
    assert table[1]["gain"].value == pytest.approx(0.1)
    gain = table[2]["gain"]
    assert gain.value == pytest.approx(-0.25)
    assert np.isnan([gain.low, gain.high]).all(), "F35: two windows say nothing about others"
    assert table[0]["bpb"].value == pytest.approx(2.0 / np.log(2))
    assert table[0]["accuracy"].value == pytest.approx(0.1)


def test_gains_are_told_apart_by_category(found):
    rows = {(r["family"], r["name"]): r for r in by_category(found, lambda i: chr(i))}
    assert rows["kind", "digits"]["gains"] == pytest.approx([0.5, -0.25])
    assert rows["kind", "letters"]["gains"] == pytest.approx([0.0, -0.25])
    assert rows["kind", "digits"]["targets"] == 2
    assert rows["before", "right"]["targets"] == 1
    for family in ("frequency", "kind", "part of word", "position", "before"):
        assert sum(r["targets"] for (f, _), r in rows.items() if f == family) == 10


def test_names_of_tokens():
    assert [kind_of(t) for t in (" ", "7", "!?", "Abc", "abc", "a1")] == [
        *("white space", "digits", "punctuation", "capitals", "letters", "other")
    ]
    assert word_part(" ", "a") == "start of a word"
    assert word_part("a", "b") == "inside a word"
    assert word_part("a", " ") == "no word"
    bands = frequency_bands(np.array([5] * 90 + [1] * 10))
    assert set(bands[:90]) == {"1 most frequent"}
    assert set(bands[90:]) == {"5 rarest"}


def test_examples_and_a_page_that_shows_text_as_text(found):
    assert examples(found, 0, n=2) == [9, 8]
    assert set(examples(found, 0, n=2, by="helped")) == {3, 4}
    assert in_context(found, 9, decode) == ("2. <b", ">")
    html = page(found, np.ones(256, dtype=np.int64), decode, title="x", records=[{"stage": 0, "eta": None}])
    assert "&lt;b<mark>&gt;</mark>" in html
    assert "<b<mark>" not in html
    assert html.count("<svg") == 2  # losses and gains


def test_hostile_text_stays_text_on_the_page(found):
    moved = {place: Moves([Move(0, 0.1, 0.2)], [Move(0, 0.2, 0.1)]) for place in example_places(found)}
    html = page(found, np.ones(256, dtype=np.int64), lambda ids: HOSTILE, title=HOSTILE, moved=moved)
    assert_stays_text(html, times=2 + 2 * len(moved))


@pytest.fixture
def measured():
    """(ensemble of two stages, two batches of three windows, what was measured on them)."""
    torch.manual_seed(0)
    base = GPT(vocab_size=11, seq_len=6, n_layer=2, n_head=2, n_embd=8)
    model = Boosted(base=base, learner=partial(LoRA, rank=2), plan=Plan(stages=2), seed=0)
    for p in model.learners.parameters():
        torch.nn.init.normal_(p, std=0.5)
    model.etas[:], _ = torch.tensor([0.5, 0.5]), model.closed.fill_(2)
    ids = torch.randint(0, 11, (6, 7))
    batch = {"ids": ids[:3, :-1], "targets": ids[:3, 1:].clone()}
    batch["targets"][0, 2] = IGNORE
    batches = [batch, {"ids": ids[3:, :-1], "targets": ids[3:, 1:]}]
    return model, batches, measure(model, batches, max_tokens=30)


def test_measuring_an_ensemble_agrees_with_its_loss(measured):
    model, (batch, _), found = measured
    assert found.nll_Sn.shape == (3, 35)
    out = model(batch["ids"], targets_BT=batch["targets"])
    assert found.nll_Sn[2, :17].sum() == pytest.approx(float(out.loss), rel=1e-5)
    assert np.diag(found.cosine_MM) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert found.row_n.max() == 5


def test_most_raised_and_lowered_tokens_are_those_of_the_logits(measured):
    model, batches, found = measured
    table = moves(model, batches, found, [(0, 2), (1, 2), (1, 34)])
    assert set(table) == {(0, 2), (1, 2), (1, 34)}
    assert found.row_n[17] == 3  # the first window of the second batch is looked at even if it is the last wanted
    assert set(moves(model, batches, found, [(0, 17)])) == {(0, 17)}
    for (m, n), moved in table.items():
        batch = batches[found.row_n[n] // 3]
        p = []
        for stages in (m, m + 1):  # a naive way: the whole forward pass of each prefix
            model.plan = replace(model.plan, use_stages=stages)
            logits = model(batch["ids"], logits="all").logits[found.row_n[n] % 3, found.position_n[n]]
            p.append(logits.detach().softmax(-1))
        change = p[1] - p[0]
        assert [t.token for t in moved.raised] == change.argsort(descending=True)[:5].tolist()
        assert [t.token for t in moved.lowered] == change.argsort()[:5].tolist()
        first = moved.raised[0]
        assert (first.before, first.after) == pytest.approx((float(p[0][first.token]), float(p[1][first.token])))


def test_the_page_tells_what_rose_and_what_fell(measured):
    model, batches, found = measured
    letters = lambda ids: "".join("<bcdefghijk"[i] for i in ids)  # noqa: E731
    moved = moves(model, batches, found, example_places(found))
    html = page(found, np.ones(11, dtype=np.int64), letters, title="x", moved=moved)
    assert "most raised" in html
    assert "most lowered" in html
    first = moved[0, examples(found, 0)[0]].raised[0]
    token = letters([first.token]).replace("<", "&lt;")
    assert f"<code>{token}</code> {100 * first.before:.1f} &rarr; {100 * first.after:.1f} %" in html
