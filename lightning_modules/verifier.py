"""A verifier: how probable is it that an answer is right? From answers that are each said to be right or wrong.

    loss = mean over answers of the mean over an answer's tokens of BCE(logit after the token, label)

Cobbe et al. 2021 (2110.14168), section 4: a label for the whole answer is learned after every token of it, and the
answer is judged by what is said after its last. What is measured first is whether answers to one question come out in
the right order (evaluation/judging.py). The language model below is frozen by default: trained at a high rate on few
questions it learns which questions are easy, and forgets what tells their answers apart.

Shapes: B answers, T tokens (batch.py).
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from batch import IGNORE, Batch
from bounds import NonNegativeFloat, NonNegativeInt
from errors import RequestError
from evaluation.judging import judge_metrics
from lightning_modules.base import LanguageModule, Start
from lightning_modules.pairs import switch_dropout_off
from lightning_modules.start import learn_likelihood
from lightning_modules.update import Size
from models.base import LanguageModel, Output, real_tokens
from models.heads import Verifier, at_end, judge


def verifier_loss(logits_BT: Tensor, right_B: Tensor, counted_BT: Tensor) -> Tensor:
    """(B,) nats of each answer: the mean over its counted tokens of the binary cross-entropy with its label."""
    labels_BT = right_B.to(logits_BT.dtype).unsqueeze(1).expand_as(logits_BT)
    loss_BT = F.binary_cross_entropy_with_logits(logits_BT, labels_BT, reduction="none") * counted_BT
    return loss_BT.sum(1) / counted_BT.sum(1).clamp_min(1)


class VerifierModule(LanguageModule):
    """Loss and metrics are means over the answers of the global batch.

    Args:
        train: "head": the language model is frozen; "all": it learns as well, at a low rate.
        features: the head also reads how likely the model finds the answer's tokens.
        at: where the label is learned: at "every" token of the answer, or at the "last".
        lm_weight: with train=all, weight of the likelihood of the right answers, nats per token, added.
        sft_steps, sft_lr: updates on the right answers alone that come first where there are no weights.
    """

    needs = ("judged",)
    judges = True

    def __init__(
        self,
        *,
        data: Any,
        adapter: Any = None,
        train: Literal["head", "all"] = "head",
        features: bool = True,
        at: Literal["every", "last"] = "every",
        lm_weight: NonNegativeFloat | None = None,
        sft_steps: NonNegativeInt = 0,
        sft_lr: NonNegativeFloat = 1e-3,
        **common: Any,
    ):
        """Raises RequestError for settings that would do nothing."""
        super().__init__(**common)
        if train == "head" and lm_weight:
            raise RequestError(
                f"objective.lm_weight={lm_weight} is for objective.train=all: with train=head the language model is "
                "frozen.\nType objective.train=all optimizer=adamw_finetune optimizer.lr=2e-4, or leave it out."
            )
        if train == "head" and adapter:
            raise RequestError(
                "adapter=... and objective.train=head do not go together: the head alone would learn.\n"
                "Type objective.train=all, or leave the adapter out."
            )
        self.data, self.frozen, self.features, self.at = data, train == "head", features, at
        self.lm_weight = 0.0 if self.frozen else DEFAULT_LM_WEIGHT if lm_weight is None else lm_weight
        self.sft_steps, self.sft_lr = sft_steps, sft_lr

    @classmethod
    def prepare_model(cls, model: LanguageModel) -> LanguageModel:
        return model if isinstance(model, Verifier) else Verifier(model)

    # ---- the run -----------------------------------------------------------------------------------------------------

    def learn_start(self, start: Start) -> None:
        assert isinstance(self.model, Verifier)
        if self.sft_steps and start.from_scratch:
            self.model.head.weight.requires_grad_(True)
            learn_likelihood(self, start, right_rows, steps=self.sft_steps, lr=self.sft_lr, what="the right answers")
        self.model.score_head.requires_grad_(True)
        if not self.features:
            self.model.ignore_features()
        if self.frozen:
            self.model.backbone.requires_grad_(False)
        elif self.lm_weight:
            self.model.head.weight.requires_grad_(True)

    def configure_model(self) -> None:
        if self.frozen:
            switch_dropout_off(self.model)  # what is learned is read from what is seen later
        super().configure_model()

    def record(self) -> dict[str, Any]:
        """Which questions were trained on: a verifier that is asked about them again is refused."""
        return {"judged_questions": self.data.asked_hashes("train")}

    def farewell(self) -> dict[str, str | None]:
        rerank = (
            "python run.py task=evaluate init_from=GENERATOR benchmark=NAME evaluate.samples=8 evaluate.rerank={run}"
        )
        return {"sample": None, "rerank": rerank}

    # ---- the loss ----------------------------------------------------------------------------------------------------

    def units(self, micro: Batch) -> int:
        return int((micro["index"] >= 0).sum())

    def loss(self, micro: Batch) -> Output:
        assert isinstance(self.model, Verifier)
        real_BT = real_tokens(micro)
        assert real_BT is not None
        answer_BT = answer_tokens(micro["targets"])
        compact = self.model.compact_of(micro)
        logits_BT, nats_BT, out = judge(
            self.model, micro["ids"], real_BT, answer_BT, features=self.features, compact=compact
        )
        end_B = at_end(logits_BT, real_BT)
        counted_BT = answer_BT if self.at == "every" else last_only(answer_BT)
        loss_B = verifier_loss(logits_BT, micro["labels"], counted_BT)
        if self.lm_weight:
            lm_B = (nats_BT * answer_BT).sum(1) / answer_BT.sum(1).clamp_min(1)
            loss_B = loss_B + self.lm_weight * lm_B.where(micro["labels"], 0.0)
        here_B = micro["index"] >= 0
        hits_B = ((end_B >= 0) == micro["labels"]) & here_B
        sums = {"accuracy": hits_B.sum().float(), "right": micro["labels"].sum().float()}
        aux = {} if self.frozen else out.aux
        return Output(end_B, loss_B.where(here_B, 0.0).sum(), aux=aux, sums=sums, stats=out.stats)

    # ---- metrics -----------------------------------------------------------------------------------------------------

    def update_metrics(self, sums: dict[str, Tensor], size: Size) -> dict[str, float]:
        share = sums["right"].item() / size.units
        return {"accuracy": sums["accuracy"].item() / size.units, "base_rate": max(share, 1 - share)}

    def validation_sums(self, batch: Batch, out: Output) -> dict[str, Tensor]:
        """Each answer's probability at its place: the sum over batches and ranks is the whole table."""
        assert out.loss is not None
        here_B = (batch["index"] >= 0).cpu()
        table = torch.zeros(len(self.data.table("val")), dtype=torch.float64)
        table[batch["index"].cpu()[here_B]] = out.hidden_BTC.detach().cpu().double().sigmoid()[here_B]
        return {"loss": out.loss.detach().cpu().double(), "n": here_B.sum(), "probabilities": table}

    def validation_metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        table = self.data.table("val")
        found = judge_metrics(
            sums["probabilities"].numpy(), table.labels, table.questions.tolist(), threshold=0.5, probability=True
        )
        metrics = {name: estimate.value for name, estimate in found.items()}
        return {name: value for name, value in metrics.items() if value == value} | {
            "loss": (sums["loss"] / sums["n"]).item()
        }


DEFAULT_LM_WEIGHT = 0.1  # with train=all


def answer_tokens(targets_BT: Tensor) -> Tensor:
    """(B, T) True at the tokens that are targets, where they are read themselves: one place to the right."""
    answer_BT = torch.zeros_like(targets_BT, dtype=torch.bool)
    answer_BT[:, 1:] = targets_BT[:, :-1] != IGNORE
    return answer_BT


def last_only(answer_BT: Tensor) -> Tensor:
    """True at the last True of each row alone."""
    return answer_BT & (answer_BT.cumsum(1) == answer_BT.sum(1, keepdim=True))


def right_rows(micro: Batch) -> Batch:
    """The answers, without targets where they are wrong."""
    return micro | {"targets": micro["targets"].masked_fill(~micro["labels"].unsqueeze(1), IGNORE)}
