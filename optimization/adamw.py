"""AdamW (Loshchilov & Hutter, 1711.05101) with nanoGPT's two groups: matrices decay, vectors do not."""

import torch
from torch import nn

from bounds import Below1, NonNegativeFloat, PositiveFloat


def adamw(
    *,
    model: nn.Module,
    lr: NonNegativeFloat,
    betas: tuple[Below1, Below1],
    eps: PositiveFloat,
    weight_decay: NonNegativeFloat,
) -> torch.optim.AdamW:
    """One AdamW over all trainable parameters of `model`.

    Args:
        lr: peak learning rate; a schedule multiplies it.
        betas: decay of the running mean of gradients and of their squares.
        weight_decay: for parameters with two or more dimensions; biases and norms are left alone.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": weight_decay, "initial_lr": lr},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0, "initial_lr": lr},
    ]
    groups = [g for g in groups if g["params"]]
    # fused: one pass over memory instead of a dozen; on two CPU cores as well as on a GPU
    return torch.optim.AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=True)
