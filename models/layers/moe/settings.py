"""The keys under `model.moe`: what the experts of a model are like, and in which layers they stand."""

import math
from dataclasses import dataclass
from typing import Literal

from bounds import Below1, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from errors import RequestError


@dataclass(frozen=True, kw_only=True)
class MoESettings:
    """Args:
        n_experts, top_k, ff: experts, how many of them a token uses, width of each.
        every, first_dense, layers: where: each n-th layer (every=2: layers 1, 3, 5, ...), not before layer
            `first_dense`; or exactly the `layers` listed.
        router: softmax (Mixtral), sigmoid_bias (balanced by a bias on the choice, no loss: 2408.15664, DeepSeek-V3) or
            expert_choice (experts choose tokens: 2202.09368; not causal).
        norm_topk: the weights of the chosen experts sum to 1. routed_scale: multiplies them.
        noisy: learned noise on the logits in training (1701.06538). jitter: the router's input times U(1 - j, 1 + j).
        n_shared: experts that every token uses besides (2401.06066), as one MLP of width n_shared * ff.
        capacity_factor: an expert takes at most this times its fair share, the rest is dropped; null never drops.
        drop_order: who comes first: token (in the order of the text), choice (all first choices before the second
            ones: GShard, Switch) or prob (highest weight). eval_dropless: drop in training only.
        dispatch: how experts are computed: auto, fused, loop or grouped. combine: index_add, or permute, which gives
            the same bits each time on a GPU.
        lb_coef: of the balancing loss, mean over layers; null: 0.01, with sigmoid_bias 1e-4. lb_scope: tokens whose
            loads it looks at: global (of all devices), micro or sequence; null: global, with sigmoid_bias sequence.
        z_coef: of the router's z-loss (2202.08906). bias_update: step of the bias per update.
        bias_steps: updates after which it stays; null: never.
        allow_noncausal: permits choices by which a later token changes the output of an earlier one.
        router_init_std: of the router's first weights.

    Raises:
        RequestError: settings that contradict each other, that learn nothing, or that see the future unasked.
    """

    # no key: what is not read beside another key, and refused where it is typed (launcher/config/reads.py)
    idle_beside = {  # noqa: RUF012
        "every": ["layers!=null"],
        "first_dense": ["layers!=null"],
        "bias_update": ["router!=sigmoid_bias"],
        "bias_steps": ["router!=sigmoid_bias"],
        "drop_order": ["capacity_factor=null"],
        "eval_dropless": ["capacity_factor=null"],
    }

    n_experts: PositiveInt
    top_k: PositiveInt
    ff: PositiveInt
    every: PositiveInt = 1
    first_dense: NonNegativeInt = 0
    layers: list[NonNegativeInt] | None = None
    router: Literal["softmax", "sigmoid_bias", "expert_choice"] = "softmax"
    norm_topk: bool = True
    routed_scale: PositiveFloat = 1.0
    noisy: bool = False
    jitter: Below1 = 0.0
    n_shared: NonNegativeInt = 0
    capacity_factor: PositiveFloat | None = None
    drop_order: Literal["token", "choice", "prob"] = "token"
    eval_dropless: bool = True
    dispatch: Literal["auto", "fused", "loop", "grouped"] = "auto"
    combine: Literal["index_add", "permute"] = "index_add"
    lb_coef: NonNegativeFloat | None = None
    lb_scope: Literal["global", "micro", "sequence"] | None = None
    z_coef: NonNegativeFloat = 0.001
    bias_update: NonNegativeFloat = 1e-3
    bias_steps: NonNegativeInt | None = None
    allow_noncausal: bool = False
    router_init_std: PositiveFloat = 0.02

    def __post_init__(self) -> None:
        if self.top_k > self.n_experts:
            raise RequestError(
                f"model.moe.top_k={self.top_k} of model.moe.n_experts={self.n_experts}: a token uses from 1 to all "
                f"experts.\nType model.moe.top_k={self.n_experts}, or model.moe.n_experts={self.top_k}."
            )
        if self.top_k == 1 and self.norm_topk and self.router != "expert_choice":
            raise RequestError(
                "model.moe.top_k=1 with model.moe.norm_topk=true: the only weight is then always 1, and the router "
                "learns nothing from the task.\nType model.moe.norm_topk=false, as Switch does."
            )
        self._check_causality()

    def _check_causality(self) -> None:
        """Expert choice, and dropping by anything but the text's order, let later tokens decide for earlier ones."""
        drops = self.capacity_factor is not None and self.drop_order != "token"
        if self.allow_noncausal or not (drops or self.router == "expert_choice"):
            return
        what = "router=expert_choice" if self.router == "expert_choice" else f"drop_order={self.drop_order}"
        instead = "router=softmax" if self.router == "expert_choice" else "drop_order=token"
        raise RequestError(
            f"model.moe.{what} lets later tokens change the output of earlier ones, so a model that predicts the next "
            f"token\nsees hints of it in training and misses them when it generates.\nType model.moe.{instead}, or "
            "model.moe.allow_noncausal=true to have it nevertheless."
        )

    @property
    def load_balance(self) -> float:
        """The balancing loss's coefficient. Experts that choose are balanced by construction."""
        if self.lb_coef is not None:
            return self.lb_coef
        return {"softmax": 0.01, "sigmoid_bias": 1e-4, "expert_choice": 0.0}[self.router]

    @property
    def scope(self) -> Literal["global", "micro", "sequence"]:
        if self.lb_scope is not None:
            return self.lb_scope
        return "sequence" if self.router == "sigmoid_bias" else "global"

    def has_experts(self, layer: int) -> bool:
        if self.layers is not None:
            return layer in self.layers
        return layer >= self.first_dense and (layer + 1) % self.every == 0

    def capacity(self, tokens: int) -> int:
        """Assignments that an expert takes at most, of `tokens` tokens."""
        assert self.capacity_factor is not None
        return math.ceil(self.capacity_factor * tokens * self.top_k / self.n_experts)
