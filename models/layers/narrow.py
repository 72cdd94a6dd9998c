"""Linear layers that keep their weights in fewer bytes than fp32, for generation on a CPU, which is bound by reading
them. What comes in, the sums and what goes out stay fp32.

    bfloat16    2 bytes: the nearest number of 8 significant bits, off by 2^-8 of the weight at most
    int8        1 byte: a whole number from -127 to 127 times a scale, 1/127 of the largest weight of the same output;
                off by half of that scale at most (the weights of LLM.int8(), 2208.07339, section 2)

PyTorch has no such product on a CPU without units for bf16 (docs/findings.md says what was measured); ours, narrow.c,
is compiled where it is used.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import RequestError
from models.base import LanguageModel
from models.layers.packing import Replaced
from models.layers.products import is_plain

Kind = Literal["bfloat16", "int8"]

SOURCE = Path(__file__).with_name("narrow.c")
GROUP = 8  # of narrow.c
PARTS = {"bfloat16": 2, "int8": 4}  # weights of a 32-bit word
ROUTER = "router"  # its choice of experts turns at a hair, and it is small


class NarrowLinears(Replaced):
    """The linear layers of a model with narrow weights; `put()` and `take_away()`, or `active()`.

    The weights themselves stay as they are, so that both can be compared; the embedding is read from them too, also
    where it is the head's.

    Raises:
        RequestError: an encoder-decoder; a model that is not on a CPU in fp32; no C compiler.
    """

    def __init__(self, model: LanguageModel, kind: Kind):
        _check(model, kind)
        layers = [
            layer
            for name, layer in model.named_modules()
            if is_plain(layer) and is_fp32(layer.weight) and not name.endswith(ROUTER)
        ]
        if not layers:
            raise RequestError(f"weights={kind}: this model has no linear layer of fp32 weights. Leave it out.")
        super().__init__([(layer, narrow(layer, kind)) for layer in layers])
        self.kind = kind
        self.weights = sum(layer.weight.numel() for layer in layers)


def is_fp32(weight: Tensor) -> bool:
    return type(weight) is nn.Parameter and weight.device.type == "cpu" and weight.dtype == torch.float32


def _check(model: LanguageModel, kind: Kind) -> None:
    if model.encodes_source:
        raise RequestError(f"weights={kind} serves decoders, and this model is an encoder-decoder. Leave it out.")
    if (device := model.head.weight.device.type) != "cpu":
        raise RequestError(
            f"weights={kind} serves a CPU, and this model is on {device}. Type hardware=cpu, or leave it out."
        )


def quantised(weight_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (N, K) int8 and scales (N,) fp32, whose product is the nearest to the weights; a row of zeros has
    scale 1."""
    scale_N = weight_NK.abs().amax(1) / 127
    scale_N = torch.where(scale_N > 0, scale_N, 1.0)
    return (weight_NK / scale_N.unsqueeze(1)).round().clamp(-127, 127).to(torch.int8), scale_N


def narrow(layer: nn.Linear, kind: Kind) -> Callable[[Tensor], Tensor]:
    """The layer's product with narrow weights, for any number of rows."""
    product, parts, (n_out, n_in) = getattr(library(), kind), PARTS[kind], layer.weight.shape
    lanes = library().lanes()
    K, N = n_in + -n_in % (4 * lanes), n_out + -n_out % GROUP
    weight_NK, scale_N, bias_N = layer.weight.detach(), torch.ones(n_out), torch.zeros(N)
    if kind == "int8":
        weight_NK, scale_N = quantised(weight_NK)
        scale_N = scale_N / 2**24  # narrow.c multiplies the weights by that
    else:
        weight_NK = weight_NK.bfloat16()
    scale_N = F.pad(scale_N, (0, N - n_out))
    if layer.bias is not None:
        bias_N[:n_out] = layer.bias.detach()
    groups = F.pad(weight_NK, (0, K - n_in, 0, N - n_out)).view(N // GROUP, GROUP, -1, parts, lanes)
    laid_out = groups.permute(0, 2, 1, 4, 3).contiguous()

    def forward(x: Tensor) -> Tensor:
        x = x.float().contiguous() if n_in == K else F.pad(x.float(), (0, K - n_in)).contiguous()
        y = torch.empty(*x.shape[:-1], N)
        weights = laid_out.data_ptr(), scale_N.data_ptr(), bias_N.data_ptr()
        product(x.data_ptr(), *weights, y.data_ptr(), x.numel() // K, K, N, torch.get_num_threads())
        return y if n_out == N else y[..., :n_out]

    return forward


@cache
def library(*flags: str) -> ctypes.CDLL:
    """narrow.c, compiled for this processor: a second, once a process.

    Args:
        flags: more words for the compiler.

    Raises:
        RequestError: there is no C compiler, or it cannot do it.
    """
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise RequestError(
            "narrow weights are multiplied by a small C program, and no C compiler (cc, gcc, clang) was found.\n"
            "Install one (apt install gcc), or leave weights= out."
        )
    with tempfile.TemporaryDirectory() as folder:
        made = str(Path(folder) / "narrow.so")
        words = [compiler, "-O3", "-march=native", "-shared", "-fPIC", *flags, str(SOURCE), "-o", made]
        for threads in (["-fopenmp"], []):  # Apple's has none: one thread
            done = subprocess.run([*words, *threads], capture_output=True, text=True)
            if done.returncode == 0:
                return _typed(made)
    raise RequestError(
        f"narrow weights: {compiler} cannot compile {SOURCE}:\n{done.stderr.strip()[:500]}\nLeave weights= out."
    )


def _typed(made: str) -> ctypes.CDLL:
    try:
        found = ctypes.CDLL(made)
    except OSError as error:
        raise RequestError(
            f"narrow weights: what was compiled cannot be loaded ({error}). Leave weights= out."
        ) from None
    for kind in PARTS:
        product = getattr(found, kind)
        product.argtypes = [*[ctypes.c_void_p] * 5, *[ctypes.c_long] * 3, ctypes.c_int]
        product.restype = None
    return found
