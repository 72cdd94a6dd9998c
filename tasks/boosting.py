"""What a run of objective=gbft needs: a base, rows that choose steps, its length, its table of stages."""

import dataclasses
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from datamodules.pydoc import PydocDataModule
from errors import RequestError
from launcher.config.instantiate import build
from lightning_modules.causal_lm import CausalLMModule
from models.boosting.ensemble import Boosted
from models.boosting.plan import Plan
from models.boosting.stage import DevRow, is_dev
from models.boosting.states import check_budget
from optimization.adamw import adamw
from optimization.schedules import cosine
from tasks import parts

MAX_DEV_ROWS = 256  # that many choose steps; further ones are held out all the same
BASE_LR = 1e-3


def check_request(cfg: DictConfig, data: Any, model: Any) -> None:
    """Raises RequestError for what cannot be boosted, before anything is trained."""
    if not isinstance(model, Boosted):
        return
    if cfg.objective._target_ != "lightning_modules.gbft.GBFTModule":
        return
    if getattr(data, "sampling", None) == "random":
        raise RequestError(
            "objective=gbft reads the same windows again and again, from a cache; data.sampling=random never gives the "
            "same one twice.\nType data.sampling=shuffle."
        )
    if model.plan.dev_fraction > 0 and (getattr(data, "stride", None) or cfg.data.seq_len) < cfg.data.seq_len:
        raise RequestError(
            f"data.stride={data.stride} makes windows of {cfg.data.seq_len} tokens overlap: text of the dev rows, "
            "which choose the steps of objective=gbft, would be trained on.\n"
            "Leave data.stride out, or type gbft.dev_fraction=0 (fixed steps, and nothing is dropped)."
        )
    masked = "conversations" in data.provides
    if (model.plan.loss == "sft") != masked:
        kind = "conversations" if masked else "plain text"
        other = "sft" if masked else "causal_lm"
        raise RequestError(f"gbft.loss={model.plan.loss}: the data holds {kind}.\nType gbft.loss={other}.")
    if cfg.get("adapter"):
        raise RequestError(
            "objective=gbft trains learners of its own beside a frozen base; adapter= would be a second kind of them.\n"
            "Leave adapter=... out; learner=lora_top and learner=lora_full are LoRA."
        )
    if cfg.optimizer._target_ != "optimization.adamw.adamw":
        raise RequestError(
            "objective=gbft trains small learners, which have no embedding and no head for other optimizers to treat "
            "apart.\nType optimizer=adamw_stage."
        )
    if cfg.trainer.strategy != "single":
        raise RequestError("objective=gbft trains on one device: type hardware=auto, cpu or gpu.")
    check_logits(model)
    check_budget(model, n_rows(data, model.plan), cfg.data.seq_len)


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


def begin(cfg: DictConfig, data: Any, model: Any, run: Any, *, resumed: bool) -> None:
    """The start of a run: shortens the text if asked, sets the run's length, learns a base where none is given."""
    if not isinstance(model, Boosted) or "gbft" not in cfg.objective._target_:
        return
    check_request(cfg, data, model)
    if model.plan.train_fraction < 1:
        shorten(data, model.plan.train_fraction)
    cfg.trainer.max_steps = run_length(cfg.trainer.max_steps, model.plan)
    if resumed:
        return
    if int(model.closed):
        raise RequestError(
            f"init_from={cfg.init_from} is an ensemble of {int(model.closed)} stages already.\n"
            f"To add stages to it, type: resume={cfg.init_from} gbft.stages={int(model.closed) + 3}"
        )
    if not cfg.init_from and not cfg.model.get("pretrained"):  # model=hf comes with its weights
        learn_base(cfg, data.tokenizer, model, run)


def run_length(max_steps: int, plan: Plan) -> int:
    """Updates of the run: those of the plan, or fewer where `trainer.max_steps` ends it with an earlier stage.

    Raises:
        RequestError: it would end in the middle of a stage, which then would never be closed.
    """
    total, size = plan.total_steps, plan.steps_per_stage
    if max_steps >= total:
        return total
    whole, rest = divmod(max_steps, size)
    if rest or whole > plan.stages:
        border = min(max(whole, 1), plan.stages) * size
        raise RequestError(
            f"trainer.max_steps={max_steps} ends in the middle of a stage: a stage has {size} updates, and the run "
            f"{plan.stages} stages and {plan.corrective_steps} corrective updates, {total} in all.\n"
            f"Leave it out for all of them, or type trainer.max_steps={border}; shorter stages: "
            f"gbft.steps_per_stage={max(1, max_steps // plan.stages)}."
        )
    print(f"length  trainer.max_steps={max_steps} ends this run after {whole} of {plan.stages} stages", flush=True)
    return max_steps


def learn_base(cfg: DictConfig, tokenizer: Any, model: Boosted, run: Any) -> None:
    """Trains the base on the embedded language reference; the same for the same seed."""
    steps, base = model.plan.base_steps, model.base
    if steps == 0:
        raise RequestError(
            "objective=gbft corrects a trained base, and gbft.base_steps=0 asks for none.\n"
            "Type init_from=RUN_FOLDER, or gbft.base_steps=800 to train one first."
        )
    print(f"base    no init_from: {steps} updates on the language reference come first", flush=True)
    data = PydocDataModule(
        tokenizer=tokenizer,
        part="reference",
        cache_dir=cfg.data.get("cache_dir") or "outputs/cache",
        seq_len=cfg.data.seq_len,
        batch_size=12,
        seed=cfg.seed,
    )
    data.prepare()
    module = CausalLMModule(
        model=base.requires_grad_(True).train(),
        optimizer=partial(adamw, lr=BASE_LR, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1),
        schedule=partial(cosine, total_steps=steps, warmup_steps=min(50, steps // 10), final_ratio=0.1),
        token_bytes=torch.from_numpy(tokenizer.token_bytes()),
        seed=cfg.seed,
        grad_clip=1.0,
        log_every=cfg.trainer.log_every,
    )
    section = cfg.trainer.copy()
    section.max_steps = section.val_every = section.checkpoint_every = steps
    shown = [part for name, part in (cfg.callbacks or {}).items() if name == "progress"]
    callbacks = [parts.build_offering(part) for part in shown]
    trainer = build(section, run_dir=run.path / "base", seq_len=cfg.data.seq_len, callbacks=callbacks, loggers=[])
    trainer.fit(module, data)
    base.requires_grad_(False).eval()


def give_rows(data: Any, module: Any, run: Any) -> None:
    """Hands the module the dev rows and a place for its cache; for other modules nothing happens."""
    if not hasattr(module, "use_rows"):
        return
    dev, spare = draw_rows(data, module)
    comes_back = hasattr(data, "order") or data.train.size is not None  # else a cache would be written, never read
    module.use_rows(dev, spare, run.path / "cache" if comes_back else None)
    if run.rank == 0 and dev:
        tokens = sum(int((row.targets_1T >= 0).sum()) for row in dev)
        print(f"dev     {tokens:,} tokens in {len(dev)} training rows choose the steps", flush=True)


def draw_rows(data: Any, module: Any) -> tuple[list[DevRow], DevRow]:
    """Rows of the training data that are dev, in the order in which they come, and the first that is not.

    Raises:
        RequestError: there are too few rows for a dev part.
    """
    steps, total, plan = data.train_dataloader().dataset, n_rows(data, module.plan), module.plan
    found: dict[bytes, DevRow] = {}
    spare: DevRow | None = None
    seen = 0
    for step in count():
        for row in rows_of(steps[step]):
            seen += 1
            if is_dev(row.identity, module.seed, plan):
                found.setdefault(row.identity, row)
            elif spare is None:
                spare = row
        if spare is not None and (len(found) >= MAX_DEV_ROWS or seen >= total or plan.dev_fraction == 0):
            break
        if seen >= total and spare is None:
            break
    if spare is None or (plan.dev_fraction > 0 and not found):
        raise RequestError(
            f"{total} training rows are too few to hold {plan.dev_fraction:.0%} of them out.\n"
            "Type gbft.dev_fraction=0 (nothing is dropped then), a shorter model.seq_len, or give more text."
        )
    return list(found.values())[:MAX_DEV_ROWS], spare


def rows_of(batch: list[dict[str, torch.Tensor]]) -> list[DevRow]:
    """Single rows of a step's micro-batches, those with something to learn from."""
    return [
        DevRow(ids[None], targets[None], micro["documents"][i : i + 1] if "documents" in micro else None)
        for micro in batch
        for i, (ids, targets) in enumerate(zip(micro["ids"], micro["targets"], strict=True))
        if (targets >= 0).any()
    ]


def n_rows(data: Any, plan: Plan) -> int:
    """Different rows in the training data; where they are made without end, as many as this run will see."""
    if hasattr(data, "order"):
        return data.order().n_windows
    return data.train.size or plan.total_steps * data.batch_size * data.accumulate


class Beginning:
    """The first tokens of a token file."""

    def __init__(self, tokens: Any, n: int):
        self.tokens, self.n = tokens, n

    def __len__(self) -> int:
        return self.n

    def read(self, starts: np.ndarray, n: int) -> np.ndarray:
        return self.tokens.read(starts, n)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tokens":
            raise AttributeError(name)
        return getattr(self.tokens, name)


def shorten(data: Any, fraction: float) -> None:
    """Raises RequestError where that leaves less than two windows, or the data is not plain text."""
    if not hasattr(data, "folder"):
        raise RequestError("gbft.train_fraction is for plain text; take fewer examples by the data's own keys.")
    n = int(len(data.folder.train) * fraction)
    if n < 2 * (data.seq_len + 1):
        raise RequestError(f"gbft.train_fraction={fraction} leaves {n} tokens: less than two windows.")
    data._folder = dataclasses.replace(data.folder, train=Beginning(data.folder.train, n))


def record_stages(run: Any, module: Any) -> None:
    """summary.json's `stages`, and the corrective phase where there was one."""
    if hasattr(module, "records"):
        run.results["stages"] = module.records
        if module.corrective is not None:
            run.results["corrective"] = module.corrective
        module.states.close()


def table(records: list[dict[str, Any]]) -> str:
    """The stages for the screen."""
    lines = ["stage     eta  dev/loss  val/loss  parameters"]
    for r in records:
        eta = "" if r["eta"] is None else f"{r['eta']:.3f}" if r["kept"] else "dropped"
        losses = [f"{r[name]:10.4f}" if name in r else " " * 10 for name in ("dev/loss", "val/loss")]
        lines.append(f"{r['stage']:5d} {eta:>7}{''.join(losses)}{r['parameters']:12,}")
    return "\n".join(lines)
