"""What does learning the next text do to the last ones? Stages, one adapter in turn, and one adapter on all texts.

A base of yours and some texts. Of each text the first 13,000 bytes are learned, in turn, and the last 1 % is asked
after every text. All arms: LoRA of the upper blocks with dropout, the best of each text's updates by its own dev rows.

    stages       one more stage for each text, of rank 40, behind those that are there; those stay as they are
    by text      the same stages, each row asked by those that have told it best so far (gbft.use_stages=by_text)
    in turn      one adapter of rank 40, trained on with the next text
    on all       the same adapter, on all texts at once, for as many updates: it needs them all at once

python -m benchmarks.gbft_domains RUN TEXT TEXT TEXT      # a minute and a half for each seed and 300 updates
"""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from batch import IGNORE
from benchmarks._domains_figure import draw
from benchmarks._stages import fit_stages
from datamodules.text import TextDataModule
from launcher.config.compose import compose
from launcher.lab import Lab
from lightning_modules.gbft import GBFTModule
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from tasks import parts
from tasks.trainer import quiet_lightning, settle_torch

LEARNED, ASKED = 13_000, 0.01  # bytes of a text that are learned; share of it, from its end, that is asked
ROOT = Path(__file__).parents[1]
Losses = list[list[float]]  # after each text, of each text


class Domain:
    """One text, cut: what is learned of it, and rows to ask."""

    def __init__(self, text: bytes, folder: Path, tokenizer: Any, *, seed: int, learned: int = LEARNED):
        folder.mkdir(parents=True)
        (folder / "train.txt").write_bytes(text[:learned])
        (folder / "val.txt").write_bytes(text[-int(ASKED * len(text)) :])
        self.data = TextDataModule(
            path=str(folder / "train.txt"), val_path=str(folder / "val.txt"), tokenizer=tokenizer, seq_len=128,
            batch_size=4, val_batch_size=32, sampling="shuffle", seed=seed, cache_dir=str(folder / "cache"),
        )  # fmt: skip
        self.data.prepare()

    @torch.no_grad()
    def loss(self, model: LanguageModel) -> float:
        """Nats per token of its held-out part."""
        windows, nats, count = self.data.val_dataset(), 0.0, 0
        model.eval()
        for i in range(len(windows)):
            out = model(windows[i]["ids"], targets_BT=windows[i]["targets"])
            nats, count = nats + float(out.loss), count + int((windows[i]["targets"] != IGNORE).sum())
        return nats / count


def ensemble(
    base: LanguageModel, start: dict[str, Any] | None = None, *, stages: int, seed: int, **plan: Any
) -> Boosted:
    settings = {"eta": 1.0, "best_every": 25, "tol": -10.0} | plan  # every text has its stage, whatever it gains
    learner = partial(LoRA, rank=40, alpha=80.0, dropout=0.5)
    model = Boosted(base=base, learner=learner, plan=Plan(stages=stages, **settings), seed=seed)
    if start is not None:
        model.load_state_dict(model.accept(start))
    return model


def stages(
    base: LanguageModel, domains: list[Domain], folder: Path, *, seed: int, updates: int
) -> tuple[Losses, Losses]:
    """Losses by all stages, and by those that each row chooses."""
    state, losses, chosen = None, [], []
    for k, domain in enumerate(domains):
        model = ensemble(base, state, stages=k + 1, seed=seed, steps_per_stage=updates)
        fit_stages(GBFTModule, model, domain.data, folder / f"stages{k}", lr=3e-3, seed=seed)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        losses.append([other.loss(model) for other in domains])
        model = ensemble(base, state, stages=k + 1, seed=seed, use_stages="by_text")
        chosen.append([other.loss(model) for other in domains])
    model = ensemble(base, state, stages=len(domains), seed=seed, use_stages=1)
    assert domains[0].loss(model) == losses[0][0]  # what was learned first is there, bit for bit
    return losses, chosen


def in_turn(base: LanguageModel, domains: list[Domain], folder: Path, *, seed: int, updates: int) -> Losses:
    state, losses = None, []
    for k, domain in enumerate(domains):
        model = ensemble(base, stages=1, seed=seed, steps_per_stage=updates)
        if state is not None:
            model.learners.load_state_dict(state)
        fit_stages(GBFTModule, model, domain.data, folder / f"turn{k}", lr=3e-3, seed=seed)
        state = {name: value.clone() for name, value in model.learners.state_dict().items()}
        losses.append([other.loss(model) for other in domains])
    return losses


def on_all(base: LanguageModel, domains: list[Domain], folder: Path, *, seed: int, updates: int, text: bytes) -> Losses:
    everything = Domain(text, folder / "all", domains[0].data.tokenizer, seed=seed, learned=len(text))
    model = ensemble(base, stages=1, seed=seed, steps_per_stage=updates * len(domains))
    fit_stages(GBFTModule, model, everything.data, folder / "on_all", lr=3e-3, seed=seed)
    return [[domain.loss(model) for domain in domains]]


def one_seed(base: LanguageModel, tokenizer: Any, texts: list[bytes], *, seed: int, updates: int) -> dict[str, Losses]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        domains = [Domain(text, folder / f"text{i}", tokenizer, seed=seed) for i, text in enumerate(texts)]
        how: dict[str, Any] = {"seed": seed, "updates": updates}
        before = [[domain.loss(base) for domain in domains]]
        together, chosen = stages(base, domains, folder, **how)
        return {
            "base": before,
            "stages": together,
            "by text": chosen,
            "in turn": in_turn(base, domains, folder, **how),
            "on all": on_all(base, domains, folder, **how, text=b"".join(text[:LEARNED] for text in texts)),
        }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("run", help="a run folder: the base")
    asked.add_argument("texts", nargs="+", help="files of text, in the order in which they are learned")
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--updates", type=int, default=300, help="of each text")
    asked.add_argument("--figure", type=Path, help="where to draw it, such as domains.png")
    args = asked.parse_args()
    quiet_lightning()
    settle_torch()
    cfg = compose([f"init_from={args.run}", "task=evaluate"], Lab(ROOT)).cfg
    tokenizer = parts.saved_tokenizer(cfg)
    base = parts.trained_model(cfg, tokenizer).requires_grad_(False)
    texts = [Path(text).read_bytes() for text in args.texts]
    found = []
    for seed in range(args.seeds):
        found.append(one_seed(base, tokenizer, texts, seed=seed, updates=args.updates))
        print(f"seed {seed} done", flush=True)
    print(f"\nNats per byte of what was held out of each text, {args.seeds} seeds, {args.updates} updates a text")
    for arm in found[0]:
        for k in range(len(found[0][arm])):
            means = [statistics.mean(f[arm][k][i] for f in found) for i in range(len(texts))]
            name = arm if arm in ("base", "on all") else f"{arm}, after text {k + 1}"
            print(f"  {name:<24}" + "".join(f"{value:>9.4f}" for value in means), flush=True)
    for arm in ("stages", "by text", "in turn"):
        lost = [f[arm][-1][0] - f[arm][0][0] for f in found]
        print(f"  {arm}: the first text's loss rises by {' '.join(f'{value:+.4f}' for value in lost)}")
    print("  stages, gbft.use_stages=1: the first text's loss is what it was, to the last bit")
    if args.figure:
        draw(found, [Path(text).stem for text in args.texts], args.figure)
        print(f"  drawn in {args.figure}")


if __name__ == "__main__":
    main()
