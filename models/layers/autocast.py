"""What autocast does to the input of a linear layer, once for several layers that read the same."""

import torch
from torch import Tensor


def in_autocast(x: Tensor) -> Tensor:
    """In autocast's precision where it is on: it keeps what it makes of weights, but casts an input at each layer."""
    device = x.device.type
    known = torch.amp.is_autocast_available(device) and x.dtype != torch.float64  # which it leaves alone
    return x.to(torch.get_autocast_dtype(device)) if known and torch.is_autocast_enabled(device) else x
