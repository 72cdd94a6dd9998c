"""Which experts a text's tokens are sent to, layer by layer: read beside a forward pass, which stays as it is.

Shapes: B batch, T tokens, N = B T, C channels, E experts.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from models.base import LanguageModel
from models.layers.moe.layer import MoE


@torch.no_grad()
def expert_weights(model: LanguageModel, ids_BT: Tensor, *, documents_BT: Tensor | None = None) -> dict[int, Tensor]:
    """{layer, from 0: (N, E) weight of each expert in each token's output, 0 where it is not chosen}.

    Empty for a model without experts. Tokens are in the order of the rows; reserved sink tokens are left out.
    """
    found: dict[int, Tensor] = {}
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    numbers = block_numbers(model)
    with ExitStack() as stack:
        for moe in layers:
            handle = moe.register_forward_pre_hook(_reader(found, numbers[moe], ids_BT.shape[1]))
            stack.callback(handle.remove)
        if layers:
            model(ids_BT, documents_BT=documents_BT)
    return dict(sorted(found.items()))


def block_numbers(model: nn.Module) -> dict[MoE, int]:
    """Each layer of experts with the number of its block, from 0."""
    blocks = next((m for m in model.modules() if isinstance(getattr(m, "blocks", None), nn.ModuleList)), None)
    if blocks is None:
        return {moe: i for i, moe in enumerate(m for m in model.modules() if isinstance(m, MoE))}
    return {
        module: i for i, block in enumerate(blocks.blocks) for module in block.modules()  # type: ignore[arg-type]
        if isinstance(module, MoE)
    }  # fmt: skip


def _reader(found: dict[int, Tensor], number: int, T: int) -> Callable[[Any, Any], None]:
    def read(moe: MoE, inputs: tuple[Any, ...]) -> None:
        x_BTC = inputs[0]
        mask_BT = inputs[1] if len(inputs) > 1 else None
        weights_NE = moe.weights_of(x_BTC, mask_BT)
        by_row = weights_NE.view(*x_BTC.shape[:2], -1)[:, -T:]
        found[number] = by_row.flatten(0, 1)

    return read
