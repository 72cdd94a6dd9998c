"""How a model's experts are used, in numbers: from sums over the tokens of many batches and all devices.

Shapes: L layers with experts, E experts.
"""

import math

import torch
from torch import Tensor

from models.layers.moe.layer import Routing

# An expert is called dead below a tenth of its fair share.
DEAD = 0.1


def stacked(routings: list[Routing]) -> dict[str, Tensor]:
    """Sums over tokens, one row per layer, detached: what `Output.stats` carries."""
    if not routings:
        return {}

    def rows(name: str) -> Tensor:
        return torch.stack([getattr(r, name).detach().float() for r in routings])

    tokens = rows("tokens")
    sums = {f"moe/{name}": rows(name) for name in ("tokens", "dropped", "confidence", "entropy")}
    means = {f"moe/{name}": rows(name) * tokens for name in ("load_balance", "router_z")}
    return {"moe/loads": rows("loads_E")} | sums | means


def routing_metrics(stats: dict[str, Tensor], layers: list[int]) -> dict[str, float]:
    """Metrics by name, mean over layers and of each; `layers` are their numbers.

    load_entropy: of the loads, 1 if all experts are equally busy. maxvio: how far the busiest is above its share.
    min_load: the least busy one's load / its share. dead_experts: below a tenth of it. dropped: share of assignments
    without room. confidence: mean largest probability. router_entropy: mean over tokens, 1 if undecided.
    load_balance, router_z: the losses, not scaled.
    """
    if "moe/loads" not in stats:
        return {}
    loads_LE, tokens_L = stats["moe/loads"].double().cpu(), stats["moe/tokens"].double().cpu().clamp_min(1)
    E = loads_LE.shape[1]
    share_LE = loads_LE / loads_LE.sum(-1, keepdim=True).clamp_min(1)
    most = math.log(E) if E > 1 else 1.0

    def per_token(name: str) -> Tensor:
        return stats[f"moe/{name}"].double().cpu() / tokens_L

    by_layer = {
        "load_entropy": torch.special.entr(share_LE).sum(-1) / most,
        "maxvio": E * share_LE.amax(-1) - 1,
        "min_load": E * share_LE.amin(-1),
        "dead_experts": (share_LE < DEAD / E).double().sum(-1),
        "dropped": stats["moe/dropped"].double().cpu() / loads_LE.sum(-1).clamp_min(1),
        "confidence": per_token("confidence"),
        "router_entropy": per_token("entropy") / most,
        "load_balance": per_token("load_balance"),
        "router_z": per_token("router_z"),
    }
    metrics = {}
    for name, values_L in by_layer.items():
        metrics[f"moe/{name}"] = values_L.mean().item()
        metrics |= {f"moe/{name}/layer_{n}": v for n, v in zip(layers, values_L.tolist(), strict=True)}
    return metrics
