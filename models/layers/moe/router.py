"""Which experts a token goes to, and with which weights. Pure functions, always in fp32.

    softmax        p = softmax(z); the k likeliest, weighted by p, or by p / sum of the chosen (Mixtral, 2401.04088)
    sigmoid_bias   s = sigmoid(z); the k largest of s + b, weighted by s / sum of the chosen (DeepSeek-V3, 2412.19437)
    expert_choice  p = softmax(z); each expert takes its n k / E likeliest tokens, weighted by p (2202.09368)

Shapes: N tokens, E experts, k experts per token, K tokens per expert.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Choice(NamedTuple):
    """Assignments in the order of the tokens: token `tokens_M[i]` goes to expert `experts_M[i]` with `weights_M[i]`."""

    tokens_M: Tensor
    experts_M: Tensor
    weights_M: Tensor  # differentiable
    probs_NE: Tensor  # differentiable; rows sum to 1; for the balancing loss


def softmax_choice(logits_NE: Tensor, *, top_k: int, norm_topk: bool, scale: float) -> Choice:
    probs_NE = logits_NE.softmax(-1)
    weights_Nk, experts_Nk = probs_NE.topk(top_k, dim=-1)
    if norm_topk:
        weights_Nk = weights_Nk / weights_Nk.sum(-1, keepdim=True)
    return _by_token(experts_Nk, weights_Nk * scale, probs_NE)


def sigmoid_choice(logits_NE: Tensor, bias_E: Tensor, *, top_k: int, norm_topk: bool, scale: float) -> Choice:
    """The bias decides who is chosen; it never enters the weight, so it has no gradient."""
    scores_NE = logits_NE.sigmoid()
    experts_Nk = (scores_NE.detach() + bias_E).topk(top_k, dim=-1).indices
    weights_Nk = scores_NE.gather(-1, experts_Nk)
    if norm_topk:
        weights_Nk = weights_Nk / (weights_Nk.sum(-1, keepdim=True) + 1e-20)
    return _by_token(experts_Nk, weights_Nk * scale, scores_NE / scores_NE.sum(-1, keepdim=True))


def expert_choice(logits_NE: Tensor, mask_N: Tensor | None, *, top_k: int, scale: float) -> Choice:
    probs_NE = logits_NE.softmax(-1)
    N, E = probs_NE.shape
    scores_NE = probs_NE if mask_N is None else probs_NE.masked_fill(~mask_N.unsqueeze(-1), -torch.inf)
    tokens = N if mask_N is None else int(mask_N.sum())
    weights_KE, tokens_KE = scores_NE.topk(max(1, tokens * top_k // E), dim=0)
    experts_KE = torch.arange(E, device=logits_NE.device).expand_as(tokens_KE)
    return Choice(tokens_KE.flatten(), experts_KE.flatten(), weights_KE.flatten() * scale, probs_NE)


def _by_token(experts_Nk: Tensor, weights_Nk: Tensor, probs_NE: Tensor) -> Choice:
    N, k = experts_Nk.shape
    tokens_M = torch.arange(N * k, device=experts_Nk.device) // k
    return Choice(tokens_M, experts_Nk.flatten(), weights_Nk.flatten(), probs_NE)


def noisy_logits(logits_NE: Tensor, x_NC: Tensor, noise_EC: Tensor) -> Tensor:
    """Noise with a learned spread per token and expert (Shazeer et al. 2017, 1701.06538, equation 4)."""
    return logits_NE + torch.randn_like(logits_NE) * F.softplus(F.linear(x_NC, noise_EC))


def jittered(x_NC: Tensor, jitter: float) -> Tensor:
    """The router's input times U(1 - jitter, 1 + jitter) (Switch, 2101.03961, 2.4); the experts' stays as it is."""
    return x_NC * torch.empty_like(x_NC).uniform_(1 - jitter, 1 + jitter)
