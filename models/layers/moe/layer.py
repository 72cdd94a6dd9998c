"""A layer of experts in the place of a block's MLP: a router sends each token to k of E SwiGLU experts.

    x -> router (fp32) -> k experts and weights per token -> experts, sorted -> weighted sum (+ shared experts)

What a forward pass learns about its routing it returns. Nothing is kept on the module: recomputed blocks
(checkpointing) would count twice, and compiled or sharded ones could not.

Shapes: B batch, T tokens, N = B T, C channels, E experts, I inner channels of one expert.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.mlp import MLP
from models.layers.moe import losses
from models.layers.moe.dispatch import make_plan, run_experts
from models.layers.moe.router import Choice, expert_choice, jittered, noisy_logits, sigmoid_choice, softmax_choice
from models.layers.moe.settings import MoESettings


class Routing(NamedTuple):
    """Of one layer and one micro-batch. Losses are means over tokens, not yet scaled; the rest sums, detached."""

    load_balance: Tensor  # ()
    router_z: Tensor  # ()
    loads_E: Tensor  # assignments that each expert was chosen for
    tokens: Tensor  # () tokens that count
    dropped: Tensor  # () assignments that found no room
    confidence: Tensor  # () largest probability of each token
    entropy: Tensor  # () of each token's probabilities, in nats


class Router(nn.Linear):
    """Computes as exactly as what it is given, whatever its weights are held in. Called as a layer, so that an adapter
    beside it is."""

    def forward(self, x_NC: Tensor) -> Tensor:
        return F.linear(x_NC, self.weight.to(x_NC.dtype))


class MoE(nn.Module):
    """Experts with the names and shapes that transformers gives them, so that reading weights is a renaming.

    router.weight (E, C); w13 (E, 2 I, C): gates first, then ups; w2 (E, C, I).
    """

    balance_E: Tensor

    def __init__(self, settings: MoESettings, *, n_embd: int, dropout: float):
        super().__init__()
        E, ff = settings.n_experts, settings.ff
        self.settings, self.dropout = settings, dropout
        self.exploring = True  # while training: noise, jitter and dropping
        self.router = Router(n_embd, E, bias=False)
        self.noise = nn.Parameter(torch.zeros(E, n_embd)) if settings.noisy else None
        self.w13 = nn.Parameter(torch.empty(E, 2 * ff, n_embd))
        self.w2 = nn.Parameter(torch.empty(E, n_embd, ff))
        self.shared = None
        if settings.n_shared:
            self.shared = MLP(n_embd=n_embd, n_inner=settings.n_shared * ff, kind="swiglu", bias=False, dropout=0.0)
        if settings.router == "sigmoid_bias":
            self.register_buffer("balance_E", torch.zeros(E))
        for p in (self.w13, self.w2):
            nn.init.normal_(p, std=settings.router_init_std)

    def forward(self, x_BTC: Tensor, mask_BT: Tensor | None = None) -> tuple[Tensor, Routing]:
        """`mask_BT`: True at real tokens. The others are not sent anywhere, count nowhere, and get 0."""
        x_NC, mask_N = x_BTC.flatten(0, 1), None if mask_BT is None else mask_BT.flatten()
        s = self.settings
        with torch.autocast(x_NC.device.type, enabled=False):
            logits_NE, choice = self._route(x_NC, mask_N)
            routing = self._account(logits_NE, choice, mask_N, sequences=len(x_BTC))
        drops = s.capacity_factor is not None and (self._explores or not s.eval_dropless)
        plan = make_plan(
            choice.tokens_M,
            choice.experts_M,
            choice.weights_M,
            n_experts=s.n_experts,
            mask_N=mask_N,
            capacity=s.capacity(len(x_NC) if mask_N is None else int(mask_N.sum())) if drops else None,
            order=s.drop_order,
            n_choices=s.top_k,
        )
        if drops:
            routing = routing._replace(dropped=routing.loads_E.sum() - len(plan.tokens_M))
        y_NC = run_experts(x_NC, self.w13, self.w2, plan, how=s.dispatch, combine=s.combine)
        if self.shared is not None:
            y_NC = y_NC + self.shared(x_NC)
        return F.dropout(y_NC, self.dropout, self.training).view_as(x_BTC), routing

    @property
    def _explores(self) -> bool:
        return self.training and self.exploring

    def keep_still(self) -> None:
        """From now on a token goes where it would go in evaluation: for a policy that is compared with its start."""
        self.exploring = False
        if self.noise is not None:
            self.noise.requires_grad_(False)

    def _route(self, x_NC: Tensor, mask_N: Tensor | None) -> tuple[Tensor, Choice]:
        """Clean logits (N, E), and the choice, which noise may have changed."""
        s = self.settings
        x_NC = x_NC if x_NC.dtype == torch.float64 else x_NC.float()
        seen_NC = jittered(x_NC, s.jitter) if s.jitter and self._explores else x_NC
        logits_NE = self.router(seen_NC)
        chosen_by = logits_NE
        if self.noise is not None and self._explores:
            chosen_by = noisy_logits(logits_NE, seen_NC, self.noise.to(x_NC.dtype))
        if s.router == "expert_choice":
            return logits_NE, expert_choice(chosen_by, mask_N, top_k=s.top_k, scale=s.routed_scale)
        if s.router == "sigmoid_bias":
            return logits_NE, sigmoid_choice(
                chosen_by, self.balance_E, top_k=s.top_k, norm_topk=s.norm_topk, scale=s.routed_scale
            )
        return logits_NE, softmax_choice(chosen_by, top_k=s.top_k, norm_topk=s.norm_topk, scale=s.routed_scale)

    @torch.no_grad()
    def weights_of(self, x_BTC: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """(N, E) weight of each expert in a token's output, 0 where it is not chosen; capacity is not looked at."""
        with torch.autocast(x_BTC.device.type, enabled=False):
            logits_NE, choice = self._route(x_BTC.flatten(0, 1), None if mask_BT is None else mask_BT.flatten())
        weights_NE = torch.zeros_like(logits_NE)
        return weights_NE.index_put((choice.tokens_M, choice.experts_M), choice.weights_M.to(logits_NE.dtype))

    def _account(self, logits_NE: Tensor, choice: Choice, mask_N: Tensor | None, *, sequences: int) -> Routing:
        s, probs_NE = self.settings, choice.probs_NE
        loads_E = losses.loads(choice.experts_M, choice.tokens_M, mask_N, s.n_experts)
        if s.scope == "sequence":
            balance = losses.load_balance_by_sequence(
                probs_NE, choice.tokens_M, choice.experts_M, mask_N, sequences=sequences
            )
        else:
            # in training only: validation batches differ in number from device to device
            wide = losses.over_ranks(loads_E) if self.training and s.scope == "global" else loads_E
            balance = losses.load_balance(probs_NE, wide, mask_N)
        probs_NE = probs_NE.detach()
        likeliest_N, entropy_N = probs_NE.amax(-1), torch.special.entr(probs_NE).sum(-1)
        if mask_N is not None:
            likeliest_N, entropy_N = likeliest_N * mask_N, entropy_N * mask_N
        return Routing(
            load_balance=balance,
            router_z=losses.router_z(logits_NE, mask_N),
            loads_E=loads_E,
            tokens=probs_NE.new_full((), len(probs_NE)) if mask_N is None else mask_N.sum(dtype=probs_NE.dtype),
            dropped=probs_NE.new_zeros(()),
            confidence=likeliest_N.sum(),
            entropy=entropy_N.sum(),
        )

    @torch.no_grad()
    def balance(self, loads_E: Tensor, *, step: int) -> None:
        """Raises the bias of experts that got less than their share, lowers the others' (2408.15664, algorithm 1).

        Once per update, with the loads of the global batch.
        """
        s = self.settings
        if s.router == "sigmoid_bias" and s.bias_update and (s.bias_steps is None or step < s.bias_steps):
            self.balance_E += s.bias_update * (loads_E.mean() - loads_E).sign().to(self.balance_E.device)

    def inactive_parameters(self) -> int:
        """Those of the experts that a token is not sent to."""
        s = self.settings
        return (s.n_experts - s.top_k) * (self.w13[0].numel() + self.w2[0].numel())

    def _apply(self, fn, recurse=True):
        """Moves and casts as always, but the bias stays in fp32: in bf16, 0.5 + 0.001 is 0.5."""
        exact = getattr(self, "balance_E", None)
        super()._apply(fn, recurse)
        if exact is not None and self.balance_E.dtype != torch.float32:
            self.balance_E = exact.to(self.balance_E.device, torch.float32)
        return self
