"""AdamW's groups, and one update by hand."""

import pytest
import torch
from torch import nn

from optimization.adamw import adamw

SETTINGS = {"lr": 0.1, "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.5}


def test_matrices_decay_vectors_do_not_and_frozen_ones_stay_out():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    decayed, plain = adamw(model=model, **SETTINGS).param_groups
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert len(plain["params"]) == 3
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert decayed["initial_lr"] == 0.1


def test_first_update_by_hand():
    """Bias-corrected, the first step is lr * sign(gradient); decay takes lr * weight_decay of the weight first."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = adamw(model=model, **SETTINGS)
    model.weight.grad = torch.full((1, 1), 7.0)
    optimizer.step()
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
