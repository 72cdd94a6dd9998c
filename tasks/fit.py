"""task=fit: train. Reads from top to bottom: data -> model -> objective -> trainer -> fit -> where the result lies."""

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from commands import run_py, word
from datamodules.kinds.steps import StepDataModule
from errors import RequestError
from launcher.config.instantiate import build
from launcher.jobs.run_folder import RunFolder
from lightning_modules.base import LanguageModule
from models.weights.checkpoints import read_checkpoint
from models.weights.identity import ALLOW, MadeWith, compare
from runs.files import typed_words
from tasks import parts
from tasks.hardware.choice import given_back, settle
from tasks.origin import origin_of
from tasks.trainer import fit_and_validate, prepare_process

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("a run",)

# typed, but nothing that a run is compared by
PLACES = ("task", "run_dir", "resume", "rerun", "fail_fast", "hydra", "hydra/launcher", "logger", "callbacks", "sweeps")


@given_back()
def fit(cfg: DictConfig, run: RunFolder) -> None:
    """Trains, validates, saves; fills `run.results` as it goes, so that summary.json is true also after a failure."""
    prepare_process()
    origin = origin_of(cfg)
    data = parts.build_data(cfg, run, origin=origin)
    made_with, checkpoint = parts.made_with(cfg, data), last_checkpoint(cfg, run)
    if checkpoint is not None:
        run.results |= went_on_with(checkpoint, made_with, cfg)
    data.tokenizer.save(run.path / "tokenizer")
    run.results |= {"data_fingerprint": data.fingerprint, "tokenizer_fingerprint": data.tokenizer.fingerprint}
    model = parts.build_model(cfg, vocab_size=data.tokenizer.vocab_size, origin=origin)
    run.results["parameters"] = model.parameter_counts()
    if checkpoint is None:
        parts.load_start(model, cfg, origin=origin, tell="nothing" if run.rank else "all")
    settle(cfg, run, model, data, fresh=checkpoint is None and not cfg.get("rerun"))
    objective = parts.build_objective(cfg, data, model, run)  # checks its keys, before anything is trained
    objective.check_data(data)
    if data.ignored:
        run.results["ignored"] = dict(data.ignored)  # given and not used, by name
    start = parts.start_of(cfg, origin, data, run, train=partial(short_run, cfg, run), resumed=checkpoint is not None)
    objective.learn_start(start)
    parts.add_adapter(cfg, model)
    run.results["parameters"] = model.parameter_counts()
    describe(cfg, data, model, run)
    objective.begin(start)
    trainer = build_trainer(cfg, data, objective, run, start_step=step_of(checkpoint))
    trainer.strategy.checkpoint_io.made_with = made_with
    try:
        fit_and_validate(trainer, objective, data, checkpoint)
    finally:
        record(run, trainer, objective)
    if run.rank == 0:
        parts.keep_adapter(model, run.path / "adapter")
        log_hyperparameters(trainer, cfg, run)
        print(farewell(run, objective.farewell()))


def build_trainer(
    cfg: DictConfig, data: StepDataModule, objective: LanguageModule, run: RunFolder, *, start_step: int
) -> Any:
    loggers = [build(section, run_dir=run.path, start_step=start_step) for section in (cfg.logger or {}).values()]
    section = cfg.trainer.copy()
    section.max_steps = objective.run_length(cfg.trainer.max_steps)
    return build(
        section,
        run_dir=run.path,
        began=run.began,
        callbacks=callbacks_of(cfg, data),
        loggers=loggers if run.rank == 0 else [],
        val_batch_tokens=data.val_batch_size * data.seq_len * run.world_size,
    )


def callbacks_of(cfg: DictConfig, data: StepDataModule, *, only: tuple[str, ...] | None = None) -> list[Any]:
    """The callbacks of the config, or those of these names."""
    offered = {"tokenizer": data.tokenizer, "data": data}
    named = (cfg.callbacks or {}).items()
    return [parts.build_offering(section, **offered) for name, section in named if only is None or name in only]


def short_run(
    cfg: DictConfig, run: RunFolder, module: LanguageModule, data: StepDataModule, *, steps: int, folder: str
) -> None:
    """A run of its own below this one's folder, with the trainer's keys and its progress on the screen.

    An item of data serves as many updates as `module` says, not as many as the run's objective does.
    """
    section = cfg.trainer.copy()
    section.max_steps = section.val_every = section.checkpoint_every = steps
    section.monitor, section.monitor_mode = "val/loss", None  # another objective than the run's, with other metrics
    OmegaConf.update(section, "patience", None, force_add=True)  # as long as it was said to be
    OmegaConf.update(section, "ema", None, force_add=True)
    callbacks = callbacks_of(cfg, data, only=("progress",))
    trainer = build(section, run_dir=run.path / folder, began=run.began, callbacks=callbacks, loggers=[])
    whole_run, data.updates_per_item = data.updates_per_item, module.updates_per_item
    try:
        trainer.fit(module, data)
    finally:
        data.updates_per_item, data.trainer = whole_run, None


def last_checkpoint(cfg: DictConfig, run: RunFolder) -> Path | None:
    """Where a resumed run goes on; None starts from the beginning."""
    path = run.path / "checkpoints" / "last.ckpt"
    if not cfg.resume:
        return None
    best = path.with_name("best.ckpt")
    # a best one of step 0, a base before its stages, is made again
    if not path.is_file() and best.is_file() and step_of(best) > 0 and not cfg.get("allow_mismatch"):
        raise RequestError(
            f"{run.path} has lost its last.ckpt: from step 0 it would write over best.ckpt, which is still there.\n"
            f"Type {run_py(f'init_from={best}')} to start a new run from it, or {ALLOW} to start this one anew."
        )
    if not path.is_file():
        print(f"no checkpoint in {run.path} yet: starting from step 0")
        return None
    return path


def went_on_with(checkpoint: Path, made_with: MadeWith, cfg: DictConfig) -> dict[str, Any]:
    """For summary.json: what is not as it was when `checkpoint` was written. Raises RequestError unless allowed."""
    allow = bool(cfg.get("allow_mismatch"))
    found = compare(read_checkpoint(checkpoint), made_with, where=checkpoint, allow=allow)
    return {"resumed_despite": found} if found else {}


def step_of(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else int(read_checkpoint(checkpoint)["global_step"])


def describe(cfg: DictConfig, data: StepDataModule, model: Any, run: RunFolder) -> None:
    """What is about to be trained, on what, and where to."""
    if run.rank != 0:
        return
    parts.warn_of_untrained_rows(cfg, data)
    parts.note_frozen_experts(model)
    print("\n".join(f"{name:<8}{words}" for name, words in data.facts().items()))
    counts = model.parameter_counts()
    trained = "" if counts["trainable"] == counts["total"] else f", {counts['trainable']:,} of them trained"
    print(f"model   {type(model).__name__}, {counts['total']:,} parameters{trained} -> {run.path}", flush=True)


def record(run: RunFolder, trainer: Any, objective: LanguageModule) -> None:
    """What summary.json says about training, from the callbacks that measured it and the objective itself."""
    callbacks = {type(callback).__name__: callback for callback in trainer.callbacks}
    metrics, checkpoints = callbacks["Metrics"], callbacks["Checkpoints"]
    run.results |= {
        "step": trainer.global_step,
        "tokens_seen": objective.measured.tokens_seen,
        "tokens_per_second": metrics.tokens_per_second,
        "metrics": metrics.latest,
        "best": checkpoints.best,
    }
    if hasattr(trainer.datamodule, "counted"):
        run.results["sources"] = trainer.datamodule.counted(trainer.global_step)
    early = callbacks.get("Patience")
    if early is not None and early.stopping_reason_message and trainer.global_step < trainer.max_steps:
        run.results["stopped_early"] = {"monitor": early.monitor, "validations": early.patience}
    run.results |= objective.record()


def log_hyperparameters(trainer: Any, cfg: DictConfig, run: RunFolder) -> None:
    """TensorBoard's HPARAMS tab compares runs by what was typed for them and by where their curves end."""
    curves = [name for name in run.results["metrics"] if name.startswith("val/")]
    for logger in trainer.loggers:
        if type(logger).__name__ == "TensorBoard":
            logger.compare(named(cfg, typed_words(run.path)), curves)
            logger.experiment.close()  # it was opened anew for this, with a thread that would stay


def named(cfg: DictConfig, words: list[str]) -> dict[str, int | float | bool | str]:
    """What was typed for this run, or varied by its sweep: hundreds of defaults beside it would hide what differs."""
    found: dict[str, int | float | bool | str] = {}
    for key, sign, text in (typed.lstrip("+").partition("=") for typed in words):
        if sign and key.split(".")[0] not in PLACES:
            value = OmegaConf.select(cfg, key)
            whole = value is None or OmegaConf.is_config(value)  # an option of a group, a list, null
            found[key] = text if whole else value if isinstance(value, int | float | bool | str) else str(value)
    return found


def farewell(run: RunFolder, own: dict[str, str | None]) -> str:
    """Where the result lies and what to type next; `own` is what the objective knows better."""
    metrics, step = run.results["metrics"], run.results["step"]
    shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in ("val/loss", "val/bpb") if name in metrics)
    further, early = f"trainer.max_steps={2 * step}", ""
    if stopped := run.results.get("stopped_early"):
        further = f"trainer.patience={2 * stopped['validations']}"
        early = f"\n  early      {stopped['monitor']} has not gained in {stopped['validations']} validation(s)"
    usual = {
        "sample": "python run.py task=generate init_from={run} prompt='The '",
        "evaluate": "python run.py task=evaluate init_from={run}",
        "go on": "python run.py resume={run} " + further,
        "dashboard": "tensorboard --logdir {run}",
    }
    lines = {name: line for name, line in own.items() if name not in usual} | usual | own
    path = word(run.path)
    typed = [f"  {name:<10} {line.format(run=path)}\n" for name, line in lines.items() if line is not None]
    return f"\nfinished at step {step}{': ' * bool(shown)}{shown}{early}\n  result     {run.path}\n{''.join(typed)}"
