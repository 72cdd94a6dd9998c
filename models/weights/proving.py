"""An export is only done when transformers, loading what was written, computes what our model computes (F31).

Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import folders
from errors import RequestError
from models.base import LanguageModel
from models.heads import RewardModel, score
from models.weights.gguf import MODEL as GGUF
from models.weights.told import told

ROWS, SHORT, LONG = 2, 64, 512  # tokens of a row: more than a window, where there is one, but not more than LONG
CLOSE = 1e-3  # share of the largest logit; both compute in fp32, so that only the order of sums differs

# share of the largest logit that halves (11 bits) and bytes (8 bits a block of 32) may cost, with room
GGUF_CLOSE = {"f32": CLOSE, "f16": 0.02, "q8_0": 0.25}


@torch.no_grad()
def prove(model: LanguageModel, folder: Path) -> float:
    """The largest difference of logits (of a reward model: scores) over random tokens.

    The weights of `model`, which lie in the folder, are given up on the way: it is on the meta device afterwards.

    Raises:
        RequestError: they differ by more than rounding, or transformers cannot load the folder.
    """
    ids_BT = random_ids(model)
    model.eval()
    try:
        ours = _ours(model, ids_BT)
        model.to("meta")  # both at once would take twice the memory
        theirs = _theirs(model, folder, ids_BT)
    except RequestError:
        raise
    except Exception as error:  # whatever transformers makes of the folder
        raise RequestError(
            f"transformers cannot run what was written: {' '.join(str(error).split())[:300]}\n{folder} was removed."
        ) from error
    difference = (ours - theirs).abs().max().item()
    if not difference <= CLOSE * max(1.0, ours.abs().max().item()):
        raise RequestError(
            f"the exported model computes something else: in transformers its "
            f"{'scores' if isinstance(model, RewardModel) else 'logits'} differ by up to {difference:.3g}.\n"
            f"{folder} was removed: a setting of this model has no counterpart there."
        )
    return difference


@torch.no_grad()
def prove_gguf(folder: Path, *, dtype: str) -> float:
    """The largest difference of logits between model.gguf and model.safetensors, both loaded by transformers.

    Raises:
        RequestError: it is more than `dtype` explains.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)  # transformers reads no context length of a GPT-2 out of a gguf
    T = min(int(config.max_position_embeddings), SHORT)
    ids_BT = torch.randint(0, config.vocab_size, (ROWS, T), generator=torch.Generator().manual_seed(0))
    found = []
    for how in ({}, {"gguf_file": GGUF}):
        with told(f"loading {how.get('gguf_file', 'model.safetensors')} to compare logits", quiet=True):
            loaded = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, **how).eval()
        found.append(loaded(ids_BT).logits)
        del loaded
    difference, largest = (found[0] - found[1]).abs().max().item(), found[0].abs().max().item()
    if not difference <= GGUF_CLOSE[dtype] * max(1.0, largest):
        raise RequestError(
            f"the gguf computes something else: logits differ by up to {difference:.3g}, of at most {largest:.3g}.\n"
            "Nothing was kept. Type export.format=hf, or another export.dtype."
        )
    return difference


@contextmanager
def whole_or_removed(folder: Path) -> Iterator[None]:
    """Takes away what was written where anything goes wrong: the folder was empty or not there before. What somebody
    has put there meanwhile stays.
    """
    try:
        yield
    except BaseException:
        with suppress(OSError):  # nothing was written, a link, or somebody else writes there
            for file in folder.iterdir():
                if file.is_file() and folders.is_ours(f"export/{file.name}", "run"):
                    file.unlink()
            folder.rmdir()
        raise


def random_ids(model: LanguageModel) -> Tensor:
    """(B, T) ids that the tokenizer has, the same each time."""
    window = getattr(model, "window", None) or 0
    T = min(model.seq_len, LONG, max(SHORT, window + 16))
    return torch.randint(0, model.n_ids or model.vocab_size, (ROWS, T), generator=torch.Generator().manual_seed(0))


def _ours(model: LanguageModel, ids_BT: Tensor) -> Tensor:
    ids_BT = ids_BT.to(next(model.parameters()).device)
    if isinstance(model, RewardModel):
        return score(model, ids_BT, torch.ones_like(ids_BT, dtype=torch.bool))[0].cpu()
    if model.encodes_source:  # one half of each row is read, the other written
        half_B = torch.full_like(ids_BT[:, 0], ids_BT.shape[1] // 2)
        logits = model(ids_BT, source_B=half_B, logits="all").logits
        assert logits is not None
        return logits[:, ids_BT.shape[1] // 2 :].float().cpu()
    logits = model(ids_BT, logits="all").logits
    assert logits is not None
    return logits.float().cpu()


def _theirs(model: LanguageModel, folder: Path, ids_BT: Tensor) -> Tensor:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    kind: Any = AutoModelForSequenceClassification if isinstance(model, RewardModel) else AutoModelForCausalLM
    kind = AutoModelForSeq2SeqLM if model.encodes_source else kind
    with told("loading the export to compare logits", quiet=True):
        loaded = kind.from_pretrained(folder, dtype=next(model.parameters()).dtype).eval()
    if model.encodes_source:
        half = ids_BT.shape[1] // 2
        return loaded(input_ids=ids_BT[:, :half], decoder_input_ids=ids_BT[:, half:]).logits.float()
    if not isinstance(model, RewardModel):
        return loaded(ids_BT).logits.float()
    # one text at a time: an id that pads would end it early
    ones = torch.ones_like(ids_BT[:1])
    loaded.config.pad_token_id = None
    return torch.cat([loaded(row[None], attention_mask=ones).logits.reshape(1) for row in ids_BT]).float()
