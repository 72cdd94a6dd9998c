"""inspect.view=routing: which tokens go to which expert in each layer, on one page in the run folder."""

from __future__ import annotations

import json
from typing import Any

import torch
from markupsafe import Markup
from omegaconf import DictConfig
from torch import Tensor

from errors import RequestError
from evaluation.routing import CLASSES, Usage, chosen, token_class, usage
from inspection.page import Page, facts, table
from launcher.jobs.run_folder import RunFolder
from models.layers.moe.looking import expert_weights
from tasks.hardware.choice import given_back
from tasks.views._subject import Subject, facts_of, labels, load, shaded
from tokenization.base import Tokenizer

READS = ("text", "tokens")  # of the keys of `inspect`

COUNTED = 20_000  # tokens of validation that the tables count; the typed text, where there is one


@given_back()
def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints loads and what experts are chosen for; writes routing.html and routing.json.

    Raises:
        RequestError: no model, or one without experts.
    """
    subject = load(cfg, "routing")
    shown = expert_weights(subject.model, subject.ids_1T)
    if not shown:
        raise RequestError(
            f"init_from={cfg.init_from}: {type(subject.model).__name__} here has no experts to send tokens to.\n"
            "Type init_from=<a run of model=moe>."
        )
    ids_N, weights = counted(subject, shown)
    class_N = classes_of(subject.tokenizer, ids_N)
    found = {n: usage(w_NE, ids_N, class_N, classes=len(CLASSES)) for n, w_NE in weights.items()}
    make_page(cfg, subject, shown, found, n_tokens=len(ids_N)).write(run.path / "routing.html")
    (run.path / "routing.json").write_text(json.dumps(record(subject, found), indent=1, ensure_ascii=False) + "\n")
    print(f"\n{len(found)} layers of experts, {len(ids_N):,} tokens counted")
    for n, layer in found.items():
        loads = " ".join(f"{share:5.1%}" for share in layer.load_E.tolist())
        print(f"  layer {n}   loads {loads}   evenness {layer.entropy:.3f}   told by class {layer.information:.3f}")
    print(f"page: {run.path / 'routing.html'}")


@torch.no_grad()
def counted(subject: Subject, shown: dict[int, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
    """(N,) ids and each layer's (N, E): of validation batches up to COUNTED tokens, or of the typed text."""
    if subject.data is None:
        return subject.ids_1T[0].cpu(), {n: weights.cpu() for n, weights in shown.items()}
    batches, ids, parts, seen = subject.data.val_dataset(), [], [], 0
    device = subject.ids_1T.device
    for i in range(len(batches)):
        ids_BT = batches[i]["ids"]
        documents = batches[i].get("documents")
        weights = expert_weights(
            subject.model, ids_BT.to(device), documents_BT=None if documents is None else documents.to(device)
        )
        ids.append(ids_BT.flatten())
        parts.append({n: w.cpu() for n, w in weights.items()})
        seen += ids_BT.numel()
        if seen >= COUNTED:
            break
    return torch.cat(ids), {n: torch.cat([part[n] for part in parts]) for n in shown}


def classes_of(tokenizer: Tokenizer, ids_N: Tensor) -> Tensor:
    """(N,) the number of each token's class."""
    specials, text = set(tokenizer.specials.values()), tokenizer.texts_of_ids()
    ids_V, which_N = ids_N.unique(return_inverse=True)
    numbers = [CLASSES.index(token_class(text(i), special=i in specials)) for i in ids_V.tolist()]
    return torch.tensor(numbers)[which_N]


def make_page(
    cfg: DictConfig, subject: Subject, shown: dict[int, Tensor], found: dict[int, Usage], *, n_tokens: int
) -> Page:
    page = Page(
        title="Routing", about="Each token in the colour of the expert that weighs most; point at an expert or a token."
    )
    experts = next(iter(shown.values())).shape[1]
    pairs = {"run": cfg.init_from or cfg.model.path} | facts_of(subject)
    pairs |= {"experts": f"{experts} in each of {len(shown)} layers", "counted": f"{n_tokens:,} tokens in the tables"}
    page.add("At a glance", facts(pairs))
    page.add("Loads", load_table(found), "Share of all assignments; an even share is darkened by half.")
    layers = [
        {
            "n": n,
            "load": [round(share, 4) for share in found[n].load_E.tolist()],
            "to": [[(e, round(w, 4)) for e, w in chosen(row)] for row in weights_TE.tolist()],
        }
        for n, weights_TE in shown.items()
    ]
    page.add_routes(
        "Text",
        {"labels": labels(subject.tokenizer, subject.ids), "experts": experts, "layers": layers},
        note="The text once for each layer; beside each expert the share of all assignments that it gets.",
    )
    for n, layer in found.items():
        note = (
            f"Where each class of tokens goes, in shares of its assignments. Knowing the class of a token takes away"
            f" {layer.information:.1%} of the uncertainty about its expert (0: experts do not care, 100 %: it decides)."
        )
        typical = Markup("<h3>Tokens that go there most often, against the expert's load</h3>")
        page.add(f"Layer {n}", class_table(layer) + typical + typical_table(layer, subject.tokenizer), note)
    return page


def load_table(found: dict[int, Usage]) -> Markup:
    experts = len(next(iter(found.values())).load_E)
    rows = [
        [str(n), *(shaded(s * experts / 2, f"{s:.1%}") for s in layer.load_E.tolist()), layer.entropy]
        for n, layer in found.items()
    ]
    return table(["layer", *(f"expert {e}" for e in range(experts)), "evenness"], rows)


def class_table(layer: Usage) -> Markup:
    rows = [
        [name, *(shaded(s, f"{s:.1%}") for s in shares_E)]
        for name, shares_E in zip(CLASSES, layer.by_class_KE.tolist(), strict=True)
        if sum(shares_E)
    ]
    return table(["tokens", *(f"expert {e}" for e in range(len(layer.load_E)))], rows)


def typical_table(layer: Usage, tokenizer: Tokenizer) -> Markup:
    text = tokenizer.texts_of_ids()
    words = ("   ".join(f"{text(i)!r} x {lift:.1f}" for i, lift in ids) for ids in layer.typical)
    return table([], [(f"expert {e}", told) for e, told in enumerate(words)])


def record(subject: Subject, found: dict[int, Usage]) -> dict[str, Any]:
    text = subject.tokenizer.texts_of_ids()
    return {
        str(n): {
            "load": layer.load_E.tolist(),
            "evenness": layer.entropy,
            "told_by_class": layer.information,
            "by_class": dict(zip(CLASSES, layer.by_class_KE.tolist(), strict=True)),
            "typical": [[(text(i), lift) for i, lift in ids] for ids in layer.typical],
        }
        for n, layer in found.items()
    }
