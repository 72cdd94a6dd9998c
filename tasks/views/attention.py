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
from tasks.hardware.choice import given_back
from tasks.views._subject import Subject, facts_of, labels, load

READS = ("text", "tokens")  # of the keys of `inspect`

MAX_MAPS, MAX_NUMBERS = 400, 6_000_000  # on one page: its size is a third more than the numbers


@torch.no_grad()
@given_back()
def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints what the heads do and writes attention.html and attention.json.

    Raises:
        RequestError: no model, or more maps than a page can hold.
    """
    subject = load(cfg, "attention")
    more = {"source_B": torch.tensor([subject.source])} if subject.source else {}
    weights = subject.model.attention_weights(subject.ids_1T, **more)
    n_maps, T = sum(w.shape[1] for w in weights), weights[0].shape[-1]
    if n_maps * T * T > MAX_NUMBERS or n_maps > MAX_MAPS:
        most = int((MAX_NUMBERS / n_maps) ** 0.5)
        raise RequestError(
            f"{n_maps} heads over {T} tokens are more than a page can hold ({MAX_MAPS} heads, {MAX_NUMBERS:,} numbers)."
            f"\nType inspect.tokens={most} or fewer."
        )
    heads = looking(weights, subject)
    page = make_page(cfg, subject, weights, heads)
    page.write(run.path / "attention.html")
    (run.path / "attention.json").write_text(json.dumps([h._asdict() for h in heads], indent=1) + "\n")
    names = layer_names(subject, len(weights))
    named = [f"  {names[h.layer]} head {h.head} looks mostly at {h.habit}" for h in heads if h.habit]
    print("\n".join([f"\n{len(weights)} layers, {n_maps} heads, {len(subject.ids)} tokens of {subject.where}", *named]))
    print(f"page: {run.path / 'attention.html'}")


def layer_names(subject: Subject, n: int) -> list[str]:
    """Of an encoder-decoder which side, and whether answers look at each other or at the source."""
    return subject.model.attention_names or [f"layer {i}" for i in range(n)]


def looking(weights: list[Tensor], subject: Subject) -> list[Head]:
    """What each head does; `layer` counts the weights. Of an encoder-decoder, each side by itself; how answers look at
    the source is left to the maps, since no token there is itself."""
    if not subject.source:
        return heads_of(weights, n_sink=subject.model.n_sink)
    found: list[Head] = []
    for at, (name, weights_1HTT) in enumerate(zip(layer_names(subject, len(weights)), weights, strict=True)):
        side = slice(0, subject.source) if name.startswith("encoder") else slice(subject.source, None)
        if not name.endswith("source") and weights_1HTT[:, :, side, side].shape[-1] > 1:
            found += [head._replace(layer=at) for head in heads_of([weights_1HTT[:, :, side, side]])]
    return found


def make_page(cfg: DictConfig, subject: Subject, weights: list[Tensor], heads: list[Head]) -> Page:
    page = Page(
        title="Attention",
        about="Rows look at columns: the stronger, the more. Click a head to see it large, point at a token.",
    )
    pairs = {"run": cfg.init_from or cfg.model.path} | facts_of(subject)
    page.add("At a glance", facts(pairs))
    names = [f"<sink {i + 1}>" for i in range(subject.model.n_sink)] + labels(subject.tokenizer, subject.ids)
    maps = Maps(names, verb="looks at", rows="token that looks", columns="token it looks at")
    for name, weights_BHTT in zip(layer_names(subject, len(weights)), weights, strict=True):
        for head, weights_TT in enumerate(weights_BHTT[0]):
            maps.add(name, f"{name}, head {head}", quantised(weights_TT))
    page.add_maps("Heads", maps, note="Shades go with the square root of the weight, so that small weights show.")
    columns = ["layer", "head", "first token", "itself", "token before", "tokens back", "spread over", "mostly"]
    rows = [
        (
            layer_names(subject, len(weights))[h.layer].removeprefix("layer "),
            str(h.head),
            *h[2:5],
            h.distance,
            h.spread,
            h.habit,
        )
        for h in heads
    ]
    page.add(
        "What heads do",
        table(columns, rows),
        "Means over the tokens from the second on: shares of attention, how far back it goes, and over how many tokens"
        " it would be spread if it were even (e to the entropy).",
    )
    return page
