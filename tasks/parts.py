"""The parts of a run, built from its config in the order in which they need each other: data, model, weights."""

import inspect
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from errors import RequestError
from launcher.instantiate import build, resolve_target
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from tokenization.base import load_tokenizer


def build_offering(section: DictConfig, **offered: Any) -> Any:
    """Builds a section, injecting those of the `offered` values that its target asks for."""
    wanted = inspect.signature(resolve_target(section._target_)).parameters
    return build(section, **{name: value for name, value in offered.items() if name in wanted})


def build_data(cfg: DictConfig) -> Any:
    """The data module with its tokenizer: the one of `init_from`'s run if there is one, else a new one. Prepared."""
    folder = _tokenizer_folder(cfg)
    tokenizer = load_tokenizer(folder) if folder is not None else build(cfg.tokenizer)
    data = build(cfg.data, tokenizer=tokenizer)
    data.prepare()
    return data


def build_model(cfg: DictConfig, *, vocab_size: int) -> LanguageModel:
    """The model with fresh weights, drawn from `seed` alone."""
    torch.manual_seed(cfg.seed)
    model = build(cfg.model, vocab_size=vocab_size)
    if cfg.data.get("seq_len", 0) > model.seq_len:
        raise RequestError(
            f"data.seq_len={cfg.data.seq_len} is longer than the model's context, model.seq_len={model.seq_len}.\n"
            f"Type model.seq_len={cfg.data.seq_len}, or a shorter data.seq_len."
        )
    if cfg.get("gbft") is not None:
        if cfg.get("learner") is None:
            raise RequestError(
                "gbft=... needs something to train in each stage: type objective=gbft, or learner=lora_top."
            )
        return Boosted(base=model, learner=build(cfg.learner), plan=build(cfg.gbft), seed=cfg.seed)
    return model


def checkpoint_of(source: str | Path) -> Path:
    """The checkpoint meant by a run folder (best.ckpt, else last.ckpt) or a .ckpt file.

    Raises:
        RequestError: there is none.
    """
    source = Path(source)
    if source.is_file():
        return source
    for name in ("best.ckpt", "last.ckpt"):
        if (path := source / "checkpoints" / name).is_file():
            return path
    raise RequestError(
        f"no checkpoint in {source}: expected checkpoints/best.ckpt or checkpoints/last.ckpt there.\n"
        "Was the run stopped before its first checkpoint? Give another run folder or a .ckpt file."
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises RequestError if the file is no whole checkpoint, or holds anything but plain data."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise RequestError(f"no such checkpoint: {path}") from error
    except Exception as error:  # torch raises half a dozen kinds for a damaged or a foreign file
        raise RequestError(
            f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}\n"
            "It is damaged, or holds code that is refused (weights_only=True)."
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise RequestError(f"{path} is no checkpoint of this program: it has no state_dict.")
    return checkpoint


def load_weights(model: LanguageModel, source: str | Path) -> Path:
    """Copies weights from a run folder or .ckpt into `model`; returns the file they came from.

    Raises:
        RequestError: names or shapes differ: it was another model.
    """
    path = checkpoint_of(source)
    state = model_state(path)
    if isinstance(model, Boosted):
        if "closed" in state and Path(source).is_dir():  # which stages stay was decided on the dev part already
            path = Path(source) / "checkpoints" / "last.ckpt"
            state = model_state(path)
        state = model.accept(state)
    own = model.state_dict()
    problems = [f"  {name}: only in the checkpoint" for name in state if name not in own]
    problems += [f"  {name}: only in the model" for name in own if name not in state]
    problems += [
        f"  {name}: {tuple(state[name].shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        shown = "\n".join(problems[:8]) + ("\n  ..." if len(problems) > 8 else "")
        raise RequestError(
            f"{path} is a checkpoint of another model ({len(problems)} parameters differ):\n{shown}\n"
            "Leave model=... and tokenizer=... out, and they are taken from that run."
        )
    model.load_state_dict(state)
    return path


def model_state(path: Path) -> dict[str, torch.Tensor]:
    """The model's own weights in a checkpoint, by their names in the model."""
    state = {_plain(name): value for name, value in read_checkpoint(path)["state_dict"].items()}
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def data_facts(data: Any) -> dict[str, str]:
    """What the data holds and how far validation repeats training, in words."""
    facts = data.describe()
    words = {
        part: f"{facts[part]['tokens']:,} tokens of {facts[part]['documents']:,} document(s)"
        for part in ("train", "val")
    }
    if overlap := facts.get("overlap"):
        words["overlap"] = (
            f"{overlap['duplicate_documents']:,} documents in both, "
            f"{overlap['val_line_share']:.2%} of long validation lines occur in training"
        )
    return words


def _plain(name: str) -> str:
    """Parameter name without what torch.compile puts in front."""
    return name.replace("_orig_mod.", "")


def _tokenizer_folder(cfg: DictConfig) -> Path | None:
    """`tokenizer/` of the run that `init_from` or `resume` names."""
    source = cfg.get("resume") or cfg.get("init_from")
    if source is None:
        return None
    source = Path(source)
    run = source.parent.parent if source.is_file() else source
    return run / "tokenizer" if (run / "tokenizer").is_dir() else None


def saved_tokenizer(cfg: DictConfig) -> Any:
    """The tokenizer of `init_from`'s run. Raises RequestError if the folder has none."""
    folder = _tokenizer_folder(cfg)
    if folder is None:
        raise RequestError(f"init_from={cfg.init_from} has no tokenizer/ beside its checkpoints: is it a run folder?")
    return load_tokenizer(folder)
