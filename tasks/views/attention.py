"""inspect.view=attention: what each head of each layer looks at over a text, on one page in the run folder."""

from __future__ import annotations

import json

import torch
from omegaconf import DictConfig
from torch import Tensor

from errors import RequestError
from evaluation.attention import Head, heads_of, quantised
from inspection.maps import Maps
from inspection.page import Page, facts, table
from launcher.jobs.run_folder import RunFolder
from tasks.views._subject import Subject, facts_of, labels, load

MAX_MAPS, MAX_NUMBERS = 400, 6_000_000  # on one page: its size is a third more than the numbers


@torch.no_grad()
def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints what the heads do and writes attention.html and attention.json.

    Raises:
        RequestError: no model, or more maps than a page can hold.
    """
    subject = load(cfg, "attention")
    weights = subject.model.attention_weights(subject.ids_1T)
    n_maps, T = sum(w.shape[1] for w in weights), weights[0].shape[-1]
    if n_maps * T * T > MAX_NUMBERS or n_maps > MAX_MAPS:
        most = int((MAX_NUMBERS / n_maps) ** 0.5)
        raise RequestError(
            f"{n_maps} heads over {T} tokens are more than a page can hold ({MAX_MAPS} heads, {MAX_NUMBERS:,} numbers)."
            f"\nType inspect.tokens={most} or fewer."
        )
    heads = heads_of(weights, n_sink=subject.model.n_sink)
    page = make_page(cfg, subject, weights, heads)
    page.write(run.path / "attention.html")
    (run.path / "attention.json").write_text(json.dumps([h._asdict() for h in heads], indent=1) + "\n")
    named = [f"  layer {h.layer} head {h.head} looks mostly at {h.habit}" for h in heads if h.habit]
    print("\n".join([f"\n{len(weights)} layers, {n_maps} heads, {len(subject.ids)} tokens of {subject.where}", *named]))
    print(f"page: {run.path / 'attention.html'}")


def make_page(cfg: DictConfig, subject: Subject, weights: list[Tensor], heads: list[Head]) -> Page:
    page = Page(
        title="Attention",
        about="Rows look at columns: darker is more. Click a head to see it large; point at a token to see where.",
    )
    pairs = {"run": cfg.init_from or cfg.model.path} | facts_of(subject)
    page.add("At a glance", facts(pairs))
    names = [f"<sink {i + 1}>" for i in range(subject.model.n_sink)] + labels(subject.tokenizer, subject.ids)
    maps = Maps(names, verb="looks at")
    for layer, weights_BHTT in enumerate(weights):
        for head, weights_TT in enumerate(weights_BHTT[0]):
            maps.add(f"layer {layer}", f"layer {layer}, head {head}", quantised(weights_TT))
    page.add_maps("Heads", maps, note="Shades go with the square root of the weight, so that small weights show.")
    columns = ["layer", "head", "first token", "itself", "token before", "tokens back", "spread over", "mostly"]
    rows = [
        (str(h.layer), str(h.head), *(round(x, 3) for x in h[2:5]), round(h.distance, 1), round(h.spread, 1), h.habit)
        for h in heads
    ]
    page.add(
        "What heads do",
        table(columns, rows),
        "Means over the tokens from the second on: shares of attention, how far back it goes, and over how many tokens"
        " it would be spread if it were even (e to the entropy).",
    )
    return page
