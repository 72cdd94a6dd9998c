"""The parts of a run, built from its config in the order in which they need each other: data, model, weights."""

import inspect
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from errors import RequestError
from launcher.config.inherit import read_run
from launcher.config.instantiate import build, resolve_target
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from tasks.checkpoints import checkpoint_of, read_checkpoint
from tasks.weights import embedding_rows, load_weights
from tokenization.base import load_tokenizer

__all__ = ["checkpoint_of", "load_weights", "read_checkpoint"]  # used as parts.load_weights


def build_offering(section: DictConfig, **offered: Any) -> Any:
    """Builds a section, injecting those of the `offered` values that its target asks for."""
    wanted = inspect.signature(resolve_target(section._target_)).parameters
    return build(section, **{name: value for name, value in offered.items() if name in wanted})


def build_data(cfg: DictConfig) -> Any:
    """The data module with its tokenizer: the one of `init_from`'s run if there is one, else a new one. Prepared."""
    folder = _tokenizer_folder(cfg)
    if folder is not None and _another_tokenizer(cfg, folder.parent):
        folder = None
    tokenizer = load_tokenizer(folder) if folder is not None else build(cfg.tokenizer)
    data = build(cfg.data, tokenizer=tokenizer)
    data.prepare()
    return data


def build_model(cfg: DictConfig, *, vocab_size: int) -> LanguageModel:
    """The model with fresh weights, drawn from `seed` alone."""
    torch.manual_seed(cfg.seed)
    rows = max(vocab_size, _rows_of_source(cfg))
    model = build(cfg.model, vocab_size=rows)
    if rows > vocab_size:
        model.n_ids = vocab_size
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


def prepared_model(cfg: DictConfig, *, vocab_size: int) -> LanguageModel:
    """The model as its objective needs it: a reward model has a head of its own."""
    return resolve_target(cfg.objective._target_).prepare_model(build_model(cfg, vocab_size=vocab_size))


def load_start(model: LanguageModel, cfg: DictConfig, *, quiet: bool = True) -> Path:
    """The weights that `init_from` names, as `init` says; tells what went where, and returns where they lie."""
    if "path" in cfg.model and (Path(cfg.init_from) / "config.json").is_file():
        raise RequestError(
            f"model=hf takes its weights from model.path: type model.path={cfg.init_from}, no init_from."
        )
    # a tokenizer that came along may have got further specials (chat): its ids are the same and the new ones follow
    resize = cfg.init.resize_vocab or (_comes_along(cfg) and not isinstance(model, Boosted))
    return load_weights(
        model,
        cfg.init_from,
        strict=cfg.init.strict,
        resize_vocab=resize,
        upcycle=cfg.init.upcycle,
        noise=cfg.init.upcycle_noise,
        seed=cfg.seed,
        quiet=quiet,
    )


def data_facts(data: Any) -> dict[str, str]:
    """What the data holds and how far validation repeats training, in words."""
    if hasattr(data, "facts"):
        return data.facts()
    facts = data.describe()
    words = {
        part: f"{facts[part]['tokens']:,} tokens of {facts[part]['documents']:,} document(s)"
        for part in ("train", "val")
    }
    if stream := facts.get("stream"):
        words["train"] = f"{stream}, as it comes; {words['train']} were looked at first"
    if overlap := facts.get("overlap"):
        words["overlap"] = (
            f"{overlap['duplicate_documents']:,} documents in both, {overlap['near_duplicate_documents']:,} nearly; "
            f"{overlap['val_share']:.2%} of validation's text occurs in training"
        )
    if sources := facts.get("sources"):
        words["sources"] = ", ".join(f"{name} {s['share']:.1%} ({s['tokens']:,} tokens)" for name, s in sources.items())
    if packing := facts.get("packing"):
        words["packing"] = (
            f"{packing['rows']:,} rows, {packing['padding_share']:.2%} of them padding; "
            f"{packing['lost_share']:.2%} of tokens lost, {packing['cut_documents_share']:.2%} of documents cut"
        )
    return words


def _sources(cfg: DictConfig) -> list[str]:
    """Where a run has weights and a tokenizer from: its own folder where it is resumed, else what it starts from.

    Both, because a resumed run may have been stopped before it kept anything, or keep nothing (task=evaluate).
    """
    return [source for key in ("resume", "init_from") if (source := cfg.get(key)) is not None]


def _tokenizer_folder(cfg: DictConfig) -> Path | None:
    """`tokenizer/` of the run that `resume` or `init_from` names, unless another tokenizer was chosen."""
    for source in _sources(cfg):
        path = Path(source)
        run = path.parent.parent if path.is_file() else path
        if (run / "tokenizer").is_dir():
            return run / "tokenizer" if source == cfg.get("resume") or not _chosen_anew(cfg, run) else None
    return None


def _chosen_anew(cfg: DictConfig, run: Path) -> bool:
    """A tokenizer was typed that is not the one of `run`, whose section would otherwise stand in the config."""
    if not (run / ".hydra" / "config.yaml").is_file():
        return False
    saved = read_run(run)[0].get("tokenizer")
    return saved is not None and OmegaConf.to_container(cfg.tokenizer) != OmegaConf.to_container(saved)


def _another_tokenizer(cfg: DictConfig, run: Path) -> bool:
    """Whether a tokenizer was asked for that is not the run's own.

    Raises:
        RequestError: it was, without leave to resize: its ids mean something else.
    """
    if not (run / ".hydra" / "config.yaml").is_file():
        return False
    own, asked = (OmegaConf.to_container(c.tokenizer, resolve=False) for c in (read_run(run)[0], cfg))
    if own == asked:
        return False
    if not cfg.init.resize_vocab:
        raise RequestError(
            f"init_from={cfg.init_from} has a tokenizer of its own ({_kind(own)}), and another one was asked for "
            f"({_kind(asked)}), whose ids mean something else.\n"
            "Leave tokenizer=... out, or type init.resize_vocab=true: ids that both have keep their rows."
        )
    return True


def _kind(section: Any) -> str:
    """ "bpe, vocab_size 512": what a tokenizer's section says of it in short."""
    words = [str(section["_target_"]).split(".")[-2]]
    return ", ".join(words + [f"{key} {section[key]}" for key in ("vocab_size", "name") if section.get(key)])


def _comes_along(cfg: DictConfig) -> bool:
    """The tokenizer is that of the model which is continued."""
    sources = _sources(cfg)
    return bool(sources) and (_tokenizer_folder(cfg) is not None or cfg.tokenizer.get("name") in sources)


def _rows_of_source(cfg: DictConfig) -> int:
    """Rows of the embedding that is continued, which may be more than its tokenizer has ids; 0 where it is not."""
    if cfg.init.resize_vocab or not _comes_along(cfg):
        return 0
    return next((rows for source in _sources(cfg) if (rows := embedding_rows(source))), 0)


def saved_tokenizer(cfg: DictConfig) -> Any:
    """The tokenizer of what `init_from` or model.path names.

    Raises:
        RequestError: it has none, or another one was typed.
    """
    folder = _tokenizer_folder(cfg)
    if folder is None and cfg.init_from and (Path(cfg.init_from) / "tokenizer").is_dir():
        raise RequestError(f"init_from={cfg.init_from} brings its own tokenizer: leave tokenizer... out.")
    if folder is not None:
        return load_tokenizer(folder)
    if "name" in cfg.tokenizer:  # somebody else's, which lies with somebody else's weights
        return build(cfg.tokenizer)
    raise RequestError(
        f"init_from={cfg.init_from} has no tokenizer/ beside its checkpoints, and no tokenizer.json: is it a run "
        "folder or a Hugging Face folder?"
    )
