"""The GPU's kernel between the head's products: on a CPU by Triton's interpreter, which computes the same."""

import os
from importlib.util import find_spec

import pytest
import torch

if find_spec("triton") is None:  # comes with PyTorch's CUDA build
    pytest.skip("needs triton", allow_module_level=True)
if not torch.cuda.is_available():  # read as Triton is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

from batch import IGNORE
from models.layers import loss_triton
from models.layers.loss import linear_cross_entropy, linear_token_nll

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def inputs(vocab: int, width: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(9, width, dtype=torch.float64) * 5
    logits[1] -= 1000  # a row far below the others
    logits[2, 3] = 300  # one logit that is everything
    logits = logits.to(dtype)
    targets = torch.randint(0, vocab, (9,))
    targets[2], targets[4], targets[5] = 3, IGNORE, vocab - 1
    return logits.to(DEVICE), targets.to(DEVICE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("softcap", [None, 15.0])
@pytest.mark.parametrize("vocab", [64, 100, 130])
def test_loss_and_slope_are_those_of_the_plain_way(monkeypatch, vocab, softcap, dtype):
    monkeypatch.setattr(loss_triton, "BLOCK", 32)  # several blocks a row, the last of them not full
    width = -(-vocab // 64) * 64
    logits, targets = inputs(vocab, width, dtype)
    exact = logits.double()[:, :vocab].requires_grad_()
    capped = exact if softcap is None else softcap * torch.tanh(exact / softcap)
    expected = torch.nn.functional.cross_entropy(capped, targets, reduction="none", ignore_index=IGNORE)
    expected.sum().backward()

    nll = loss_triton.nll_and_slope_(logits, targets, vocab=vocab, softcap=softcap)
    torch.testing.assert_close(nll.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    assert (
        loss_triton.nll_and_slope_(logits.clone(), targets.clone().fill_(vocab), vocab=vocab, softcap=softcap)
        .isnan()
        .all()
    )
    counted = targets >= 0
    bound = max(2e-6, 4 * torch.finfo(dtype).eps)
    torch.testing.assert_close(logits[counted, :vocab].double(), exact.grad[counted], rtol=bound, atol=1e-6)
    assert not logits[counted, vocab:].any()


@pytest.mark.skipif(DEVICE == "cpu", reason="the way through the head takes the kernel on a GPU only")
@pytest.mark.parametrize("function", [linear_cross_entropy, linear_token_nll])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_through_the_head_on_a_gpu_it_is_what_a_cpu_computes(function, softcap):
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(300, 64), torch.randn(1001, 64) * 0.3, torch.randint(0, 1001, (300,))
    targets[::7] = IGNORE
    found = {}
    for device in ("cpu", "cuda"):
        h, w = (x.double().float().to(device).requires_grad_() for x in (hidden, weight))
        out = function(h, w, targets.to(device), softcap=softcap)
        nll = out[1] if isinstance(out, tuple) else out
        (out[0] if isinstance(out, tuple) else out.sum()).backward()
        found[device] = [x.detach().cpu() for x in (nll, h.grad, w.grad)]
    for mine, theirs in zip(found["cuda"], found["cpu"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-2, atol=2e-2 * float(theirs.abs().max()))  # TF32 products
