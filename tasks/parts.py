"""The parts of a run, built from its config in the order in which they need each other: data, model, objective.

Every task builds its model here, so that a plan, a training and an evaluation are of the same one.
"""

import copy
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from commands import run_py, word
from datamodules.kinds.steps import StepDataModule
from datamodules.pydoc import PydocDataModule
from errors import RequestError
from launcher.config.inherit import read_run, run_folder_of
from launcher.config.instantiate import build, resolve_target, signature_of
from launcher.jobs.run_folder import RunFolder
from lightning_modules.base import LanguageModule, Start
from models.adapters.lora import expert_parameters, save_adapter
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from models.layers import products
from models.weights import foreign
from models.weights.checkpoints import checkpoint_of, read_checkpoint
from models.weights.identity import MadeWith, compare
from models.weights.loading import embedding_rows, load_weights
from models.weights.passed_over import writing_in_words
from tasks.origin import Origin, origin_of
from tasks.trainer import micro_batches_per_step, resolve_accelerator
from tokenization.base import Tokenizer, load_tokenizer
from tokenization.chat import chat_template

log = logging.getLogger(__name__)


def build_offering(section: DictConfig, **offered: Any) -> Any:
    """Builds a section, injecting those of the `offered` values that its target asks for by name."""
    wanted = signature_of(resolve_target(section._target_)).parameters
    return build(section, **{name: value for name, value in offered.items() if name in wanted})


# ---- data and tokenizer ----------------------------------------------------------------------------------------------


def judged_by_messages(cfg: DictConfig) -> bool:
    """Whether a part of the reward may have a template of its own."""
    parts = (cfg.get("reward") or {}).values()
    targets = [resolve_target(part._target_) for part in parts if OmegaConf.is_dict(part) and "_target_" in part]
    return any(getattr(target, "reads_messages", False) for target in targets)


def build_data(cfg: DictConfig, run: RunFolder | None = None, *, origin: Origin | None = None) -> StepDataModule:
    """The data module with its tokenizer: the one that comes along with `init_from`, else a new one. Prepared.

    With `run`, it is told which part of each update is this rank's.
    """
    origin = origin or origin_of(cfg)
    tokenizer = build(cfg.tokenizer) if origin.tokenizer is None else load_tokenizer(origin.tokenizer)
    objective = resolve_target(cfg.objective._target_)
    data = build(cfg.data, tokenizer=objective.prepare_tokenizer(tokenizer))
    data.keep_messages = "prompts" in objective.needs and judged_by_messages(cfg)
    data.prepare()
    if run is not None:
        data.rank, data.world_size = run.rank, run.world_size
        data.pin_memory = resolve_accelerator(cfg.trainer.accelerator) == "gpu"
        data.accumulate = micro_batches_per_step(
            accumulate=cfg.trainer.accumulate,
            tokens_per_step=cfg.trainer.tokens_per_step,
            batch_tokens=cfg.data.batch_size * cfg.data.seq_len,
            world_size=run.world_size,
        )
    return data


def saved_tokenizer(cfg: DictConfig) -> Tokenizer:
    """The tokenizer of what `init_from` or model.path names.

    Raises:
        RequestError: it has none, or another one was typed.
    """
    if (folder := origin_of(cfg).tokenizer) is not None:
        return load_tokenizer(folder)
    if "name" in cfg.tokenizer:  # somebody else's, which lies with somebody else's weights
        return build(cfg.tokenizer)
    raise RequestError(
        f"init_from={cfg.init_from} has no tokenizer/ beside its checkpoints, and no tokenizer.json: is it a run "
        "folder or a Hugging Face folder?"
    )


def note_missing_bos(cfg: DictConfig, tokenizer: Tokenizer) -> None:
    """Said where plain text reaches a model of the Hub as it is; a run of ours was trained on text as it reads it."""
    if tokenizer.begins is not None and origin_of(cfg).tokenizer is None:
        print(
            f"note: {cfg.tokenizer.name} puts {tokenizer.begins} before a text, and plain text has none here, nor in "
            "training: the model may read it worse\n"
            "      than its makers' program does. In a conversation its chat template writes it."
        )


def asking_style(cfg: DictConfig) -> Any:
    """How its conversations were rendered for what `init_from` names (data.template); without any, as models of the
    Hub of its kind are asked: chat, or seq2seq for an encoder-decoder."""
    trained = cfg.data.get("template") if cfg.get("data") is not None else None
    return trained or ("seq2seq" if resolve_target(cfg.model._target_).encodes_source else "chat")


# ---- the model -------------------------------------------------------------------------------------------------------


def language_model(cfg: DictConfig, *, vocab_size: int, origin: Origin | None = None) -> LanguageModel:
    """The language model with fresh weights, drawn from `seed` alone; an ensemble where there are stages to be."""
    torch.manual_seed(cfg.seed)
    rows = max(vocab_size, (origin or origin_of(cfg)).rows)
    model = build(cfg.model, vocab_size=rows)
    if rows > vocab_size:
        model.n_ids = vocab_size
    if cfg.data.get("seq_len", 0) > model.seq_len:
        raise RequestError(
            f"data.seq_len={cfg.data.seq_len} is longer than the model's context, model.seq_len={model.seq_len}.\n"
            f"Type model.seq_len={cfg.data.seq_len}, or a shorter data.seq_len."
        )
    if model.overflows_fp16 and str(cfg.trainer.precision).startswith("16"):
        raise RequestError(
            f"trainer.precision={cfg.trainer.precision}: T5's feed-forward layers pass what 16-bit floats can hold, "
            "and the loss becomes NaN.\nType trainer.precision=bf16-mixed, or 32-true."
        )
    if cfg.get("gbft") is None:
        return model
    if cfg.get("learner") is None:
        raise RequestError("gbft=... needs something to train in each stage: type objective=gbft, or learner=lora_top.")
    return Boosted(base=model, learner=build(cfg.learner), plan=build(cfg.gbft), seed=cfg.seed)


def build_model(cfg: DictConfig, *, vocab_size: int, origin: Origin | None = None) -> LanguageModel:
    """The model as its objective needs it: a reward model has a head of its own. Weights are fresh."""
    return resolve_target(cfg.objective._target_).prepare_model(
        language_model(cfg, vocab_size=vocab_size, origin=origin)
    )


def trained_model(cfg: DictConfig, tokenizer: Tokenizer, *, writes: bool = True) -> LanguageModel:
    """The model that `init_from` or model.path names, on its device.

    `writes`: it is to make text; else it is the objective's own, with its head.
    """
    make, origin = language_model if writes else build_model, origin_of(cfg)
    model = make(cfg, vocab_size=tokenizer.vocab_size, origin=origin)
    load_start(model, cfg, origin=origin)
    if writes and cfg.init_from:
        tell_of_writing(str(cfg.init_from), tokenizer)
    if cfg.trainer.get("products") == "onednn":  # a judge or a reference beside one that is trained: as that one
        products.follow(model)
    return model.to(torch_device(cfg))


def tell_of_writing(source: str, tokenizer: Tokenizer) -> None:
    """Says what a Hugging Face folder asks for where text is written, and is not taken over."""
    folder = foreign.local_folder(source, foreign.CONFIGS + foreign.WEIGHTS)
    ends = {tokenizer.eot}
    with suppress(RequestError):  # a template of its own that is damaged is told where it is used
        ends.add(chat_template(tokenizer)[0].end)
    if folder is not None and (words := writing_in_words(folder, ends)):
        log.warning(words)


def other_model(cfg: DictConfig, source: str, *, writes: bool = False) -> tuple[LanguageModel, Tokenizer]:
    """The model of another run, frozen, and its tokenizer: a judge, a reference or, where it `writes`, a draft.

    Raises:
        RequestError: `source` is no run folder, or has no whole checkpoint.
    """
    theirs = read_run(source)[0]
    with open_dict(theirs):
        theirs.init_from, theirs.resume, theirs.trainer = str(source), None, cfg.trainer
    tokenizer = saved_tokenizer(theirs)
    return trained_model(theirs, tokenizer, writes=writes).requires_grad_(False).eval(), tokenizer


def load_start(
    model: LanguageModel,
    cfg: DictConfig,
    *,
    origin: Origin | None = None,
    tell: Literal["all", "gaps", "nothing"] = "gaps",
) -> str | Path | None:
    """The weights that `init_from` names, as `init` says; tells what went where, and returns where they lie."""
    origin = origin or origin_of(cfg)
    if not cfg.init_from:
        return origin.weights
    if "path" in cfg.model and (Path(cfg.init_from) / "config.json").is_file():
        raise RequestError(
            f"This model takes its weights from model.path: type {word(f'model.path={cfg.init_from}')}, no init_from."
        )
    check_start(cfg)
    return load_weights(
        model,
        cfg.init_from,
        strict=cfg.init.strict,
        resize_vocab=cfg.init.resize_vocab or (origin.resize and model.learns_new_ids),
        upcycle=cfg.init.upcycle,
        noise=cfg.init.upcycle_noise,
        seed=cfg.seed,
        tell=tell,
    )


def made_with(cfg: DictConfig, data: StepDataModule | None = None, tokenizer: Tokenizer | None = None) -> MadeWith:
    """What a checkpoint of this config is made with, as far as it is given."""
    tokenizer = data.tokenizer if data is not None else tokenizer
    return {
        "data": None if data is None else data.fingerprint,
        "tokenizer": None if tokenizer is None else tokenizer.fingerprint,
        "model": OmegaConf.to_container(cfg.model, resolve=True),
    }


def check_start(cfg: DictConfig, data: StepDataModule | None = None) -> None:
    """Compares the checkpoint that `init_from` names with the run that it lies in: tokenizer, model, and with `data`,
    where they are those of that run, the data.

    Raises:
        RequestError: they are not what it was made with, and allow_mismatch=true was not typed.
    """
    folder = run_folder_of(Path(cfg.init_from).expanduser())
    if folder is None or foreign.local_folder(str(cfg.init_from), foreign.CONFIGS + foreign.WEIGHTS) is not None:
        return
    saved, path = read_run(folder)[0], checkpoint_of(Path(cfg.init_from).expanduser())
    own = folder / "tokenizer"
    now = made_with(saved, tokenizer=load_tokenizer(own) if own.is_dir() else None)
    if data is not None and saved.get("data") == cfg.data:
        now["data"] = data.fingerprint
    compare(read_checkpoint(path), now, where=path, allow=bool(cfg.get("allow_mismatch")))


def needs_model(cfg: DictConfig, what: str) -> None:
    """Raises RequestError where a trained model is needed and none is named."""
    if not (cfg.init_from or "path" in cfg.model):
        listed = run_py("task=runs")
        raise RequestError(
            f"{what} needs a model: type init_from=last for the run trained last, or init_from=RUN_FOLDER; those that "
            f"there are: {listed}"
        )


def torch_device(cfg: DictConfig) -> torch.device:
    return torch.device({"gpu": "cuda", "mps": "mps", "cpu": "cpu"}[resolve_accelerator(cfg.trainer.accelerator)])


# ---- the objective ---------------------------------------------------------------------------------------------------


def build_objective(cfg: DictConfig, data: StepDataModule, model: LanguageModel, run: RunFolder) -> LanguageModule:
    """The objective, given what it asks for by name; whoever adds one, adds nothing here."""
    offered = {
        **{"model": model, "tokenizer": data.tokenizer, "data": data, "run": run, "seed": cfg.seed},
        **{"optimizer": build(cfg.optimizer), "schedule": build(cfg.schedule)},
        "token_bytes": torch.from_numpy(data.tokenizer.token_bytes()),
        "load_model": partial(other_model, cfg),
        "adapter": cfg.get("adapter"),
        **{name: cfg.trainer[name] for name in ("grad_clip", "log_every", "strategy", "max_steps", "accelerator")},
        **{name: cfg.trainer.get(name) for name in ("ema", "patience")},  # runs of before do not say them
        "compile_model": cfg.trainer.compile is True,  # auto is settled by then, where anything is trained
    }
    # what answers are worth: named parts, as callbacks are
    named = (cfg.get("reward") or {}).items()
    offered["reward"] = {
        name: build_offering(section, **{key: value for key, value in offered.items() if key not in section})
        for name, section in named
    }
    assert offered.keys() == set(LanguageModule.filled_in)  # which composition refuses as keys
    objective = build_offering(cfg.objective, **offered)
    data.updates_per_item = objective.updates_per_item
    return objective


def start_of(
    cfg: DictConfig, origin: Origin, data: StepDataModule, run: RunFolder, *, train: Callable[..., None], resumed: bool
) -> Start:
    """What the objective is told about the run's beginning. `train`: see tasks/trainer.py."""

    def reference_text(*, batch_size: int) -> Any:
        text = PydocDataModule(
            tokenizer=data.tokenizer,
            part="reference",
            cache_dir=cfg.data.get("cache_dir") or "outputs/cache",
            seq_len=cfg.data.seq_len,
            batch_size=batch_size,
            seed=cfg.seed,
        )
        text.prepare()
        return text

    def tried(module: LanguageModule, text: Any, **how: Any) -> None:
        add_adapter(cfg, copy.deepcopy(module.model))  # a wrong target is said now, not after minutes
        train(module, text, **how)

    return Start(data, run.path, origin.weights, resumed, run.rank, tried, reference_text)


def add_adapter(cfg: DictConfig, model: LanguageModel) -> None:
    """Small matrices beside frozen weights, in place."""
    if cfg.get("adapter"):
        build(cfg.adapter, model=model)


def note_frozen_experts(model: LanguageModel) -> None:
    """Adapters stand beside linear layers, and experts are none."""
    if getattr(model, "adapter", None) is not None and (frozen := expert_parameters(model)):
        print(f"adapter the {frozen:,} parameters of the experts stay as they are: adapters stand beside linear layers")


def keep_adapter(model: LanguageModel, folder: Path) -> None:
    """A small part of a checkpoint, in a folder of its own; nothing where there is none."""
    if getattr(model, "adapter", None) is not None:
        save_adapter(model, folder)


def warn_of_untrained_rows(cfg: DictConfig, data: StepDataModule) -> None:
    """Adapters leave embeddings alone: tokens that the chat template has just added would never be learned (N16)."""
    known = embedding_rows(cfg.init_from) if cfg.get("adapter") and cfg.init_from else None
    if known is not None and data.tokenizer.vocab_size > known:
        print(
            f"warning: {data.tokenizer.vocab_size - known} tokens are new to this model, and beside adapters their "
            "embeddings stay untrained: it will not learn to end an answer.\n"
            "         Tune it whole first (objective=sft without adapter=), or type data.template=plain."
        )
