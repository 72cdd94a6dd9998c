"""Whether Triton can build kernels on a machine: it asks for a C compiler."""

from functools import cache

import torch
import triton
import triton.language as tl


@cache
def works_on(device: torch.device) -> bool:
    """Tried once, with a kernel of one line; where it cannot, says so."""
    try:
        _kernel[(1,)](torch.zeros(1, device=device))
    except Exception as error:  # whatever keeps it from being built: PyTorch's own operations do the same
        print(f"kernels none of ours, which Triton cannot build here: {f'{error}'[:100]!r}", flush=True)
        return False
    return True


@triton.jit
def _kernel(one):
    tl.store(one, 1.0)
