"""inspect.view=positions: how alike a model's positions are: learned vectors, or what rotating makes of a distance."""

from __future__ import annotations

import json
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from errors import RequestError
from evaluation.attention import by_distance, cosines
from inspection.charts import line
from inspection.maps import Maps
from inspection.page import Page, facts
from launcher.jobs.run_folder import RunFolder
from tasks.hardware.choice import given_back
from tasks.views._subject import load_model

READS = ()  # of the keys of `inspect`

SIDE = 256  # places of the map at most; a longer context is thinned out
LEARNED = ("position", "wpe", "embed_positions", "position_embeddings")  # ours, GPT-2's, OPT's, BERT's


@torch.no_grad()
@given_back()
def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints the similarity of neighbours and of far ones, and writes positions.html and positions.json.

    Raises:
        RequestError: no model, or one that has no positions to look at.
    """
    model, _ = load_model(cfg, "positions")
    page = Page(title="Positions", about="How alike the positions of a model are.")
    vectors_TC = learned(model)
    if vectors_TC is not None:
        decay_T = add_learned(page, cfg, vectors_TC)
        kind = "learned vectors"
    else:
        turned_T = rotary(model)
        if turned_T is None:
            raise RequestError(
                f"{type(model).__name__} here has neither learned nor rotary positions: there is nothing to compare.\n"
                "inspect.view=attention shows how far each head looks."
            )
        decay_T = turned_T
        add_rotary(page, cfg, decay_T)
        kind = "rotary"
    page.write(run.path / "positions.html")
    values = decay_T.tolist()
    (run.path / "positions.json").write_text(json.dumps({"kind": kind, "by_distance": values}, indent=1) + "\n")
    shown = [d for d in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if d < len(values)]
    print(f"\n{kind}, {len(values):,} positions; similarity by how far they are apart:")
    print("  " + "   ".join(f"{d}: {values[d]:.3f}" for d in shown))
    print(f"page: {run.path / 'positions.html'}")


def learned(model: nn.Module) -> Tensor | None:
    """(T, C) the embedding of positions, if there is one."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in LEARNED:
            return module.weight.detach().float().cpu()
    return None


def rotary(model: Any) -> Tensor | None:
    """(T,) what is left of the product of a query with an equal key, by distance, if all channels are alike.

    Rotations turn the product of each pair of channels by its angle: mean over pairs of cos(m theta_i), see RoFormer,
    2104.09864, section 3.4.3.
    """
    for module in model.modules():
        if hasattr(module, "cos_TD") and hasattr(module, "sin_TD"):  # ours
            cos_TD, sin_TD = module.cos_TD.float().cpu(), module.sin_TD.float().cpu()
            product_T = (cos_TD * cos_TD[:1] + sin_TD * sin_TD[:1]).mean(-1)
            return product_T / product_T[0]
        if isinstance(getattr(module, "inv_freq", None), Tensor):  # transformers'
            angles = torch.outer(torch.arange(model.seq_len).float(), module.inv_freq.float().cpu())
            return angles.cos().mean(-1)
    return None


def add_learned(page: Page, cfg: DictConfig, vectors_TC: Tensor) -> Tensor:
    """Adds map and curves; returns the mean cosine by distance."""
    T, C = vectors_TC.shape
    similarity_TT = cosines(vectors_TC)
    decay_T, norms_T = by_distance(similarity_TT), vectors_TC.norm(dim=-1)
    pairs: dict[str, object] = {
        "run": cfg.init_from or cfg.model.path,
        "positions": f"{T:,} learned vectors of {C:,} channels",
        "neighbours": f"cosine {decay_T[1]:.3f} on average" if T > 1 else "none",
    }
    page.add("At a glance", facts(pairs))
    step = -(-T // SIDE)
    at = range(0, T, step)
    thin_TT = similarity_TT[::step, ::step]
    maps = Maps([f"{i} " for i in at], verb="and", signed=True)
    data = ((thin_TT + 1) * 127.5).round().to(torch.uint8).numpy().tobytes()
    maps.add("cosine of every two positions", "cosine of every two positions", data)
    note = "Blue: alike, orange: opposite, blank: unrelated." + (f" Every {step}th position." if step > 1 else "")
    page.add_maps("Every position against every other", maps, note=note)
    add_decay(page, decay_T, y="similarity (cosine)")
    points = list(enumerate(norms_T.tolist()))
    page.add(
        "How long the vectors are",
        line({"length": points}, x="position", y="length (norm of the vector)"),
        "Positions that were rarely trained stay short, or odd.",
    )
    return decay_T


def add_rotary(page: Page, cfg: DictConfig, decay_T: Tensor) -> None:
    page.add(
        "At a glance",
        facts({"run": cfg.init_from or cfg.model.path, "positions": f"{len(decay_T):,}, rotary: nothing is learned"}),
    )
    add_decay(
        page,
        decay_T,
        y="similarity (share of the product at distance 0)",
        note="Rotary positions turn queries and keys; a head can undo it with the channels it uses. Drawn is the"
        " product of a query with an equal key, all channels alike: what the rotation alone prefers.",
    )


def add_decay(page: Page, decay_T: Tensor, *, y: str, note: str = "") -> None:
    points = list(enumerate(decay_T.tolist()))
    page.add("By distance", line({"similarity": points}, x="distance (positions apart)", y=y), note)
