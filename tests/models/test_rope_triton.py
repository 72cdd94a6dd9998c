"""The GPU's kernel for rotary positions: on a CPU by Triton's interpreter, which computes the same."""

import os
from importlib.util import find_spec

import pytest
import torch

if find_spec("triton") is None:  # comes with PyTorch's CUDA build
    pytest.skip("needs triton", allow_module_level=True)
if not torch.cuda.is_available():  # read as Triton is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

from models.layers.rope import Rope
from models.layers.rope_triton import Rotated

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("positions", ["none", "shared", "a row's"])
@pytest.mark.parametrize(("heads", "channels"), [(3, 6), (4, 8)])  # neither a power of two, and both
def test_rotated_and_its_gradient_are_those_of_the_plain_way(heads, channels, positions, dtype):
    torch.manual_seed(0)
    rope = Rope(head_dim=channels, seq_len=20, scaling="yarn", factor=2.0, trained_len=10)
    x_BTHD = torch.randn(2, 5, heads, channels)  # as queries lie: tokens before heads
    at = {"none": None, "shared": torch.tensor([3, 4, 0, 19, 7]), "a row's": torch.randint(0, 20, (2, 5))}[positions]

    exact = x_BTHD.double().transpose(1, 2).requires_grad_()
    plain = rope.double()(exact, at)  # no kernel knows float64
    weight = torch.randn(plain.shape, dtype=torch.float64)
    (plain * weight).sum().backward()

    x = x_BTHD.to(DEVICE, dtype).transpose(1, 2).requires_grad_()
    rope = rope.float().to(DEVICE)
    turned = Rotated.apply(x, rope.cos_TD, rope.sin_TD, None if at is None else at.to(DEVICE))
    (turned * weight.to(DEVICE, dtype)).sum().backward()
    bound = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(turned.detach().cpu().double(), plain.detach(), rtol=bound, atol=4 * bound)
    torch.testing.assert_close(x.grad.cpu().double(), exact.grad, rtol=bound, atol=8 * bound)
