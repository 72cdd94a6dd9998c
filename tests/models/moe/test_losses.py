"""Balancing and z-loss against numbers worked by hand and against transformers, with its pooling over layers undone."""

import pytest
import torch

from models.layers.moe import losses
from models.layers.moe.statistics import routing_metrics


def one_layer(logits: torch.Tensor, top_k: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    probs = logits.softmax(-1)
    experts = probs.topk(top_k).indices.flatten()
    tokens = torch.arange(len(logits)).repeat_interleave(top_k)
    return losses.load_balance(probs, losses.loads(experts, tokens, mask, logits.shape[1]), mask)


def test_by_hand():
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])
    loads = torch.tensor([1.0, 1.0, 0.0])
    # 3 * (1/2 * (0.7 + 0.1) / 2 + 1/2 * (0.2 + 0.5) / 2)
    torch.testing.assert_close(losses.load_balance(probs, loads, None), torch.tensor(1.125))
    logits = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    log2 = torch.tensor(2.0).log()
    torch.testing.assert_close(losses.router_z(logits, None), (log2**2 + (1 + log2) ** 2) / 2)
    torch.testing.assert_close(losses.router_z(logits, torch.tensor([False, True])), (1 + log2) ** 2)


def test_N23_S14_layers_that_collapse_onto_different_experts_are_not_balanced():
    E, k, n = 8, 2, 64
    layers = []
    for layer in range(4):
        logits = torch.full((n, E), -30.0)
        logits[:, 2 * layer : 2 * layer + 2] = 0.0  # this layer uses two experts only
        layers.append(logits)
    ours = torch.stack([one_layer(logits, k) for logits in layers]).mean()
    torch.testing.assert_close(ours, torch.tensor(E / k))
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    pooled = mixtral.load_balancing_loss_func(tuple(layers), num_experts=E, top_k=k) / k
    torch.testing.assert_close(pooled, torch.tensor(1.0))  # their pooling calls that perfect balance


def test_a_single_layer_is_transformers_over_k_with_and_without_padding():
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    logits, k = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), 2
    mask = torch.arange(30).view(2, 15) % 15 < 11
    for m in (None, mask):
        theirs = mixtral.load_balancing_loss_func((logits,), num_experts=8, top_k=k, attention_mask=m)
        torch.testing.assert_close(one_layer(logits, k, None if m is None else m.flatten()), theirs / k)


def test_equal_use_is_one():
    logits = torch.eye(8).repeat(4, 1) * 9
    torch.testing.assert_close(one_layer(logits, 1), torch.tensor(1.0))


def test_by_sequence_is_the_mean_of_each_sequence_alone():
    logits = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    probs = logits.softmax(-1)
    experts, tokens = probs.topk(2).indices.flatten(), torch.arange(24).repeat_interleave(2)
    ours = losses.load_balance_by_sequence(probs, tokens, experts, None, sequences=3)
    alone = torch.stack([one_layer(part, 2) for part in logits.split(8)]).mean()
    torch.testing.assert_close(ours, alone)


def test_N24_metrics_by_hand():
    stats = {
        "moe/loads": torch.tensor([[10.0, 10, 10, 10], [40, 0, 0, 0]]),
        "moe/tokens": torch.tensor([20.0, 20]),
        "moe/dropped": torch.tensor([0.0, 10]),
        "moe/confidence": torch.tensor([10.0, 20]),
        "moe/entropy": torch.tensor([20 * 4.0, 0]).log1p() * 0,
        "moe/load_balance": torch.tensor([20.0, 80]),
        "moe/router_z": torch.tensor([40.0, 40]),
    }
    metrics = routing_metrics(stats, [1, 3])
    expected = {
        "load_entropy": (1, 0), "maxvio": (0, 3), "min_load": (1, 0), "dead_experts": (0, 3), "dropped": (0, 0.25),
        "confidence": (0.5, 1), "router_entropy": (0, 0), "load_balance": (1, 4), "router_z": (2, 2),
    }  # fmt: skip
    for name, (first, second) in expected.items():
        assert metrics[f"moe/{name}/layer_1"] == pytest.approx(first)
        assert metrics[f"moe/{name}/layer_3"] == pytest.approx(second)
        assert metrics[f"moe/{name}"] == pytest.approx((first + second) / 2)
    assert len(metrics) == 3 * len(expected)
