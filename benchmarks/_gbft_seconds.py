"""Seconds to a given loss: stages on cached states, one LoRA on the same layers and cache, one LoRA on all layers.

Equal trained parameters, dropout, rate and rows (gbft=default and gbft=single_wide); the base has learned the language
reference, the text is docstrings. The loss to reach is the best that the LoRA on the same layers has on the dev part;
the clock is that of the updates with their looks at it, every 25. Two stages have twice the updates.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks._stages import fit_short, fit_stages
from datamodules.pydoc import PydocDataModule
from lightning_modules.causal_lm import CausalLMModule
from lightning_modules.gbft import GBFTModule
from models.boosting.ensemble import Boosted
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.gpt import GPT
from optimization.adamw import adamw
from optimization.schedules import cosine
from tokenization.byte import ByteTokenizer

BASE_STEPS, STEPS, TOKENS, SEQ_LEN = 400, 500, 13_000, 128
LEARNERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one LoRA, upper layers": ({"stages": 1, "eta": 1.0}, {"rank": 40, "alpha": 80.0}),
    "two stages": ({"stages": 2, "eta": 0.7}, {"rank": 20, "alpha": 40.0}),
    "one LoRA, all layers": ({"stages": 1, "eta": 1.0}, {"rank": 20, "alpha": 40.0, "top_blocks": "all"}),
}


class Clocked(GBFTModule):
    """Keeps (seconds of all updates so far, loss on the dev part) at each look, and for a stage once it is taken."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        began, turn = time.perf_counter(), self.machine.turn(self.trainer.global_step)
        super().training_step(batch, batch_idx)
        now = self.__dict__.get("clock", 0.0) + time.perf_counter() - began
        self.__dict__["clock"] = now
        curve = self.__dict__.setdefault("curve", [])
        if turn.closes:
            last = self.records[-1]
            curve += [(now, last["looks"][-1][1]), (now, last["dev/loss"])]
        elif turn.looks:
            curve.append((now, self.machine.last_look))


def pydoc(part: str, folder: Path, *, batch_size: int) -> PydocDataModule:
    data = PydocDataModule(
        tokenizer=ByteTokenizer(), part=part, cache_dir=str(folder), seq_len=SEQ_LEN, batch_size=batch_size,
        sampling="shuffle", seed=0,
    )  # fmt: skip
    data.prepare()
    return data


def base_of(folder: Path) -> GPT:
    """A GPT of 4 layers that has learned the language reference."""
    data = pydoc("reference", folder, batch_size=12)
    torch.manual_seed(0)
    model = GPT(vocab_size=data.tokenizer.vocab_size, seq_len=SEQ_LEN, n_layer=4, n_head=4, n_embd=128, bias=False)
    module = CausalLMModule(
        model=model,
        optimizer=partial(adamw, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1),
        schedule=partial(cosine, total_steps=BASE_STEPS, warmup_steps=40, final_ratio=0.1),
        grad_clip=1.0,
    )
    fit_short(module, data, steps=BASE_STEPS, folder=folder / "base")
    return model


def curve_of(base: GPT, plan: dict[str, Any], learner: dict[str, Any], folder: Path) -> list[tuple[float, float]]:
    data = pydoc("docstrings", folder, batch_size=4)
    data.shorten(TOKENS / len(data.folder.train))
    model = Boosted(
        base=base,
        learner=partial(LoRA, dropout=0.5, **learner),
        plan=Plan(steps_per_stage=STEPS, best_every=25, cache="hidden", **plan),
        seed=0,
    )
    return fit_stages(Clocked, model, data, folder / "run", lr=3e-3).__dict__["curve"]


def reached(curve: list[tuple[float, float]], loss: float) -> float | None:
    """Seconds until `loss`, or None."""
    return next((seconds for seconds, found in curve if found <= loss), None)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = base_of(folder)
        curves = {name: curve_of(base, *how, folder) for name, how in LEARNERS.items()}
    target = min(loss for _, loss in next(iter(curves.values())))
    print(f"\nBoosting: seconds to a loss of {target:.4f} on the dev part, the best of one LoRA on the upper layers")
    for name, curve in curves.items():
        seconds, best = reached(curve, target), min(loss for _, loss in curve)
        said = "not reached" if seconds is None else f"{seconds:6.1f} s"
        print(
            f"  {name:<24}{said:>12}   best {best:.4f}   {STEPS} updates a stage, {curve[-1][0]:.1f} s in all",
            flush=True,
        )
