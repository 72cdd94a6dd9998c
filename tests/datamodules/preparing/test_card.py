"""The data card counts what is there."""

import json

import numpy as np

from datamodules.preparing.card import data_card, histogram, quantiles, show
from tokenization.char import CharTokenizer


def test_by_hand(make):
    data = make(*["aab", "abb", "b" * 30], tokenizer=CharTokenizer(specials=["<|endoftext|>", "<|user|>"]), seq_len=1)
    data.prepare()
    card = data_card(data.folder)
    assert sum(card[side]["documents"] for side in ("train", "val")) == 3
    assert sum(card[side]["tokens"] for side in ("train", "val")) == 3 + 3 + 30 + 3
    assert card["tokens"]["most_frequent"][0] == {"id": 1, "text": "b", "count": 33, "share": round(33 / 39, 6)}
    assert (card["tokens"]["unused"], card["tokens"]["unused_examples"]) == (1, ["<|user|>"])
    assert card["round_trip"]["lost_share"] == 0
    assert json.loads(json.dumps(card)) == card
    words = show(card)
    for part in ("characters per token", "validation documents that are also in training", "never occur: 1 (25.0%)"):
        assert part in words


def test_lengths_fall_into_classes_that_double():
    lengths = np.array([1, 2, 3, 4, 7, 8])
    assert [c["documents"] for c in histogram(lengths)] == [1, 2, 2, 1]
    assert histogram(np.array([5, 9]))[0] == {"from": 4, "to": 8, "documents": 1}
    assert quantiles(lengths)["median"] in (3, 4)
    assert histogram(np.array([], dtype=int)) == []
