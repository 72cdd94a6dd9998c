"""Starting weights: from a run of ours, a Hugging Face folder or Hub id, or a nanochat checkpoint."""

import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from errors import RequestError
from models.adapters.lora import lora, merge
from models.adapters.packed import unpacked
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from models.transformer import Transformer
from models.upcycle import upcycled
from models.weights import families, foreign, nanochat
from models.weights.checkpoints import checkpoint_of, read_checkpoint
from models.weights.files import read_tensors
from models.weights.filling import EMBEDDING, fill
from models.weights.passed_over import adapter_in_words, dropout_in_words
from models.weights.renaming import to_ours

log = logging.getLogger(__name__)


def load_weights(
    model: LanguageModel,
    source: str | Path,
    *,
    strict: bool = True,
    resize_vocab: bool = False,
    upcycle: str | None = None,
    noise: float = 0.0,
    seed: int = 0,
    tell: Literal["all", "gaps", "nothing"] = "all",
) -> Path:
    """Copies weights into `model` and says what went where; returns the file or folder they came from.

    Args:
        source: a run folder, a .ckpt, a Hugging Face folder or Hub id, a nanochat checkpoint.
        strict, resize_vocab: see models.weights.filling.fill.
        tell: what is said: "gaps" only what stayed random and what was given and is not used.
        upcycle, noise, seed: a dense model becomes a mixture of experts, see models.upcycle.

    Raises:
        RequestError: it is another model, or files are missing or damaged.
    """
    path, state, left, reshaped, adapter, tied = read_source(source)
    if isinstance(model, Boosted) and "closed" in state:
        if Path(source).is_dir():  # which stages stay was decided on the dev part already
            path, state, left, reshaped, adapter, tied = read_source(Path(source) / "checkpoints" / "last.ckpt")
        state = model.accept(state)
    part = text_part(model.base if isinstance(model, Boosted) and "closed" not in state else model, state, path)
    if isinstance(model, Boosted):
        check_vocabulary(model, state, path, resize=resize_vocab)
    if upcycle is not None:
        state = upcycled_state(state, part, experts=upcycle, noise=noise, seed=seed)
    if adapter:
        lora(model=part, **adapter)
    layout = {"unexpected": left, "reshaped": reshaped, "tied": tied}
    report = fill(part, state, source=str(path), strict=strict, resize=resize_vocab, **layout)  # type: ignore[arg-type]
    if adapter:  # from here on a plain model
        merge(part)
    if isinstance(model, Boosted):
        model.base.requires_grad_(False).eval()
    unread = adapter_in_words(path)
    if tell == "all":
        more = [f"  {words}" for words in (dropout_in_words(path, model), unread) if words]
        print("\n".join([f"weights from {path}", *report.lines(), *more]))
    elif tell == "gaps" and (report.gaps() or unread):
        log.warning("\n".join(filter(None, [f"weights from {path}", *report.gaps(), unread and f"  {unread}"])))
    return path


def check_vocabulary(model: Boosted, state: dict[str, Tensor], path: Path, *, resize: bool) -> None:
    """Raises RequestError where the data has other ids than the base: it is frozen, and would never learn new ones."""
    rows = next((len(state[name]) for name in (EMBEDDING, f"base.{EMBEDDING}") if name in state), model.vocab_size)
    if rows != model.vocab_size and not resize:
        raise RequestError(
            f"{path} has a vocabulary of {rows}, this data one of {model.vocab_size}, and a frozen base learns no new "
            "ids (conversations have some of their own).\nType init_from=<a run on data of this kind>, for "
            "conversations one of objective=sft; or init.resize_vocab=true: new ids stay the mean of the old."
        )


def upcycled_state(
    state: dict[str, Tensor], model: LanguageModel, *, experts: str, noise: float, seed: int
) -> dict[str, Tensor]:
    """Raises RequestError where there is nothing to upcycle, or no way to."""
    if experts not in ("copy", "random"):
        raise RequestError(f"init.upcycle={experts}: expected copy, random or null.")
    if not isinstance(model, Transformer) or not model.experts:
        raise RequestError("init.upcycle needs a model with experts: type model=moe, with the dense model's sizes.")
    missing = [name for name in state if name.endswith("attention.qkv.weight")]
    if missing:
        raise RequestError("init.upcycle: the dense model is a GPT-2; model=moe begins with a Llama-like one.")
    return upcycled(state, model, experts=experts, noise=noise, seed=seed)  # type: ignore[arg-type]


class Source(NamedTuple):
    """Where weights lie, our state_dict, names that no rule knows or whose layout was changed, the LoRA beside them.

    `tied`: whether the head is said to be the embedding; None where nothing is said.
    """

    path: Path
    state: dict[str, Tensor]
    unexpected: list[str]
    reshaped: list[str]
    adapter: dict[str, Any] | None = None
    tied: bool | None = None


def read_source(source: str | Path) -> Source:
    if nanochat.is_checkpoint(source):
        return Source(Path(source), *nanochat.read(source))
    folder = foreign.local_folder(str(source), foreign.CONFIGS + foreign.WEIGHTS)
    if folder is not None:
        family = families.family_of(families.read_config(folder))
        return Source(folder, *to_ours(read_tensors(folder), family), tied=families.ties(folder))
    path = checkpoint_of(source)
    checkpoint = read_checkpoint(path)
    return Source(path, unpacked(own_weights(checkpoint)), [], [], checkpoint.get("adapter"))


def text_part(model: Any, state: dict[str, Tensor], path: Path) -> LanguageModel:
    """The part of `model` that `state` belongs to: of a reward model without a saved head, the model below the head.

    Raises:
        RequestError: a reward model was given as the start of a language model.
    """
    if "score_head.weight" in state and not hasattr(model, "score_head"):
        raise RequestError(
            f"{path} is a reward model or a verifier: it scores texts and does not write them.\n"
            "Type objective=reward (or verifier) to go on with it, or give the run that it was started from as "
            "init_from."
        )
    if hasattr(model, "score_head") and "score_head.weight" not in state:
        return model.backbone
    return model


def own_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The network's part of a checkpoint, by plain names: without what torch.compile puts in front."""
    state = {name.replace("_orig_mod.", ""): value for name, value in checkpoint["state_dict"].items()}
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def embedding_rows(source: str | Path) -> int | None:
    """Rows of the embedding in `source`, which may be more than its tokenizer has ids; None where nobody knows."""
    rows = foreign.vocab_size(str(source))
    if rows is not None:
        return rows
    try:
        state = own_weights(read_checkpoint(checkpoint_of(source)))
    except RequestError:
        return None  # said where the weights are loaded
    return len(state[EMBEDDING]) if EMBEDDING in state else None
