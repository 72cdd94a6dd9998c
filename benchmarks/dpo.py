"""One DPO update: TRL's trainer, a bare loop with logits at completion tokens only, ours.

Llama of 4 layers x 256 (transformers' code in the bare loop and TRL's, random weights), vocabulary 50,257, 4 pairs of
at most 512 tokens, AdamW; in fp32, then in bf16. Half of each row is the prompt. TRL computes its reference's
log-probabilities once, before training, as ours does; the bare loop is given them. All take turns
(benchmarks/_in_turn.py). On a GPU 12 layers x 768, 16 pairs, bf16.

python -m benchmarks.dpo            # both precisions
python -m benchmarks.dpo fp32       # one
python -m benchmarks.dpo gpu        # bf16 on one GPU
"""

import contextlib
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks._in_turn import WARM_UP, Turns, asked_for, in_turn

VOCAB, LONGEST, ROUNDS = 50_257, 512, 5
STEPS = WARM_UP + ROUNDS
BETA, LR = 0.1, 1e-6
SIDES = ("ours", "bare", "trl")


class Sizes(NamedTuple):
    layers: int
    width: int
    heads: int
    inner: int
    pairs: int


SIZES = {"cpu": Sizes(4, 256, 4, 688, pairs=4), "cuda": Sizes(12, 768, 12, 2048, pairs=16)}


def llama(sizes: Sizes) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=sizes.width, intermediate_size=sizes.inner, num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads, num_key_value_heads=sizes.heads, max_position_embeddings=LONGEST,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def parts(n: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompts of 256 tokens, completions of 128 to 256."""
    rng = np.random.default_rng(0)

    def some(low: int, high: int) -> list[int]:
        return rng.integers(3, VOCAB, rng.integers(low, high + 1)).tolist()

    half = LONGEST // 2
    return [(some(half, half), some(half // 2, half), some(half // 2, half)) for _ in range(n)]


def trl(turns: Turns, folder: Path, device: str, *, bf16: bool) -> None:
    """TRL's DPOTrainer."""
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
    pairs = SIZES[device].pairs
    rows = [
        {name: " ".join(f"w{i}" for i in ids) for name, ids in zip(("prompt", "chosen", "rejected"), pair, strict=True)}
        for pair in parts(pairs * STEPS)
    ]
    rows = [row | {"chosen": " " + row["chosen"], "rejected": " " + row["rejected"]} for row in rows]

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.done()

    args = DPOConfig(
        output_dir=str(folder), use_cpu=device == "cpu", bf16=bf16, report_to=[], per_device_train_batch_size=pairs,
        max_steps=STEPS, max_length=LONGEST, beta=BETA, learning_rate=LR, gradient_checkpointing=False,
        precompute_ref_log_probs=True, save_strategy="no", logging_steps=10**6, disable_tqdm=True,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=llama(SIZES[device]),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Clock()],
    )
    trainer.train()


def bare(turns: Turns, _: Path, device: str, *, bf16: bool) -> None:
    """A plain loop: hidden states of completions are gathered, then logits, then the loss."""
    from datamodules.batching.preference_table import PairSteps
    from tests.pairs import table_of

    model, pairs = llama(SIZES[device]).to(device), SIZES[device].pairs
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
    steps = PairSteps(table_of(parts(pairs * STEPS)), batch_size=pairs, accumulate=1, rank=0, world_size=1, seed=0)
    for step in range(STEPS):
        turns.wait()
        [micro] = steps[step]
        ids, targets = micro["ids"].to(device), micro["targets"].to(device)
        at = (targets >= 0).nonzero(as_tuple=True)
        with torch.autocast(device, torch.bfloat16) if bf16 else contextlib.nullcontext():
            hidden = model.model(ids, use_cache=False).last_hidden_state[at]
            logits = model.lm_head(hidden)
        nll = F.cross_entropy(logits.float(), targets[at], reduction="none")
        log_probs = -nll.new_zeros(2 * pairs).index_add(0, at[0], nll)
        reference = log_probs.detach()
        chosen, rejected = (log_probs - reference).chunk(2)
        (-F.logsigmoid(BETA * (chosen - rejected))).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turns.done()


def ours(turns: Turns, folder: Path, device: str, *, bf16: bool) -> None:
    """Our Trainer, bar and logs on; each update from the start of one to the start of the next."""
    import lightning.pytorch as pl

    from benchmarks._as_chosen import multiplied_as_chosen
    from callbacks.progress import Progress
    from lightning_modules.dpo import DPOModule
    from loggers.metrics_csv import MetricsCSV
    from models.transformer import Transformer
    from optimization.adamw import adamw
    from tasks.trainer import build_trainer, keep_freed_memory, quiet_lightning, settle_torch
    from tests.pairs import PairData

    quiet_lightning()
    settle_torch()
    keep_freed_memory()

    class Clock(pl.Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step:
                turns.done()
            turns.wait()

        def on_train_end(self, *_: Any) -> None:
            turns.done()

    sizes = SIZES[device]
    data = PairData(parts(sizes.pairs * STEPS), batch_size=sizes.pairs)
    data.val_dataloader = lambda: torch.utils.data.DataLoader([], batch_size=None)  # type: ignore[method-assign]
    torch.manual_seed(0)
    model = Transformer(
        vocab_size=VOCAB, seq_len=LONGEST, n_layer=sizes.layers, n_embd=sizes.width, n_head=sizes.heads,
        n_inner=sizes.inner, tied=False,
    )  # fmt: skip
    multiplied_as_chosen(model, 2 * sizes.pairs * LONGEST)
    module = DPOModule(
        model=model, loss_type="sigmoid", beta=BETA, cache_dir=str(folder / "cache"), grad_clip=1.0,
        optimizer=partial(adamw, lr=LR, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0),
    )  # fmt: skip
    trainer = build_trainer(
        run_dir=folder, callbacks=[Clock(), Progress(line_every_s=1.0)],
        loggers=[MetricsCSV(run_dir=folder, start_step=0)], max_steps=STEPS, began=0.0,
        max_time=None, val_every=10**9, checkpoint_every=10**9,
        log_every=10, grad_clip=1.0, accumulate=1, tokens_per_step=None, compile=False, profile=None,
        accelerator="gpu" if device == "cuda" else "cpu", devices=1, nodes=1, strategy="single",
        precision="bf16-mixed" if bf16 else "32-true",
    )  # fmt: skip
    trainer.fit(module, data)


def one_side(side: str) -> None:
    name, precision = side.split("-")
    device = "cuda" if precision == "gpu" else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        {"trl": trl, "bare": bare, "ours": ours}[name](Turns(), Path(folder), device, bf16=precision != "fp32")


def main(precisions: list[str]) -> None:
    for precision in asked_for(precisions):
        found = in_turn("benchmarks.dpo", [f"{side}-{precision}" for side in SIDES], rounds=ROUNDS)
        size = SIZES["cuda" if precision == "gpu" else "cpu"]
        said = (
            f"Llama {size.layers} x {size.width}, vocabulary {VOCAB:,}, {size.pairs} pairs of at most {LONGEST} tokens"
        )
        print(f"\nDPO, {said}, {precision}")
        for side, facts in found.items():
            print(f"  {side.partition('-')[0]:<5}{facts.median:>8.3f} s an update   peak memory {facts.memory:.2f} GB")
        mine, plain, theirs = found.values()
        print(
            f"  TRL / ours {theirs.times(mine):.1f} (aim 12);  ours / bare {mine.times(plain):.2f};  memory: aim 2 GB"
        )
    print()


if __name__ == "__main__":
    if "-" in "".join(sys.argv[1:]):
        one_side(sys.argv[1])
    else:
        main(sys.argv[1:])
