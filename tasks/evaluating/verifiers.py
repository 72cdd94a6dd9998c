"""task=evaluate on judged answers: does a verifier tell right ones from wrong ones?"""

from typing import Any

import numpy as np
import torch

from errors import RequestError
from evaluation.intervals import Estimate
from evaluation.judging import error_curve, judge_metrics
from lightning_modules.verifier import answer_tokens
from models.base import LanguageModel
from models.generation import evaluating
from models.heads import Verifier, at_end, judge
from tasks.evaluating.pairs import on


@torch.no_grad()
def verifier_metrics(
    model: LanguageModel, data: Any, device: torch.device, *, seed: int
) -> tuple[dict[str, Estimate], int, list[dict[str, float]]]:
    """Metrics of the validation side with 95 % intervals over questions; how many answers; the curve of errors."""
    if not isinstance(model, Verifier):
        raise RequestError(
            f"data=judged is for a verifier, and this is a {type(model).__name__}.\nType init_from=<a run of "
            "objective=verifier>; another model's scores are measured by benchmark=NAME evaluate.samples=8 "
            "evaluate.rerank=likelihood (or RUN)."
        )
    table = data.table("val")
    found = np.zeros(len(table))
    with evaluating(model):
        for batch in data.val_dataset():
            micro = on(batch, device)
            logits_BT = judge(model, micro["ids"], micro["padding"], answer_tokens(micro["targets"]))[0]
            here_B = batch["index"] >= 0
            probability_B = at_end(logits_BT, micro["padding"]).double().sigmoid().cpu()
            found[batch["index"][here_B].numpy()] = probability_B[here_B].numpy()
    metrics = judge_metrics(found, table.labels, table.questions.tolist(), threshold=0.5, probability=True, seed=seed)
    return metrics, len(table), error_curve(found, table.labels)
