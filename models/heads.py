"""Heads that turn a language model into something else: here, a score for a whole text.

Shapes: B rows, T tokens, C channels, V vocabulary.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from models.base import LanguageModel, Output


class RewardModel(LanguageModel):
    """A language model and a scalar head on its final hidden states: the score is read at each row's last real token.

    The head of the vocabulary stays, so that the trunk can still be looked at, but is not trained: where it is not tied
    to the embedding, no score depends on it.
    """

    def __init__(self, backbone: LanguageModel):
        super().__init__()
        self.backbone = backbone
        self.vocab_size, self.seq_len, self.n_layer = backbone.vocab_size, backbone.seq_len, backbone.n_layer
        self.softcap, self.n_sink, self.has_cache = backbone.softcap, backbone.n_sink, backbone.has_cache
        width = backbone.head.weight.shape[1]
        self.score_head = nn.Linear(width, 1, bias=False)
        # variance 1 / (C + 1): scores start small (Stiennon et al. 2020, 2009.01325, appendix B.1)
        nn.init.normal_(self.score_head.weight, std=1 / math.sqrt(width + 1))
        if not is_tied(backbone):
            backbone.head.weight.requires_grad_(False)

    @property
    def head(self) -> nn.Linear:
        return self.backbone.head

    @property
    def blocks(self) -> Any:
        return self.backbone.blocks

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
