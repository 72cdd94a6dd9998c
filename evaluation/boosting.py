"""What the stages of an ensemble do: by stage, by kind of token, in context. Arrays in, plain tables out.

`measure` walks over the validation side once and keeps, for each target, its loss under every prefix F_0 .. F_M and how
far each stage moves the hidden states. Everything else is counted from these arrays.

Shapes: n targets, S = M + 1 prefixes, M stages, B rows, T tokens, C channels.
"""

import math
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from batch import IGNORE
from evaluation.intervals import ratio_interval
from evaluation.metrics import calibration_error
from models.boosting.ensemble import Boosted
from models.boosting.objectives import logits_of

CHUNK = 1024  # tokens whose logits are held at a time


@dataclass(frozen=True)
class Measured:
    """One entry per target that counts, in the order of the text."""

    nll_Sn: np.ndarray  # nats under each prefix
    right_Sn: np.ndarray  # whether the likeliest token is the target
    confidence_Sn: np.ndarray  # its probability
    norm_Mn: np.ndarray  # ||eta_m Delta_m|| in hidden space
    residual_Sn: np.ndarray  # ||onehot - softmax||
    cosine_MM: np.ndarray  # mean cosine between the corrections of two stages
    target_n: np.ndarray  # ids
    previous_n: np.ndarray  # the id before it
    row_n: np.ndarray  # window
    position_n: np.ndarray  # place in the window
    document_n: np.ndarray  # index, 0 where there is one

    @property
    def stages(self) -> int:
        return len(self.norm_Mn)


@torch.no_grad()
def measure(model: Boosted, batches: Iterable[dict[str, Tensor]], *, max_tokens: int) -> Measured:
    """Walks over `batches` until about `max_tokens` targets are seen."""
    M = model.stages_in_use
    parts: list[dict[str, np.ndarray]] = []
    cosine, seen, first_row = np.zeros((M, M)), 0, 0
    model.eval()
    for batch in batches:
        if seen >= max_tokens:
            break
        part, similar = _one_batch(model, batch, M)
        part["row"] = part["row"] + first_row
        first_row += len(batch["ids"])
        n = part["target"].shape[0]
        cosine, seen = cosine + similar * n, seen + n
        parts.append(part)
    joined = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
    names = {name: f"{name}_Sn" for name in ("nll", "right", "residual", "confidence")} | {"norm": "norm_Mn"}
    return Measured(
        cosine_MM=cosine / max(1, seen), **{names.get(name, f"{name}_n"): value for name, value in joined.items()}
    )


def _one_batch(model: Boosted, batch: dict[str, Tensor], M: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    device, weight = model.head.weight.device, model.head.weight
    ids, targets = batch["ids"].to(device), batch["targets"].to(device)
    documents = batch["documents"].to(device) if "documents" in batch else None
    states = model.prefixes(ids, list(range(M + 1)), documents_BT=documents)
    counted = targets != IGNORE
    flat, y = [state[counted].float() for state in states], targets[counted]
    deltas = [after - before for before, after in pairwise(flat)]
    scored = [_score(model, state, weight, y) for state in flat]
    rows, places = counted.nonzero(as_tuple=True)
    index = batch.get("document_index")
    part: dict[str, Tensor] = {
        "nll": torch.stack([s[0] for s in scored]),
        "right": torch.stack([s[1] for s in scored]),
        "residual": torch.stack([s[2] for s in scored]),
        "confidence": torch.stack([s[3] for s in scored]),
        "norm": torch.stack([d.norm(dim=1) for d in deltas]) if deltas else torch.zeros(0, len(y)),
        "target": y,
        "previous": ids[counted],
        "row": rows,
        "position": places,
        "document": torch.zeros_like(y) if index is None else index.to(device)[counted],
    }
    return {name: value.cpu().numpy() for name, value in part.items()}, _cosines(deltas)


def _score(model: Boosted, state_nC: Tensor, weight: Tensor, y_n: Tensor) -> tuple[Tensor, ...]:
    """(n,) each: nats, whether the likeliest token is right, norm of the residual, probability of the likeliest."""
    parts = []
    for rows in torch.arange(len(y_n), device=y_n.device).split(CHUNK):
        logp = logits_of(state_nC[rows], weight, model.softcap).log_softmax(-1)
        own = logp.gather(1, y_n[rows, None]).squeeze(1)
        square = 1 - 2 * own.exp() + logp.exp().square().sum(1)
        best, likeliest = logp.max(1)
        parts.append((-own, likeliest == y_n[rows], square.clamp_min(0).sqrt(), best.exp()))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _cosines(deltas: list[Tensor]) -> np.ndarray:
    unit = [d / d.norm(dim=1, keepdim=True).clamp_min(1e-12) for d in deltas]
    return np.array([[float((a * b).sum(1).mean()) for b in unit] for a in unit]).reshape(len(deltas), len(deltas))


# ---- tables ----------------------------------------------------------------------------------------------------------


def by_stage(found: Measured, token_bytes: np.ndarray, *, seed: int = 0) -> list[dict[str, Any]]:
    """Loss, bits per byte and accuracy of each prefix, each with its 95 % interval over windows; what is left to do."""
    _, at = np.unique(found.row_n, return_inverse=True)
    size = np.bincount(at).astype(float)
    text_bytes = token_bytes[found.target_n]
    bytes_per = np.bincount(at, text_bytes)
    table = []
    for k, (nll, right) in enumerate(zip(found.nll_Sn, found.right_Sn, strict=True)):
        row: dict[str, Any] = {"stage": k, "residual": float(found.residual_Sn[k].mean())}
        row["loss"] = ratio_interval(np.bincount(at, nll), size, seed=seed)
        row["accuracy"] = ratio_interval(np.bincount(at, right), size, seed=seed)
        sure = found.confidence_Sn[k]
        row["overconfidence"] = ratio_interval(np.bincount(at, sure - right), size, seed=seed)
        row["ece"] = calibration_error(sure, right)
        if bytes_per.sum() > 0:
            nats = np.bincount(at, nll * (text_bytes > 0)) / math.log(2)
            row["bpb"] = ratio_interval(nats, bytes_per, seed=seed)
        if k > 0:
            gained = np.bincount(at, found.nll_Sn[k - 1] - nll)
            row["gain"] = ratio_interval(gained, size, seed=seed)  # paired: the same windows before and after
            row["norm"] = float(found.norm_Mn[k - 1].mean())
        table.append(row)
    return table


def by_category(found: Measured, decode: Callable[[int], str]) -> list[dict[str, Any]]:
    """For each kind of target: how many, loss before, and what each stage takes off it, in nats per target."""
    table = []
    for family, names in categories(found, decode).items():
        for name in dict.fromkeys(names.tolist()):
            chosen = names == name
            losses = found.nll_Sn[:, chosen].mean(1)
            table.append(
                {
                    "family": family,
                    "name": str(name),
                    "targets": int(chosen.sum()),
                    "before": float(losses[0]),
                    "after": float(losses[-1]),
                    "gains": (losses[:-1] - losses[1:]).tolist(),
                    "norms": found.norm_Mn[:, chosen].mean(1).tolist(),
                }
            )
    return table


def categories(found: Measured, decode: Callable[[int], str]) -> dict[str, np.ndarray]:
    """The category of each target in each family, (n,) of names."""
    texts = {int(i): decode(int(i)) for i in np.unique(np.concatenate([found.target_n, found.previous_n]))}
    kinds = {i: kind_of(text) for i, text in texts.items()}
    starts = [
        word_part(texts[p], texts[t]) for p, t in zip(found.previous_n.tolist(), found.target_n.tolist(), strict=True)
    ]
    quarter = (4 * found.position_n) // (int(found.position_n.max(initial=0)) + 1)
    families = {
        "frequency": frequency_bands(found.target_n),
        "kind": np.array([kinds[i] for i in found.target_n.tolist()]),
        "part of word": np.array(starts),
        "position": np.array([f"quarter {q + 1} of the window" for q in quarter.tolist()]),
        "before": np.where(found.right_Sn[0], "right", "wrong"),
    }
    if len(np.unique(found.document_n)) > 1:
        largest = {int(d) for d in np.argsort(-np.bincount(found.document_n.clip(0)))[:8]}
        families["document"] = np.array(
            [f"document {d}" if d in largest else "other documents" for d in found.document_n.tolist()]
        )
    return families


def frequency_bands(ids_n: np.ndarray) -> np.ndarray:
    """Bands of about equal mass: the most frequent ids that make up the first fifth of the targets, and so on."""
    counts = np.bincount(ids_n)
    order = np.argsort(-counts, kind="stable")
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]]) / max(1, len(ids_n))
    band = np.zeros(len(counts), dtype=np.int64)
    band[order] = np.minimum(4, (5 * before).astype(np.int64))
    names = np.array(["1 most frequent", "2 frequent", "3 middling", "4 rare", "5 rarest"])
    return names[band[ids_n]]


def kind_of(text: str) -> str:
    bare = text.strip()
    if not bare:
        return "white space"
    if bare.isdigit():
        return "digits"
    if all(c in string.punctuation for c in bare):
        return "punctuation"
    if bare.isalpha():
        return "capitals" if bare[0].isupper() else "letters"
    return "other"


def word_part(previous: str, text: str) -> str:
    """Where a token stands: it starts a word, goes on with one, or is none."""
    if not text.strip() or not text.strip()[0].isalnum():
        return "no word"
    return "inside a word" if text[0].isalnum() and previous[-1:].isalnum() else "start of a word"


def examples(found: Measured, m: int, *, n: int = 10, by: str = "norm") -> list[int]:
    """Targets with the largest corrections of stage m: by norm, or by change of loss (helped most, harmed most)."""
    gain = found.nll_Sn[m] - found.nll_Sn[m + 1]
    score = {"norm": found.norm_Mn[m], "helped": gain, "harmed": -gain}[by]
    return np.argsort(-score, kind="stable")[:n].tolist()


def in_context(found: Measured, at: int, decode: Callable[[list[int]], str], *, width: int = 40) -> tuple[str, str]:
    """(text before the target in its window, the target itself)."""
    row = np.flatnonzero(found.row_n == found.row_n[at])
    before = found.previous_n[row[(row <= at)]][-width:]
    return decode(before.tolist()), decode([int(found.target_n[at])])
