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
from evaluation.boosting_stopping import UNITS, Costs, costs_of, stopping, stops_at
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
        confidence_Sn=np.full((3, 10), 0.5),
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


def test_overconfidence_is_how_sure_minus_how_often_right(found):
    """Half sure everywhere, right once in ten."""
    right = np.stack([np.arange(10) == 0, np.arange(10) < 5, np.ones(10, bool)])
    table = by_stage(replace(found, right_Sn=right), np.ones(256, dtype=np.int64))
    assert [row["overconfidence"].value for row in table] == pytest.approx([0.4, 0.0, -0.5])
    assert [row["ece"] for row in table] == pytest.approx([0.4, 0.0, 0.5])


def test_a_unit_stops_at_the_first_prefix_that_is_sure_enough():
    confidence = np.array([[0.9, 0.1, 0.1], [0.1, 0.6, 0.2], [0.1, 0.9, 0.3]])
    assert stops_at(confidence, 0.5).tolist() == [0, 1, 2]
    assert confidence[2, 2] == 0.3  # not written to


def test_stopping_early_worked_by_hand(found):
    """Ten targets in two windows. Windows of mean confidence 0.8 and 0.2: the first one stops at the base."""
    confidence = np.repeat([[0.8, 0.2]], 5, axis=1) * np.ones((3, 1))
    nll = np.stack([np.repeat([1.0, 5.0], 5), np.repeat([1.5, 3.0], 5), np.repeat([1.5, 2.0], 5)])
    asked = replace(found, confidence_Sn=confidence, nll_Sn=nll)
    costs = Costs(base=100, stages=[40, 60], look=10)
    base, one, two, *ruled = stopping(asked, costs, unit="window")
    assert [row["loss"] for row in (base, one, two)] == [3.0, 2.25, 1.75]
    assert [row["flops"] for row in (base, one, two)] == [1.0, 1.4, 2.0]
    assert [row["stages"] for row in ruled[:2]] == [1.0, 1.0]
    assert ruled[0]["shares"] == [0.5, 0.0, 0.5]
    assert ruled[0]["loss"] == 1.5  # 1 of the first window, 2 of the second
    assert ruled[0]["flops"] == pytest.approx(0.5 * 1.0 + 0.5 * 2.2)  # two looks before the last pass
    assert ruled[0]["against"].value == pytest.approx(1.5 - (0.5 * 3.0 + 0.5 * 1.75))


def test_tokens_stop_one_by_one_and_windows_as_a_whole(found):
    confidence = np.tile([0.9, 0.9, 0.1, 0.1, 0.1], (3, 2))
    asked = replace(found, confidence_Sn=confidence)
    costs = Costs(base=100, stages=[40, 60], look=10)
    *_, last = stopping(asked, costs, unit="token")
    assert last["shares"] == [1.0, 0.0, 0.0]  # three quarters of them are 0.1 sure or more, and so are all
    assert [row["shares"] for row in stopping(asked, costs, unit="token")[3:5]] == [[0.4, 0.0, 0.6], [1.0, 0.0, 0.0]]
    assert all(row["shares"] == [1.0, 0.0, 0.0] for row in stopping(asked, costs, unit="window")[3:])


def test_costs_of_stages_are_those_of_the_blocks_they_run(measured):
    model, *_ = measured
    costs = costs_of(model, 6)
    block = sum(p.numel() for p in model.base.blocks[1].parameters())
    own = sum(p.numel() for p in model.learners[0].parameters())
    attention = 4 * 8 * 6  # of one block of two: QK^T and its product with V, forward
    assert costs.stages == [2 * (block + own) + attention] * 2
    assert costs.look == 2 * 11 * 8
    assert costs.base == model.base.flops_per_token(6)


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
    stops = {unit: stopping(found, costs_of(model, 6), unit=unit) for unit in UNITS}
    records = [{"stage": 0}, {"stage": 1, "looks": [[25, 2.0], [50, 1.5]]}]
    shown = {"moved": moved, "stops": stops, "records": records}
    html = page(found, np.ones(11, dtype=np.int64), letters, title="x", **shown)
    assert "a token that is" in html
    assert "loss on the dev part" in html
    assert "most raised" in html
    assert "most lowered" in html
    first = moved[0, examples(found, 0)[0]].raised[0]
    token = letters([first.token]).replace("<", "&lt;")
    assert f"<code>{token}</code> {100 * first.before:.1f} &rarr; {100 * first.after:.1f} %" in html
