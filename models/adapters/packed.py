"""Weights that bitsandbytes has packed into 4 bits, as they lie in a checkpoint: taken apart, or put back.

A packed weight is one column of bytes; what it takes to read it lies beside it under its name and a suffix:

    qkv.base_layer.weight, ....weight.absmax, ....weight.quant_map, ....weight.quant_state.bitsandbytes__nf4, ...
"""

from typing import Any

import torch
from torch import Tensor, nn

from errors import RequestError

MARK = ".quant_state.bitsandbytes__"


def packed_names(state: dict[str, Tensor]) -> list[str]:
    """Names of the packed weights among those of a checkpoint."""
    return [name.split(MARK)[0] for name in state if MARK in name]


def notes_of(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """What lies beside one packed weight, by the names under which bitsandbytes knows it."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def unpacked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Packed weights as plain float32 matrices, so that any model takes them; `state` itself where none is packed.

    Raises:
        RequestError: bitsandbytes is not installed.
    """
    names = packed_names(state)
    if not names:
        return state
    functional = _bitsandbytes().functional
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = dict(state)
    for name in names:
        notes = notes_of(state, name)
        for key in notes:
            del found[f"{name}.{key}"]
        how = functional.QuantState.from_dict({k: v.to(device) for k, v in notes.items()}, device=torch.device(device))
        found[name] = functional.dequantize_4bit(state[name].to(device), how).float().cpu()
    return found


def adopt(model: nn.Module, state: dict[str, Tensor], prefix: str = "") -> None:
    """Before a run is resumed: its packed layers take their notes from `state`, which keeps what torch can load."""
    for name in packed_names(state):
        notes = notes_of(state, name)
        layer: Any = model.get_submodule(name.removeprefix(prefix).removesuffix(".weight"))
        layer.weight = type(layer.weight).from_prequantized(
            data=state[name],
            quantized_stats=dict(notes),  # it takes them out
            requires_grad=False,
            device=layer.weight.device,
            module=layer,
        )
        for key in notes:
            del state[f"{name}.{key}"]


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise RequestError(
            "this run was trained with adapter=qlora: its weights are packed by bitsandbytes, which is not installed.\n"
            "Type: pip install bitsandbytes"
        ) from None
    return bitsandbytes
