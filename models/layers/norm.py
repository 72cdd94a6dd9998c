"""Normalisation without parameters."""

import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor) -> Tensor:
    """x / root mean square over the last dimension (1910.07467), without gain, as nanochat has it."""
    return F.rms_norm(x, x.shape[-1:])
