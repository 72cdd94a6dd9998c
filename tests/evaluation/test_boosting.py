"""What stages do, counted from known arrays and from a small ensemble."""

from functools import partial

import numpy as np
import pytest
import torch

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
from evaluation.boosting_page import page
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.gpt import GPT
from models.layers.loss import IGNORE

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
    assert table[2]["gain"] == pytest.approx((-0.25, -0.25, -0.25))  # the same in both windows: no doubt
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


def test_measuring_an_ensemble_agrees_with_its_loss():
    torch.manual_seed(0)
    base = GPT(vocab_size=11, seq_len=6, n_layer=2, n_head=2, n_embd=8)
    model = Boosted(base=base, learner=partial(LoRA, rank=2), plan=Plan(stages=2), seed=0)
    for p in model.learners.parameters():
        torch.nn.init.normal_(p, std=0.5)
    model.etas[:], _ = torch.tensor([0.5, 0.5]), model.closed.fill_(2)
    ids = torch.randint(0, 11, (3, 7))
    batch = {"ids": ids[:, :-1], "targets": ids[:, 1:].clone()}
    batch["targets"][0, 2] = IGNORE
    found = measure(model, [batch, batch], max_tokens=30)
    assert found.nll_Sn.shape == (3, 34)
    out = model(batch["ids"], targets_BT=batch["targets"])
    assert found.nll_Sn[2, :17].sum() == pytest.approx(float(out.loss), rel=1e-5)
    assert np.diag(found.cosine_MM) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert found.row_n.max() == 5
