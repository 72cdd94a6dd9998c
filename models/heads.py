"""Heads that turn a language model into something else: a score for a whole text, a probability that it is right.

Shapes: B rows, T tokens, C channels, V vocabulary.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from batch import IGNORE
from models.base import LanguageModel, Output
from models.layers.compact import Compact

FEATURES = 2  # that a verifier reads beside the hidden state
FEATURE_SCALE = 10.0  # their weights are stored divided by it, so that one learning rate serves for all of the head


class Scored(LanguageModel):
    """A language model whose hidden states a small head, `score_head`, reads.

    The head of the vocabulary stays, so that the trunk can still be looked at, but is not trained: where it is not tied
    to the embedding, no score depends on it.
    """

    score_head: nn.Linear

    def __init__(self, backbone: LanguageModel):
        super().__init__()
        self.backbone = backbone
        self.vocab_size, self.seq_len, self.n_layer = backbone.vocab_size, backbone.seq_len, backbone.n_layer
        self.softcap, self.n_sink, self.has_cache = backbone.softcap, backbone.n_sink, backbone.has_cache
        self.width = backbone.head.weight.shape[1]
        if not is_tied(backbone):
            backbone.head.weight.requires_grad_(False)

    @property
    def head(self) -> nn.Linear:
        return self.backbone.head

    @property
    def blocks(self) -> Any:
        return self.backbone.blocks

    @property
    def reads_compact(self) -> bool:  # type: ignore[override]
        return self.backbone.reads_compact

    def trunk(self, ids_BT: Tensor, **settings: Any) -> Any:
        return self.backbone.trunk(ids_BT, **settings)

    def lookup_parameters(self) -> int:
        """The vocabulary's head is not run: untied it is idle, tied it is looked up as the embedding."""
        return self.backbone.lookup_parameters() + self.head.weight.numel()

    def head_flops_per_token(self) -> int:
        return 0

    def attention_flops_per_token(self, seq_len: int) -> int:
        return self.backbone.attention_flops_per_token(seq_len)

    def inactive_parameters(self) -> int:
        return self.backbone.inactive_parameters()

    def after_update(self, stats: dict[str, Tensor], *, step: int) -> None:
        self.backbone.after_update(stats, step=step)

    def stats_metrics(self, stats: dict[str, Tensor]) -> dict[str, float]:
        return self.backbone.stats_metrics(stats)


class RewardModel(Scored):
    """The score of a whole text: a scalar, read at each row's last real token."""

    def __init__(self, backbone: LanguageModel):
        super().__init__(backbone)
        self.score_head = nn.Linear(self.width, 1, bias=False)
        # variance 1 / (C + 1): scores start small (Stiennon et al. 2020, 2009.01325, appendix B.1)
        nn.init.normal_(self.score_head.weight, std=1 / math.sqrt(self.width + 1))


class Verifier(Scored):
    """How probable it is that an answer is right, after each of its tokens (Cobbe et al. 2021, 2110.14168, section 4).

    Beside the hidden state the head reads what the model itself thinks of the answer so far: the log-probability of
    its least likely token, and the mean over its tokens, in nats times FEATURE_SCALE. The head begins at the first of
    these alone: before anything is learned, answers are in the order of their least likely token.
    """

    def __init__(self, backbone: LanguageModel):
        super().__init__(backbone)
        self.score_head = nn.Linear(self.width + FEATURES, 1)
        nn.init.zeros_(self.score_head.weight)
        nn.init.zeros_(self.score_head.bias)
        nn.init.constant_(self.score_head.weight[:, self.width], 1 / FEATURE_SCALE)

    @torch.no_grad()
    def ignore_features(self) -> None:
        """Their weights become 0, and stay so where they are learned with `judge(features=False)`."""
        self.score_head.weight[:, self.width :] = 0.0

    def lookup_parameters(self) -> int:
        return self.backbone.lookup_parameters()

    def head_flops_per_token(self) -> int:
        return self.backbone.head_flops_per_token()

    @property
    def is_frozen(self) -> bool:
        """Whether the head alone learns."""
        return not any(p.requires_grad for p in self.backbone.parameters())


def judge(
    model: Verifier,
    ids_BT: Tensor,
    padding_BT: Tensor,
    answer_BT: Tensor,
    *,
    features: bool = True,
    compact: Compact | None = None,
) -> tuple[Tensor, Tensor, Output]:
    """Logits of "this answer is right" after each token, (B, T) fp32; nats of each answer's token, (B, T); and all that
    the forward pass gave. The one way to judge (S20); what an answer is worth is `at_end` of the logits.

    Args:
        padding_BT: True at real tokens; padding may be on either side, in any amount (S19).
        answer_BT: True at the tokens of the answer, the one that ends it included.
        features: False: the head sees zeros in place of log-probabilities.
        compact: as in `LanguageModel.forward`; padding is on the right then.
    """
    targets_BT = torch.full_like(ids_BT, IGNORE)
    targets_BT[:, :-1] = ids_BT[:, 1:].masked_fill(~answer_BT[:, 1:], IGNORE)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not model.is_frozen):
        out = model(ids_BT, padding_BT=padding_BT, targets_BT=targets_BT, compact=compact, per_token=True)
    assert out.nll_BT is not None
    nats_BT = out.nll_BT.float().roll(1, dims=1)  # of the token itself, not of the one that follows
    facts_BTF = features_of(-nats_BT.detach(), answer_BT) if features else nats_BT.new_zeros(*ids_BT.shape, FEATURES)
    read_BTC = torch.cat([out.hidden_BTC.float(), facts_BTF], -1)
    with torch.autocast(ids_BT.device.type, enabled=False):
        logits_BT = F.linear(read_BTC, model.score_head.weight.float(), model.score_head.bias.float()).squeeze(-1)
    return logits_BT, nats_BT, out


def features_of(logprobs_BT: Tensor, answer_BT: Tensor) -> Tensor:
    """(B, T, 2): after each token of an answer, the least of its log-probabilities so far and their mean, scaled."""
    counted_BT = logprobs_BT.masked_fill(~answer_BT, 0.0)
    mean_BT = counted_BT.cumsum(1) / answer_BT.cumsum(1).clamp_min(1)
    return torch.stack([counted_BT.cummin(1).values, mean_BT], -1) * FEATURE_SCALE


def at_end(values_BT: Tensor, padding_BT: Tensor) -> Tensor:
    """(B,) the value at each row's last real token."""
    return values_BT.gather(1, last_real(padding_BT).unsqueeze(1)).squeeze(1)


def score(model: RewardModel, ids_BT: Tensor, padding_BT: Tensor, **settings: Any) -> tuple[Tensor, Output]:
    """The score of each row, (B,) fp32, and all that the forward pass gave. The one way to score (S20).

    A row is a whole text with the token that ends it, as in training.

    Args:
        padding_BT: True at real tokens; padding may be on either side, in any amount (S19). Rows without any score 0.
        settings: for `LanguageModel.forward`, where its loss is wanted as well.
    """
    out = model(ids_BT, padding_BT=padding_BT, **settings)
    rows_B = torch.arange(len(ids_BT), device=ids_BT.device)
    last_BC = out.hidden_BTC[rows_B, last_real(padding_BT)]
    return model.score_head(last_BC).squeeze(-1).float().where(padding_BT.any(1), 0.0), out


def last_real(padding_BT: Tensor) -> Tensor:
    """(B,) position of the last True of each row; 0 where there is none."""
    positions = torch.arange(padding_BT.shape[1], device=padding_BT.device)
    return torch.where(padding_BT, positions, 0).amax(1)


def is_tied(model: LanguageModel) -> bool:
    """Whether the output head is also the embedding."""
    return any(isinstance(m, nn.Embedding) and m.weight is model.head.weight for m in model.modules())


class Critic(nn.Module):
    """What is still to come, at each token: a scalar head, on a model of its own or on the policy's hidden states.

    The head begins at zero, so that the first advantages are the rewards themselves.

    Args:
        own: a model that is the critic's alone, trained with it; None: the policy's trunk is shared.
        policy: whose hidden states' width, device and precision the head takes.
    """

    def __init__(self, own: LanguageModel | None, policy: LanguageModel):
        super().__init__()
        self.own = own
        weight_VC = policy.head.weight
        self.value_head = nn.Linear(weight_VC.shape[1], 1, device=weight_VC.device, dtype=weight_VC.dtype)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        if own is not None and not is_tied(own):
            own.head.weight.requires_grad_(False)

    def forward(self, inputs: dict[str, Tensor], hidden_BTC: Tensor | None) -> Tensor:
        """(B, T) fp32 from a model's arguments, or from the policy's hidden states where the trunk is shared."""
        if self.own is not None:
            inputs = {name: value for name, value in inputs.items() if name not in ("targets_BT", "weights_BT")}
            hidden_BTC = self.own(**inputs).hidden_BTC
        assert hidden_BTC is not None
        return self.value_head(hidden_BTC).squeeze(-1).float()
