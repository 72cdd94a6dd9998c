"""task=fit: train. Reads from top to bottom: data -> model -> objective -> trainer -> fit -> where the result lies."""

import shlex
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from launcher.config.instantiate import build
from models.adapters.lora import save_adapter
from models.heads import RewardModel
from tasks import boosting, parts, start
from tasks.trainer import (
    fit_and_validate,
    keep_freed_memory,
    micro_batches_per_step,
    quiet_lightning,
    resolve_accelerator,
    set_number_formats,
)
from tasks.weights import embedding_rows


def fit(cfg: DictConfig, run: Any) -> None:
    """Trains, validates, saves; fills `run.results` as it goes, so that summary.json is true also after a failure."""
    quiet_lightning()
    set_number_formats()
    keep_freed_memory()
    data = parts.build_data(cfg)
    data.tokenizer.save(run.path / "tokenizer")
    run.results |= {"data_fingerprint": data.fingerprint, "tokenizer_fingerprint": data.tokenizer.fingerprint}
    model = parts.prepared_model(cfg, vocab_size=data.tokenizer.vocab_size)
    run.results["parameters"] = model.parameter_counts()
    checkpoint = last_checkpoint(cfg, run)
    if cfg.init_from and checkpoint is None:
        parts.load_start(model, cfg, quiet=run.rank != 0)
    connect(data, cfg, run)
    boosting.begin(cfg, data, model, run, resumed=checkpoint is not None)
    module = build_module(cfg, data, model)  # checks its keys, before anything is trained
    if cfg.objective.get("sft_steps") and not cfg.init_from and checkpoint is None:
        start.learn_chosen(cfg, data, model, run)
    if cfg.get("adapter"):
        tell_of_untrained_rows(cfg, data, run)
        build(cfg.adapter, model=model)  # in place
        run.results["parameters"] = model.parameter_counts()
    describe(cfg, data, model, run)
    trainer = build_trainer(cfg, data, run, start_step=step_of(checkpoint))
    boosting.give_rows(data, module, run)
    try:
        fit_and_validate(trainer, module, data, checkpoint)
    finally:
        record(run, trainer, module)
    if run.rank == 0:
        if getattr(module.model, "adapter", None) is not None:
            save_adapter(module.model, run.path / "adapter")
        log_hyperparameters(trainer, cfg, run.results)
        stages = cfg.gbft.stages if cfg.get("gbft") else None
        print(farewell(run, stages=stages, writes=not isinstance(module.model, RewardModel)))


def tell_of_untrained_rows(cfg: DictConfig, data: Any, run: Any) -> None:
    """Adapters leave embeddings alone: tokens that the chat template has just added would never be learned (N16)."""
    known = embedding_rows(cfg.init_from) if cfg.init_from else None
    if run.rank == 0 and known is not None and data.tokenizer.vocab_size > known:
        print(
            f"warning: {data.tokenizer.vocab_size - known} tokens are new to this model, and beside adapters their "
            "embeddings stay untrained: it will not learn to end an answer.\n"
            "         Tune it whole first (objective=sft without adapter=), or type data.template=plain."
        )


def build_module(cfg: DictConfig, data: Any, model: Any) -> Any:
    return build(
        cfg.objective,
        model=model,
        optimizer=build(cfg.optimizer),
        schedule=build(cfg.schedule),
        token_bytes=torch.from_numpy(data.tokenizer.token_bytes()),
        seed=cfg.seed,
        grad_clip=cfg.trainer.grad_clip,
        log_every=cfg.trainer.log_every,
        compile_model=cfg.trainer.compile,
    )


def build_trainer(cfg: DictConfig, data: Any, run: Any, *, start_step: int) -> Any:
    loggers = [build(section, run_dir=run.path, start_step=start_step) for section in (cfg.logger or {}).values()]
    offered = {"tokenizer": data.tokenizer, "data": data}
    callbacks = [parts.build_offering(section, **offered) for section in (cfg.callbacks or {}).values()]
    return build(
        cfg.trainer,
        run_dir=run.path,
        seq_len=cfg.data.seq_len,
        callbacks=callbacks,
        loggers=loggers if run.rank == 0 else [],
    )


def connect(data: Any, cfg: DictConfig, run: Any) -> None:
    """Tells the data which part of each update is this rank's."""
    data.rank, data.world_size = run.rank, run.world_size
    data.pin_memory = resolve_accelerator(cfg.trainer.accelerator) == "gpu"
    data.accumulate = micro_batches_per_step(
        accumulate=cfg.trainer.accumulate,
        tokens_per_step=cfg.trainer.tokens_per_step,
        batch_tokens=cfg.data.batch_size * cfg.data.seq_len,
        world_size=run.world_size,
    )


def last_checkpoint(cfg: DictConfig, run: Any) -> Path | None:
    """Where a resumed run goes on; None starts from the beginning."""
    path = run.path / "checkpoints" / "last.ckpt"
    if not cfg.resume:
        return None
    if not path.is_file():
        print(f"no checkpoint in {run.path} yet: starting from step 0")
        return None
    return path


def step_of(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else int(parts.read_checkpoint(checkpoint)["global_step"])


def describe(cfg: DictConfig, data: Any, model: Any, run: Any) -> None:
    """What is about to be trained, on what, and where to."""
    if run.rank != 0:
        return
    print("\n".join(f"{name:<8}{words}" for name, words in parts.data_facts(data).items()))
    counts = model.parameter_counts()
    trained = "" if counts["trainable"] == counts["total"] else f", {counts['trainable']:,} of them trained"
    print(f"model   {type(model).__name__}, {counts['total']:,} parameters{trained} -> {run.path}", flush=True)


def record(run: Any, trainer: Any, module: Any) -> None:
    """What summary.json says about training, from the callbacks that measured it."""
    callbacks = {type(callback).__name__: callback for callback in trainer.callbacks}
    metrics, checkpoints = callbacks["Metrics"], callbacks["Checkpoints"]
    run.results |= {
        "step": trainer.global_step,
        "tokens_seen": module.tokens_seen,
        "tokens_per_second": metrics.tokens_per_second,
        "metrics": metrics.latest,
        "best": checkpoints.best,
    }
    if hasattr(trainer.datamodule, "counted"):
        run.results["sources"] = trainer.datamodule.counted(trainer.global_step)
    boosting.record_stages(run, module)


def log_hyperparameters(trainer: Any, cfg: DictConfig, results: dict[str, Any]) -> None:
    """Final metrics beside the hyperparameters: TensorBoard's HPARAMS tab compares runs by them."""
    from omegaconf import OmegaConf

    flat = flatten(OmegaConf.to_container(cfg, resolve=True))
    final = {name: value for name, value in results["metrics"].items() if name.startswith("val/")}
    for logger in trainer.loggers:
        if type(logger).__name__ == "TensorBoard":
            logger.log_hyperparams(flat, {f"final/{name}": value for name, value in final.items()})
            logger.save()


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; only what TensorBoard can show."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, int | float | str | bool) else str(value)
    return flat


def farewell(run: Any, *, stages: int | None = None, writes: bool = True) -> str:
    """Where the result lies and what to type next.

    Args:
        stages: how many there were to be, in gradient boosting.
        writes: the model makes text, which a reward model does not.
    """
    path, metrics = shlex.quote(str(run.path)), run.results["metrics"]
    records = run.results.get("stages")
    further = f"gbft.stages={2 * stages}" if records and stages else f"trainer.max_steps={2 * run.results['step']}"
    ended = records and (records[-1]["kept"] is False or "corrective" in run.results)  # no stage can follow
    shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in ("val/loss", "val/bpb") if name in metrics)
    return (
        f"{boosting.table(records) if records else ''}\nfinished at step {run.results['step']}: {shown}\n"
        f"  result     {run.path}\n"
        + (f"  sample     python run.py task=generate init_from={path} prompt='The '\n" if writes else "")
        + f"  evaluate   python run.py task=evaluate init_from={path}\n"
        + ("" if ended else f"  go on      python run.py resume={path} {further}\n")
        + f"  dashboard  tensorboard --logdir {path}\n"
    )
