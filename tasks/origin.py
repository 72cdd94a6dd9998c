"""Where a run's weights and tokenizer come from: resolved once, from init_from, resume, model.path and tokenizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from errors import RequestError
from launcher.config.inherit import read_run
from models.weights import nanochat
from models.weights.loading import embedding_rows


@dataclass(frozen=True)
class Origin:
    """`weights`: what init_from names, or model.path where that brings them; None: they are random.

    `tokenizer`: the folder of a tokenizer that comes along; None: it is built from its section.
    `rows`: of the embedding that is continued, which may be more than its tokenizer has ids; 0: as many as ids.
    `resize`: the embedding may get another number of rows.
    """

    weights: str | None
    tokenizer: Path | None
    rows: int
    resize: bool


def origin_of(cfg: DictConfig) -> Origin:
    """Raises RequestError where another tokenizer was typed than the run's own, without leave to resize."""
    # the run's own folder where it is resumed, and what it started from: it may have been stopped before it kept any
    sources = [str(cfg[key]) for key in ("resume", "init_from") if cfg.get(key) is not None]
    tokenizer = _tokenizer_of(cfg, sources)
    names = {*sources, *(str(nanochat.tokenizer_file(source)) for source in sources)}
    comes_along = bool(sources) and (tokenizer is not None or cfg.tokenizer.get("name") in names)
    keeps = comes_along and not cfg.init.resize_vocab
    rows = next((n for source in sources if (n := embedding_rows(source))), 0) if keeps else 0
    weights = cfg.init_from or (cfg.model.get("path") if cfg.model.get("pretrained") else None)
    # a tokenizer that came along may have got further specials (chat): its ids are the same and the new ones follow
    return Origin(weights, tokenizer, rows, resize=bool(cfg.init.resize_vocab or comes_along))


def _tokenizer_of(cfg: DictConfig, sources: list[str]) -> Path | None:
    for source in sources:
        run = _run_of(Path(source).expanduser())
        if not (run / "tokenizer").is_dir() or nanochat.is_checkpoint(source):  # there it holds a pickle
            continue
        own = _saved_section(run)
        asked = OmegaConf.to_container(cfg.tokenizer)
        if source == cfg.get("resume") or own is None or own == asked:
            return run / "tokenizer"
        if cfg.init.resize_vocab:
            return None
        raise RequestError(
            f"init_from={source} brings its own tokenizer ({_kind(own)}), and another one was asked for "
            f"({_kind(asked)}), whose ids mean something else.\n"
            "Leave tokenizer=... out, or type init.resize_vocab=true: ids that both have keep their rows."
        )
    return None


def _run_of(path: Path) -> Path:
    """The folder that keeps the tokenizer of a run or checkpoint: of what a run learned first (start/), the run's."""
    run = path.parent.parent if path.is_file() else path
    inside = not (run / "tokenizer").is_dir() and (run.parent / ".hydra" / "config.yaml").is_file()
    return run.parent if inside else run


def _saved_section(run: Path) -> Any:
    if not (run / ".hydra" / "config.yaml").is_file():
        return None
    saved = read_run(run)[0].get("tokenizer")
    return None if saved is None else OmegaConf.to_container(saved)


def _kind(section: Any) -> str:
    """ "bpe, vocab_size 512": what a tokenizer's section says of it in short."""
    words = [str(section["_target_"]).split(".")[-2]]
    return ", ".join(words + [f"{key} {section[key]}" for key in ("vocab_size", "name") if section.get(key)])
