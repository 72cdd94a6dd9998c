"""What gradient-boosted fine-tuning begins with: data that can be boosted on, a base, rows that choose steps."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import torch

from batch import IGNORE, Batch
from commands import word
from errors import RequestError
from lightning_modules.base import LanguageModule, Start
from lightning_modules.causal_lm import CausalLMModule
from lightning_modules.pairs import chosen_rows
from lightning_modules.start import learn_likelihood
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from models.boosting.plan import Plan
from models.boosting.units import Unit, is_dev, units_of
from optimization.adamw import adamw
from optimization.schedules import cosine

MAX_DEV_ROWS = 256  # that many choose steps; further ones are held out all the same
BASE_LR = 1e-3
# what data provides -> in words, and the loss that learns from it
LOSS_OF = {
    "conversations": ("conversations", "sft"),
    "pairs": ("pairs of answers", "dpo"),
    "tokens": ("plain text", "causal_lm"),
}


def check_settings(model: Any, *, strategy: str, adapter: Any, optimizer: Any) -> None:
    """Raises RequestError for settings of the run that stages cannot be trained with."""
    if not isinstance(model, Boosted):
        raise RequestError("objective=gbft needs the section gbft: leave gbft=none out.")
    if adapter:
        raise RequestError(
            "objective=gbft trains learners of its own beside a frozen base; adapter= would be a second kind of "
            "them.\nLeave adapter=... out; learner=lora_top and learner=lora_full are LoRA."
        )
    if getattr(optimizer, "func", adamw) is not adamw:
        raise RequestError(
            "objective=gbft trains small learners, which have no embedding and no head for other optimizers to "
            "treat apart.\nType optimizer=adamw_stage."
        )
    if strategy != "single":
        raise RequestError("objective=gbft trains on one device: type hardware=auto, cpu or gpu.")


def refuse_ends(given: dict[str, Any]) -> None:
    """Raises RequestError for keys of the trainer that know nothing of stages."""
    for name in [name for name, value in given.items() if value is not None]:
        raise RequestError(
            f"trainer.{name}: objective=gbft trains stages one after another, each with an end of its own (gbft.*).\n"
            f"Leave trainer.{name} out."
        )


def check_data(data: Any, plan: Plan) -> None:
    """Raises RequestError for data that cannot be boosted on, before anything is trained."""
    if getattr(data, "sampling", None) == "random":
        raise RequestError(
            "objective=gbft reads the same windows again and again, from a cache; data.sampling=random never gives the "
            "same one twice.\nType data.sampling=shuffle."
        )
    if plan.dev_fraction > 0 and (getattr(data, "stride", None) or data.seq_len) < data.seq_len:
        raise RequestError(
            f"data.stride={data.stride} makes windows of {data.seq_len} tokens overlap: text of the dev rows, "
            "which choose the steps of objective=gbft, would be trained on.\n"
            "Leave data.stride out, or type gbft.dev_fraction=0 (fixed steps, and nothing is dropped)."
        )
    kind, fitting = next((found for name, found in LOSS_OF.items() if name in data.provides), LOSS_OF["tokens"])
    if plan.loss != fitting:
        raise RequestError(f"gbft.loss={plan.loss}: the data holds {kind}.\nType gbft.loss={fitting}.")
    if plan.train_fraction < 1 and not hasattr(data, "shorten"):
        raise RequestError("gbft.train_fraction is for plain text; take fewer examples by the data's own keys.")


def check_logits(model: Boosted) -> None:
    """Raises RequestError where second-order steps would be taken through logits that are capped."""
    plan = model.plan
    if model.softcap is not None and (plan.objective != "ce" or plan.refit_etas):
        what = "gbft.refit_etas=true" if plan.objective == "ce" else f"gbft.objective={plan.objective}"
        raise RequestError(
            f"{what} takes logits to be linear in what a stage adds, and this base caps them (softcap "
            f"{model.softcap:g}): its residuals and steps would be those of another model.\n"
            "Type gbft.objective=ce gbft.refit_etas=false."
        )


def check_start(model: Boosted, start: Start) -> None:
    """Raises RequestError where the weights are those of an ensemble to which this run would add nothing, or whose
    stages it would change.
    """
    there, plan = 0 if start.resumed else int(model.closed), model.plan
    if there and there >= plan.stages:
        raise RequestError(
            f"init_from={start.weights} is an ensemble of {there} stages already, and gbft.stages={plan.stages} is how "
            f"many there are to be in all.\nTo add stages on this data: gbft.stages={there + 2}; on its own data, type "
            f"{word(f'resume={start.weights}')} gbft.stages={there + 2}"
        )
    if there % plan.bag:
        raise RequestError(
            f"gbft.bag={plan.bag}: behind {there} stages the first bag would not be whole. Type gbft.bag=1, or another "
            "number that divides them."
        )
    changing = {
        "gbft.ensemble=bagged": plan.ensemble == "bagged",
        "gbft.refit_etas=true": plan.refit_etas,
        f"gbft.corrective_steps={plan.corrective_steps}": plan.corrective_steps > 0,
    }
    for key in [key for key, given in changing.items() if given and there]:
        raise RequestError(
            f"{key} would change the {there} stages of init_from={start.weights}, which stay as they are.\n"
            "Leave it out."
        )


def learn_base(model: Boosted, start: Start, *, token_bytes: Any, seed: int, log_every: int) -> None:
    """Trains the base on the language reference, of pairs on the chosen answers; the same for the same seed."""
    steps, base = model.plan.base_steps, model.base
    if steps == 0:
        raise RequestError(
            "objective=gbft corrects a trained base, and gbft.base_steps=0 asks for none.\n"
            "Type init_from=RUN_FOLDER, or gbft.base_steps=800 to train one first."
        )
    base.requires_grad_(True).train()
    common = {"token_bytes": token_bytes, "seed": seed, "log_every": log_every}
    if model.plan.of_pairs:
        learn_likelihood(LanguageModule(model=base, **common), start, chosen_rows, steps=steps, lr=BASE_LR)
    else:
        learn_reference_text(base, start, steps=steps, **common)
    base.requires_grad_(False).eval()


def learn_reference_text(base: LanguageModel, start: Start, *, steps: int, seed: int, **common: Any) -> None:
    print(f"base    no init_from: {steps} updates on the language reference come first", flush=True)
    module = CausalLMModule(
        model=base,
        optimizer=partial(adamw, lr=BASE_LR, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1),
        schedule=partial(cosine, total_steps=steps, warmup_steps=min(50, steps // 10), final_ratio=0.1),
        seed=seed,
        grad_clip=1.0,
        **common,
    )
    start.train(module, start.reference_text(batch_size=12), steps=steps, folder="base")


def make_room(model: Boosted, checkpoint: dict[str, Any], optimizer: Callable[[], torch.optim.Optimizer]) -> None:
    """A finished run may be given more stages: their learners are new, the optimizer has no state of them."""
    prefix = "model."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    checkpoint["state_dict"] |= {f"{prefix}{name}": value for name, value in model.accept(state).items()}
    for saved in checkpoint.get("optimizer_states", []):
        fresh = optimizer().state_dict()["param_groups"]
        saved["param_groups"] += fresh[len(saved["param_groups"]) :]


def draw_rows(data: Any, plan: Plan, *, seed: int) -> tuple[list[Unit], Unit]:
    """Rows of the training data that are dev, in the order in which they come, and the first that is not.

    Raises:
        RequestError: there are too few rows for a dev part.
    """
    steps, total = data.train_dataloader().dataset, n_rows(data, plan)
    found: dict[bytes, Unit] = {}
    spare: Unit | None = None
    seen = 0
    for step in count():
        for row in rows_of(steps[step], plan):
            seen += 1
            if is_dev(row, seed, plan):
                found.setdefault(row.identity, row)
            elif spare is None:
                spare = row
        if spare is not None and (len(found) >= MAX_DEV_ROWS or seen >= total or plan.dev_fraction == 0):
            break
        if seen >= total and spare is None:
            break
    if spare is None or (plan.dev_fraction > 0 and not found):
        what, shorter = ("pairs", "") if plan.of_pairs else ("rows", "a shorter model.seq_len, ")
        raise RequestError(
            f"{total} training {what} are too few to hold {plan.dev_fraction:.0%} of them out.\n"
            f"Type gbft.dev_fraction=0 (nothing is dropped then), {shorter}or give more."
        )
    return list(found.values())[:MAX_DEV_ROWS], spare


def rows_of(batch: list[Batch], plan: Plan) -> list[Unit]:
    """Single rows of a step's micro-batches, or pairs, those with something to learn from."""
    return [unit for micro in batch for unit in units_of(micro, plan) if (unit.targets_RT != IGNORE).any()]


def n_rows(data: Any, plan: Plan) -> int:
    """Different rows in the training data; where they are made without end, as many as this run will see."""
    if hasattr(data, "order"):
        return data.order().n_windows
    return data.train.size or plan.total_steps * data.batch_size * data.accumulate
