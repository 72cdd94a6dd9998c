"""One DPO update: TRL's trainer, a bare loop with logits at completion tokens only, ours. Each in a process of its own.

Llama of 4 layers x 256 (transformers' code in all three, random weights), vocabulary 50,257, 4 pairs of at most 512
tokens, AdamW, fp32. Half of each row is the prompt. TRL computes its reference's log-probabilities once, before
training, as ours does; the bare loop is given them. Times are medians over updates, memory is the process's peak.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.base import LanguageModel

VOCAB, WIDTH, LAYERS, PAIRS, LONGEST, STEPS = 50_257, 256, 4, 4, 512, 4
BETA, LR = 0.1, 1e-6


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=688, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=LONGEST, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def parts(n: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompts of 256 tokens, completions of 128 to 256."""
    rng = np.random.default_rng(0)

    def some(low: int, high: int) -> list[int]:
        return rng.integers(3, VOCAB, rng.integers(low, high + 1)).tolist()

    half = LONGEST // 2
    return [(some(half, half), some(half // 2, half), some(half // 2, half)) for _ in range(n)]


class Wrapped(LanguageModel):
    """transformers' Llama behind our model's face."""

    def __init__(self, inner: Any):
        super().__init__()
        self.inner = inner
        self.vocab_size, self.seq_len, self.n_layer = VOCAB, LONGEST, LAYERS

    @property
    def head(self) -> torch.nn.Linear:
        return self.inner.lm_head

    def trunk(self, ids_BT: Tensor, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return self.inner.model(ids_BT, use_cache=False).last_hidden_state, {}

    def attention_flops_per_token(self, seq_len: int) -> int:
        return 12 * LAYERS * WIDTH * seq_len


def trl(folder: Path) -> list[float]:
    """Seconds of each update of TRL's DPOTrainer."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, VOCAB)}
    plain = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<pad>"
    )
    rows = [
        {name: " ".join(f"w{i}" for i in ids) for name, ids in zip(("prompt", "chosen", "rejected"), pair, strict=True)}
        for pair in parts(PAIRS * STEPS)
    ]
    rows = [row | {"chosen": " " + row["chosen"], "rejected": " " + row["rejected"]} for row in rows]
    clock: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.append(time.perf_counter() - self.started)

    args = DPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=PAIRS,
        max_steps=STEPS, max_length=LONGEST, beta=BETA, learning_rate=LR, gradient_checkpointing=False,
        precompute_ref_log_probs=True, save_strategy="no", logging_steps=10**6, disable_tqdm=True,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=llama(), args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[Clock()]
    )
    trainer.train()
    return clock


def bare(_: Path) -> list[float]:
    """Seconds of each update of a plain loop: hidden states of completions are gathered, then logits, then the loss."""
    from datamodules.batching.preference_table import PairSteps
    from tests.pairs import table_of

    model = llama()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    steps = PairSteps(table_of(parts(PAIRS * STEPS)), batch_size=PAIRS, accumulate=1, rank=0, world_size=1, seed=0)
    seconds = []
    for step in range(STEPS):
        started = time.perf_counter()
        [micro] = steps[step]
        at = (micro["targets"] >= 0).nonzero(as_tuple=True)
        hidden = model.model(micro["ids"], use_cache=False).last_hidden_state[at]
        nll = F.cross_entropy(model.lm_head(hidden), micro["targets"][at], reduction="none")
        log_probs = -nll.new_zeros(2 * PAIRS).index_add(0, at[0], nll)
        reference = log_probs.detach()
        chosen, rejected = (log_probs - reference).chunk(2)
        (-F.logsigmoid(BETA * (chosen - rejected))).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    return seconds


def ours(folder: Path) -> list[float]:
    """Seconds of each update of our Trainer, bar and logs on."""
    import lightning.pytorch as pl

    from callbacks.progress import Progress
    from lightning_modules.dpo import DPOModule
    from loggers.metrics_csv import MetricsCSV
    from optimization.adamw import adamw
    from tasks.trainer import build_trainer, keep_freed_memory, quiet_lightning, set_number_formats
    from tests.pairs import PairData

    quiet_lightning()
    set_number_formats()
    keep_freed_memory()
    clock: list[float] = []

    class Clock(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            clock.append(time.perf_counter())

        def on_train_end(self, *_: Any) -> None:
            clock.append(time.perf_counter())

    data = PairData(parts(PAIRS * STEPS), batch_size=PAIRS)
    data.val_dataloader = lambda: torch.utils.data.DataLoader([], batch_size=None)  # type: ignore[method-assign]
    module = DPOModule(
        model=Wrapped(llama()), loss_type="sigmoid", beta=BETA, cache_dir=str(folder / "cache"), grad_clip=1.0,
        optimizer=partial(adamw, lr=LR, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0),
    )  # fmt: skip
    trainer = build_trainer(
        run_dir=folder, callbacks=[Clock(), Progress(line_every_s=1.0)],
        loggers=[MetricsCSV(run_dir=folder, start_step=0)], max_steps=STEPS, began=0.0,
        max_time=None, val_every=10**9, checkpoint_every=10**9,
        log_every=10, grad_clip=1.0, accumulate=1, tokens_per_step=None, compile=False, profile=None, accelerator="cpu",
        devices=1, nodes=1, strategy="single", precision="32-true",
    )  # fmt: skip
    trainer.fit(module, data)
    return [after - before for before, after in pairwise(clock)]


def measured(name: str) -> tuple[float, float]:
    """Median seconds of an update without the first, and peak memory in GB, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.dpo", name]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, memory = json.loads(output.splitlines()[-1])
    return statistics.median(seconds[1:]), memory


def main() -> None:
    print(f"\nDPO, Llama {LAYERS} x {WIDTH}, vocabulary {VOCAB:,}, {PAIRS} pairs of at most {LONGEST} tokens")
    found = {name: measured(name) for name in ("bare", "ours", "trl")}
    for name, (seconds, memory) in found.items():
        print(f"  {name:<5}{seconds:>7.2f} s an update   peak memory {memory:.2f} GB")
    faster, slower = found["trl"][0] / found["ours"][0], found["ours"][0] / found["bare"][0]
    print(f"  TRL / ours {faster:.1f} (aim 10);  ours / bare {slower:.2f} (aim 1.15);  memory at most 2 GB\n")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with tempfile.TemporaryDirectory() as folder:
            seconds = {"trl": trl, "bare": bare, "ours": ours}[sys.argv[1]](Path(folder))
        print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))
