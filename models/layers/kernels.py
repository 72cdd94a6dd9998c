"""Whether a GPU's own kernels (`loss_triton.py`, `rope_triton.py`) can be had for a tensor."""

from importlib.util import find_spec

import torch
from torch import Tensor

HAS_TRITON = find_spec("triton") is not None  # comes with PyTorch's CUDA build


def has_kernel(x: Tensor) -> bool:
    """On a GPU for which Triton builds them; none of ours knows float64."""
    if not HAS_TRITON or not x.is_cuda or x.dtype == torch.float64:
        return False
    from models.layers.triton_probe import works_on

    return works_on(x.device)
