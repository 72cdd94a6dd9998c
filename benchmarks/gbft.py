"""Does a stage cost more the later it comes? Eight stages of each learner, whole runs of objective=gbft.

Learners read the states of the base and of the ensemble from the cache, so that stage 8 should cost what stage 1 does
(aim: 1.15 times at most). Beside them, without a cache: there, stage m runs the m - 1 stages before it again.
Validation is left out; choosing the step on the dev part, and adding the stage before to the cache, is not.

Then seconds to a given loss, see _gbft_seconds.py.

python -m benchmarks.gbft            # GPT, 4 layers of 128, about 13,000 bytes of text, 4 epochs for each stage
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import _gbft_seconds
from benchmarks._stages import fit_stages
from datamodules.pydoc import PydocDataModule
from lightning_modules.gbft import GBFTModule
from models.boosting.ensemble import Boosted
from models.boosting.learners.adapter import Adapter
from models.boosting.learners.block import SmallBlock
from models.boosting.learners.lora import LoRA
from models.boosting.plan import Plan
from models.gpt import GPT
from tasks.trainer import quiet_lightning, settle_torch
from tokenization.byte import ByteTokenizer

STAGES, STEPS, BATCH, SEQ_LEN, TOKENS, REPEATS = 8, 48, 8, 128, 13_000, 3
LEARNERS: dict[str, Callable[..., Any]] = {"lora_top": LoRA, "adapter_top": Adapter, "block": SmallBlock}
AIM = 1.15


class Timed(GBFTModule):
    """Keeps what each stage took: (seconds of the clock, seconds of this process's processors)."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        stage, wall, busy = self.machine.turn(self.trainer.global_step).stage, time.perf_counter(), time.process_time()
        super().training_step(batch, batch_idx)
        spent = self.__dict__.setdefault("spent", [[0.0, 0.0] for _ in range(STAGES)])
        spent[stage][0] += time.perf_counter() - wall
        spent[stage][1] += time.process_time() - busy


def run(learner: Callable[..., Any], *, cache: Any, folder: Path) -> list[list[float]]:
    """Seconds of each stage, (STAGES, 2)."""
    data = PydocDataModule(
        tokenizer=ByteTokenizer(), cache_dir=str(folder), seq_len=SEQ_LEN, batch_size=BATCH, sampling="shuffle", seed=0
    )
    data.prepare()
    data.shorten(TOKENS / len(data.folder.train))
    torch.manual_seed(0)
    base = GPT(vocab_size=data.tokenizer.vocab_size, seq_len=SEQ_LEN, n_layer=4, n_head=4, n_embd=128, bias=False)
    plan = Plan(stages=STAGES, steps_per_stage=STEPS, cache=cache, tol=-10.0)  # every stage stays, whatever it does
    model = Boosted(base=base, learner=learner, plan=plan, seed=0)
    with tempfile.TemporaryDirectory() as place:
        module = fit_stages(Timed, model, data, Path(place), lr=1e-2, warmup_steps=5)
    return module.__dict__["spent"]


def show(name: str, runs: list[list[list[float]]]) -> None:
    for column, clock in enumerate(("clock", "processor")):
        stages = [statistics.median(spent[m][column] for spent in runs) for m in range(STAGES)]
        ratio = statistics.median(spent[-1][column] / spent[0][column] for spent in runs)
        shown = "".join(f"{1e3 * seconds / STEPS:>7.1f}" for seconds in stages)
        print(f"  {name if column == 0 else '':<22}{clock:<10}{shown}   stage 8 / stage 1: {ratio:.3f}", flush=True)


def main() -> None:
    quiet_lightning()
    settle_torch()
    print(f"\nBoosting: ms per update of {BATCH} x {SEQ_LEN} tokens in stage 1 to {STAGES}, median of {REPEATS} runs "
          f"(aim {AIM}); {torch.get_num_threads()} threads")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, learner in LEARNERS.items():
            show(name, [run(learner, cache="hidden", folder=Path(folder)) for _ in range(REPEATS)])
        show("lora_top, no cache", [run(LoRA, cache="none", folder=Path(folder))])
    _gbft_seconds.main()


if __name__ == "__main__":
    main()
