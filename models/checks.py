"""Requests for a Transformer that cannot be met, said in the words of its keys."""

from errors import RequestError
from models.layers.moe.settings import MoESettings


def check_groups(n_head: int, n_kv_head: int) -> None:
    """Raises RequestError unless the query heads split evenly over the heads of keys and values."""
    if n_head % n_kv_head:
        divisors = [d for d in range(1, n_head + 1) if n_head % d == 0]
        nearest = min(divisors, key=lambda d: abs(d - n_kv_head))
        raise RequestError(
            f"model.n_head={n_head} is not divisible by model.n_kv_head={n_kv_head}: each head of keys and values is "
            f"shared by equally many query heads.\nIt may be one of {', '.join(map(str, divisors))}. "
            f"Type model.n_kv_head={nearest}"
        )


def check_rope(head_dim: int) -> None:
    if head_dim % 2:
        raise RequestError(
            f"model.head_dim={head_dim} is odd, and rotary positions turn pairs of channels.\n"
            f"Type model.head_dim={head_dim + 1}, or model.position=learned."
        )


def check_window(window: int | None, layers: list[int] | None, n_layer: int) -> None:
    """Raises RequestError for layers that are not there, or a window for none."""
    shown = "null" if window is None else window
    if layers is not None and (window is None or any(not 0 <= i < n_layer for i in layers)):
        raise RequestError(
            f"model.window_layers={layers} with model.window={shown}: expected layers from 0 to {n_layer - 1} "
            "and a window for them.\nType model.window_layers=null, or give model.window=256."
        )


def check_sinks(sinks: str, n_sink: int, *, smear: bool = False) -> None:
    if smear and sinks == "tokens":
        raise RequestError(
            "model.smear=true would smear the reserved tokens of model.sinks=tokens. Type model.sinks=learned."
        )
    if (sinks == "tokens") != (n_sink > 0):
        raise RequestError(
            f"model.sinks={sinks} with model.n_sink={n_sink}: reserved tokens are counted by n_sink, other kinds have "
            "none.\nType model.sinks=tokens model.n_sink=4, or model.n_sink=0."
        )


def check_moe(moe: MoESettings | None, n_layer: int) -> None:
    if moe is None:
        return
    if not isinstance(moe, MoESettings):
        raise RequestError(f"model.moe={moe}: expected a section of keys, or null.\nType model=moe to have experts.")
    if moe.layers is not None and any(not 0 <= i < n_layer for i in moe.layers):
        raise RequestError(
            f"model.moe.layers={moe.layers}: there are layers 0 to {n_layer - 1}.\n"
            f"Type model.moe.layers=[{n_layer - 1}] for the last one, or model.moe.layers=null."
        )
    if not any(moe.has_experts(layer) for layer in range(n_layer)):
        raise RequestError(
            f"model.moe.every={moe.every}, first_dense={moe.first_dense}, layers={moe.layers} put experts where no "
            f"layer is: there are layers 0 to {n_layer - 1}.\nType model.moe.every=1 model.moe.first_dense=0."
        )
