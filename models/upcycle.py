"""From a dense model's weights to those of a mixture of experts that computes the same (2212.05055).

Each expert starts as the dense MLP. The weights of the chosen experts sum to 1, so whoever is chosen, the layer is the
dense MLP; the experts come apart in training because they see different tokens. The router's first weights are random:
equal ones would send all tokens to the same experts.

Experts narrower than the MLP are its shards ("virtual groups", 2410.07524): G of them make one replica, share one row
of the router, are chosen together, and `routed_scale` = G makes up for weights of 1/G each.

Shapes: C channels, I inner channels of the MLP, E experts, G shards per replica.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from errors import RequestError
from models.layers.moe.settings import MoESettings
from models.transformer import Transformer


def upcycled(
    state: Mapping[str, Tensor],
    model: Transformer,
    *,
    experts: Literal["copy", "random"] = "copy",
    noise: float = 0.0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """`state` of a dense model, by our names, as a state for `model`; what it does not name stays untouched.

    Args:
        model: has experts in some layers; its own first weights serve for routers and random experts.
        experts: copies of the dense MLP, or random ones (attention, embeddings and norms are kept in both).
        noise: standard deviation of what is added to each copy, relative to that of the copied matrix. 0.01 changes
            the output by about 1 %.

    Raises:
        RequestError: the copies would not compute what the dense model does.
    """
    state, own = dict(state), model.state_dict()
    generator = torch.Generator().manual_seed(seed)
    for layer in model.experts:
        prefix = f"blocks.{layer}.mlp."
        dense = {name: state.pop(name) for name in list(state) if name.startswith(prefix)}
        if prefix + "w13" in dense:  # has experts already
            state |= dense
            continue
        state |= {name: value for name, value in own.items() if name.startswith(prefix)}
        if experts == "random":
            continue
        assert model.moe is not None
        gate, up, down = _matrices(dense, prefix)
        shards = _shards(model.moe, width=len(gate))
        w13, w2 = _replicas(gate, up, down, n_experts=model.moe.n_experts, shards=shards)
        state[prefix + "w13"], state[prefix + "w2"] = (_noisy(w, noise, generator) for w in (w13, w2))
        rows = state[prefix + "router.weight"][::shards]
        state[prefix + "router.weight"] = rows.repeat_interleave(shards, dim=0)
        if model.moe.n_shared:  # says nothing until it has learned something
            state[prefix + "shared.down.weight"] = torch.zeros_like(own[prefix + "shared.down.weight"])
    return state


def _matrices(dense: dict[str, Tensor], prefix: str) -> tuple[Tensor, Tensor, Tensor]:
    """Gate (I, C), up (I, C), down (C, I) of the dense MLP."""
    names = [f"{prefix}{part}.weight" for part in ("gate", "up", "down")]
    if sorted(dense) != sorted(names):
        raise RequestError(
            f"the dense model's {prefix}* are {', '.join(sorted(dense)) or 'not there'}; experts are SwiGLU without "
            "biases: gate, up and down.\nStart from a model with mlp=swiglu and bias=false, or type "
            "init.upcycle=random to leave the experts at random."
        )
    gate, up, down = (dense[name] for name in names)
    return gate, up, down


def _shards(moe: MoESettings, *, width: int) -> int:
    """How many experts make up one dense MLP of `width`. Raises RequestError unless they compute the same together."""
    shards, rest = divmod(width, moe.ff)
    if rest or not shards or moe.n_experts % shards or moe.top_k % shards:
        raise RequestError(
            f"the dense MLP is {width} wide, experts are {moe.ff} (model.moe.ff): {moe.n_experts} of them, "
            f"{moe.top_k} per token, do not make whole copies.\nType model.moe.ff={width}."
        )
    if not moe.norm_topk or moe.routed_scale != shards:
        raise RequestError(
            f"model.moe.norm_topk={str(moe.norm_topk).lower()} with model.moe.routed_scale={moe.routed_scale}: the "
            "output would not be the dense model's, because the weights of a token's experts do not sum to "
            f"{shards}.\nType {_remedy(shards, width)}."
        )
    return shards


def _remedy(shards: int, width: int) -> str:
    cut = f"model.moe.norm_topk=true model.moe.routed_scale={float(shards)}"
    return (
        cut if shards == 1 else f"model.moe.ff={width} for experts as wide as the MLP, or {cut} for its {shards} parts"
    )


def _replicas(gate: Tensor, up: Tensor, down: Tensor, *, n_experts: int, shards: int) -> tuple[Tensor, Tensor]:
    """w13 (E, 2 I / G, C) and w2 (E, C, I / G); expert r G + g is shard g of replica r."""
    w13 = torch.stack([torch.cat(parts) for parts in zip(gate.chunk(shards), up.chunk(shards), strict=True)])
    w2 = torch.stack(down.chunk(shards, dim=1))
    return w13.repeat(n_experts // shards, 1, 1), w2.repeat(n_experts // shards, 1, 1)


def _noisy(weight_E: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    if not noise:
        return weight_E
    drawn = torch.randn(weight_E.shape, generator=generator).to(weight_E)
    return weight_E + noise * weight_E.float().std().to(weight_E) * drawn
