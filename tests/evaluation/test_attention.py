"""What heads do, on attention that is made by hand."""

import math

import numpy as np
import pytest
import torch

from evaluation.attention import by_distance, cosines, heads_of, quantised


def test_habits_of_heads_made_by_hand() -> None:
    T = 6
    before = torch.eye(T).roll(1, 0)
    before[0] = torch.eye(T)[0]
    first = torch.zeros(T, T)
    first[:, 0] = 1
    even = torch.ones(T, T).tril()
    even = even / even.sum(-1, keepdim=True)
    heads = heads_of([torch.stack([before, first, torch.eye(T), even])[None]])
    assert [h.habit for h in heads] == ["the token before", "the first token", "itself", ""]
    assert heads[0].distance == 1
    assert heads[1].distance == pytest.approx(sum(range(1, T)) / (T - 1))
    assert heads[3].spread == pytest.approx(sum(range(2, T + 1)) / (T - 1))
    assert [h.spread for h in heads[:3]] == pytest.approx([1, 1, 1])


def test_rows_of_reserved_sinks_are_left_out() -> None:
    weights = torch.zeros(1, 1, 5, 5)
    weights[..., :2] = 0.5  # all look at the two sinks
    (head,) = heads_of([weights], n_sink=2)
    assert head.habit == "the first token"
    assert head.first == 1
    assert head.distance == pytest.approx((3 + 4 + 2 + 3) / 4)


def test_small_weights_keep_their_digits_in_a_byte() -> None:
    weights = torch.tensor([[0.0, 0.001], [0.5, 1.0]])
    back = (np.frombuffer(quantised(weights), dtype=np.uint8) / 255.0) ** 2
    assert back == pytest.approx(weights.flatten().numpy(), abs=0.003)
    assert back[1] > 0


def test_similarity_by_distance() -> None:
    angles = torch.arange(5) * math.pi / 8
    similarity = cosines(torch.stack([angles.cos(), angles.sin()], dim=1) * 3)
    assert by_distance(similarity).tolist() == pytest.approx([math.cos(d * math.pi / 8) for d in range(5)], abs=1e-6)
