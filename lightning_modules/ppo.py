"""Proximal policy optimisation: a critic says what was to be expected at each token, and advantages are what is above.

Schulman et al. 2017 (1707.06347), with language as in Ziegler et al. 2019 (1909.08593) and Ouyang et al. 2022
(2203.02155): the reward model's score at the last token, -kl x log-ratio at each. Advantages: rl/advantages.py.

Shapes: N rows, T tokens.
"""

import copy
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from batch import Batch
from bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, Share
from errors import RequestError
from lightning_modules.base import Start
from lightning_modules.reward import RewardModule
from lightning_modules.rl.advantages import gae, moments, token_rewards, whitened
from lightning_modules.rl.checks import mask_of
from lightning_modules.rl.losses import value_loss
from lightning_modules.rl.policy import PolicyModule
from models.base import Output
from models.heads import Critic
from optimization.muon import muon
from optimization.schedules import cosine
from rewards.reward_model import LearnedReward

# optimizer=muon_small, with which reward models learn comparisons that AdamW takes many times longer for
MUON: Any = {
    **dict.fromkeys(("lr_embedding", "lr_unembedding", "lr_vector"), 2e-3),
    **{"momentum": 0.95, "ns_steps": 5, "betas": (0.9, 0.95), "eps": 1e-10, "weight_decay": 0.0, "width_base": 128},
}


class PPOModule(PolicyModule):
    """PPO with a critic, and a reward model that is trained first where none is named.

    Args:
        gamma, lam: of generalised advantage estimation. vf: weight of the critic's loss.
        value_clip: how far values may move from those of the rollout before the loss stops paying for it.
        critic: "own" model beside the policy, or "shared": a head on the policy's trunk. critic_lr: its peak rate.
        reward_steps, reward_lr: updates of the reward model, on the data's pairs, by Muon; their peak rate.
        reward_token_weight, reward_nll: weights of the loss at each token from where a pair's answers part, and of the
            chosen answer's likelihood, beside the reward model's own; without them it hardly learns small slips.
    """

    def __init__(
        self,
        *,
        gamma: Share = 1.0,
        lam: Share = 0.95,
        vf: NonNegativeFloat = 0.5,
        value_clip: NonNegativeFloat = 0.2,
        critic: Literal["own", "shared"] = "own",
        critic_lr: PositiveFloat = 1e-3,
        reward_steps: NonNegativeInt = 300,
        reward_lr: PositiveFloat = 0.02,
        reward_token_weight: NonNegativeFloat = 0.0,
        reward_nll: NonNegativeFloat = 0.0,
        **shared: Any,
    ):
        """Raises RequestError for a value out of its range."""
        super().__init__(**shared)
        for name, value in (("gamma", gamma), ("lam", lam)):
            if not 0 <= value <= 1:
                raise RequestError(f"objective.{name}={value}: expected 0 to 1.")
        self.gamma, self.lam, self.vf, self.value_clip = gamma, lam, vf, value_clip
        self.critic_kind, self.critic_lr = critic, critic_lr
        self.reward_steps, self.reward_lr = reward_steps, reward_lr
        self.reward_weights = {"token_weight": reward_token_weight, "nll_weight": reward_nll}
        self.critic: Critic | None = None
        needs_pairs = [part for part in self.reward.values() if isinstance(part, LearnedReward) and part.run is None]
        if needs_pairs and "pairs" not in self.data.provides:
            raise RequestError(
                "reward=reward_model trains its model on pairs first, and this data has none.\n"
                "Type reward.reward_model.run=<a run of objective=reward>, data=arithmetic_pairs, or reward=answer."
            )

    # ---- the run's beginning ---------------------------------------------------------------------------------------

    def learn_start(self, start: Start) -> None:
        super().learn_start(start)
        for part in self.reward.values():
            if isinstance(part, LearnedReward) and part.run is None:
                part.use(self._reward_model(start), self.judge.tokenizer)

    def _reward_model(self, start: Start) -> Any:
        """Trained from the policy's start on the data's pairs; a resumed run finds its weights in the checkpoint."""
        model = RewardModule.prepare_model(copy.deepcopy(self.model))
        if start.resumed:
            return model
        if start.rank == 0:
            print(f"reward  no reward.reward_model.run: {self.reward_steps} updates on pairs come first", flush=True)
        module = RewardModule(
            model=model,
            **self.reward_weights,
            optimizer=partial(muon, lr_matrix=self.reward_lr, **MUON),
            schedule=partial(
                cosine, total_steps=self.reward_steps, warmup_steps=min(50, self.reward_steps // 10), final_ratio=0.1
            ),
            token_bytes=self.token_bytes,
            seed=self.seed,
            grad_clip=1.0,
            log_every=self.log_every,
        )
        start.train(module, start.data, steps=self.reward_steps, folder="reward_model")
        return model

    def beside(self) -> dict[str, tuple[int, int]]:
        counts, width = self.model.parameter_counts(), self.model.head.weight.shape[1]
        trunk = counts if self.critic_kind == "own" else {"total": 0, "trainable": 0}
        found = {"critic": (trunk["total"] + width + 1, trunk["trainable"] + width + 1)} | super().beside()
        for name, part in self.reward.items():
            if isinstance(part, LearnedReward) and part.run is None:  # trained first, on the policy's start
                found[f"reward.{name}"] = (counts["total"] + width, 0)
        return found

    def configure_model(self) -> None:
        super().configure_model()
        self._make_critic()

    def _make_critic(self) -> None:
        if self.critic is None:
            own = copy.deepcopy(self.model) if self.critic_kind == "own" else None
            self.critic = Critic(own, self.model)

    def trained(self) -> dict[str, torch.nn.Module]:
        assert self.critic is not None
        return {"model": self.model, "critic": self.critic}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The policy's optimizer with the critic's parameters as groups of their own, at the critic's rate."""
        self._make_critic()  # a plan (task=check) has no other part of Lightning's life
        optimizer = super().configure_optimizers()
        assert self.critic is not None
        defaults = {name: value for name, value in optimizer.param_groups[-1].items() if name != "params"}
        trainable = [p for p in self.critic.parameters() if p.requires_grad]
        optimizer.add_param_group(defaults | {"params": trainable, "lr": self.critic_lr, "initial_lr": self.critic_lr})
        return optimizer

    # ---- the rollout -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def read(self, micro: Batch) -> Batch:
        assert self.critic is not None
        hidden_NTC = None if self.critic.own else self.model(**self.model.inputs_of(micro)).hidden_BTC
        return super().read(micro) | {"values": self.critic(self.model.inputs_of(micro), hidden_NTC)}

    def advantages(self, rollout: Batch) -> Batch:
        """Whitened over the counted actions of all ranks; returns are what the critic is to learn."""
        mask_NT, values_NT = mask_of(rollout), rollout["values"]
        log_ratio_NT = torch.zeros_like(values_NT)
        if self.kl:
            log_ratio_NT = rollout.get("old", rollout["generated"]) - rollout["ref"]
        rewards_NT = token_rewards(rollout["scores"], log_ratio_NT, mask_NT, kl=self.kl)
        found_NT = gae(rewards_NT, values_NT, mask_NT, gamma=self.gamma, lam=self.lam)
        returns_NT = (found_NT + values_NT).where(mask_NT, 0.0)
        counted_NT = mask_NT & rollout["counted"].unsqueeze(1)
        seen = self._over_ranks(moments(found_NT[counted_NT]))
        self._note_critic(values_NT[mask_NT], returns_NT[mask_NT])
        white_NT = whitened(found_NT, seen).where(mask_NT, 0.0) if seen[0] else found_NT
        return {"advantages": white_NT.float(), "returns": returns_NT}

    def more_loss(self, micro: Batch, out: Output, mask_NT: Tensor) -> Tensor:
        assert self.critic is not None
        values_NT = self.critic(self.model.inputs_of(micro), out.hidden_BTC)
        loss_NT = value_loss(values_NT, micro["values"], micro["returns"], self.value_clip)
        moved_NT = ((values_NT - micro["values"]).abs() > self.value_clip) & mask_NT
        self.meter.add("value/clipfrac_avg", moved_NT.sum(), mask_NT.sum())
        self.meter.add("loss/value_avg", loss_NT.detach().where(mask_NT, 0.0).sum(), mask_NT.sum())
        return self.vf * loss_NT

    def _note_critic(self, values: Tensor, returns: Tensor) -> None:
        """Share of the returns' variance that the critic explains; below 0 it is worse than their mean."""
        spread = float(returns.var()) if len(returns) > 1 else 0.0
        unexplained = float((returns - values).var()) / spread if spread else 0.0
        self.meter.add("value/explained_variance", 1 - unexplained if spread else 0.0, int(spread > 0))
