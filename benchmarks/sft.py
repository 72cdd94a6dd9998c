"""One update of supervised fine-tuning, ours against TRL's SFTTrainer: time and memory.

Llama, 4 layers of 256, 50,257 tokens; 8 rows as long as GSM8K's, two thirds of each the answer; AdamW; in fp32, then in
bf16. TRL as it comes, without recomputation, and without padding as well; the quickest of them is what ours is compared
with. All take turns (benchmarks/_in_turn.py). On a GPU 12 layers of 768, 64 such rows, bf16.

python -m benchmarks.sft            # both precisions
python -m benchmarks.sft fp32       # one
python -m benchmarks.sft gpu        # bf16 on one GPU
"""

import contextlib
import sys
import tempfile
from typing import Any

import numpy as np
import torch

from benchmarks._in_turn import WARM_UP, Turns, asked_for, in_turn

VOCAB, ROUNDS = 50_257, 7
ON_CPU: dict[str, Any] = {"n_layer": 4, "n_embd": 256, "n_head": 4, "n_inner": 688}
ON_GPU: dict[str, Any] = {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_inner": 2048}
# tokens of question and answer of GSM8K's first eight rows under GPT-2's tokenizer
LENGTHS = [(36, 71), (30, 58), (65, 95), (51, 108), (25, 46), (69, 88), (60, 78), (72, 132)]
SIDES = ("ours", "trl", "trl_whole", "trl_unpadded")


def rows(device: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids, mask) of each row; random ids cost what real ones do."""
    rng = np.random.default_rng(0)
    lengths = LENGTHS * (8 if device == "cuda" else 1)
    return [(rng.integers(0, VOCAB - 1, q + a), np.arange(q + a) >= q) for q, a in lengths]


def ours(turns: Turns, device: str, *, bf16: bool) -> None:
    from benchmarks._as_chosen import multiplied_as_chosen
    from datamodules.batching.example_batches import padded
    from lightning_modules.sft import SFTModule
    from lightning_modules.update import supervised_tokens
    from models.transformer import Transformer
    from optimization.adamw import adamw
    from tasks.trainer import keep_freed_memory, settle_torch
    from tokenization.chat import Rendered

    keep_freed_memory()
    settle_torch()
    torch.manual_seed(0)
    sizes = ON_GPU if device == "cuda" else ON_CPU
    model = Transformer(vocab_size=VOCAB, seq_len=1024, n_kv_head=sizes["n_head"], tied=False, **sizes).to(device)
    multiplied_as_chosen(model, sum(map(sum, LENGTHS)))
    module = SFTModule(model=model)
    optimizer = adamw(model=model, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    examples = [Rendered(*row) for row in rows(device)]
    for _ in range(WARM_UP + ROUNDS):
        turns.wait()
        micro = padded(examples, pad=0)
        counted = supervised_tokens(micro)
        micro = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in micro.items()}
        with torch.autocast(device, torch.bfloat16) if bf16 else contextlib.nullcontext():
            loss = module.loss(micro).loss
        assert loss is not None
        (loss / counted).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turns.done()


def trl(turns: Turns, device: str, *, bf16: bool, recompute: bool, padding: bool) -> None:
    """SFTTrainer, each update from the start of one to the end of it."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.done()

    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token="t0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t1", pad_token="t0")
    sizes = ON_GPU if device == "cuda" else ON_CPU
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=sizes["n_embd"],
        intermediate_size=sizes["n_inner"],
        num_hidden_layers=sizes["n_layer"],
        num_attention_heads=sizes["n_head"],
        max_position_embeddings=1024,
    )
    data = [{"input_ids": ids.tolist(), "completion_mask": mask.astype(int).tolist()} for ids, mask in rows(device)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=LlamaForCausalLM(config),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=len(data),
                max_steps=WARM_UP + ROUNDS,
                use_cpu=device == "cpu",
                bf16=bf16,
                gradient_checkpointing=recompute,
                padding_free=not padding,
                max_length=1024 if padding else None,
                report_to=[],
                save_strategy="no",
                logging_steps=1000,
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()


def one_side(side: str) -> None:
    name, precision = side.split("-")
    device, bf16 = "cuda" if precision == "gpu" else "cpu", precision != "fp32"
    if name == "ours":
        ours(Turns(), device, bf16=bf16)
    else:
        trl(Turns(), device, bf16=bf16, recompute=name == "trl", padding=name != "trl_unpadded")


def main(precisions: list[str]) -> None:
    for precision in asked_for(precisions):
        found = in_turn("benchmarks.sft", [f"{side}-{precision}" for side in SIDES], rounds=ROUNDS)
        sizes, count = ("12 x 768", 64) if precision == "gpu" else ("4 x 256", 8)
        print(f"\nSFT, one update: Llama {sizes}, vocabulary 50,257, {count} rows as GSM8K's, {precision}")
        for side, facts in found.items():
            print(f"  {side.partition('-')[0]:<14} {facts.median:.3f} s   peak {facts.memory:.2f} GB")
        mine, *others = found.values()
        best, least = min(others, key=lambda side: side.median), min(side.memory for side in others)
        print(
            f"  TRL's quickest / ours  {best.times(mine):.1f} (aim 10);  "
            f"memory ours / TRL's least  {mine.memory / least:.2f} (aim 0.5)",
            flush=True,
        )
    print()


if __name__ == "__main__":
    if "-" in "".join(sys.argv[1:]):
        one_side(sys.argv[1])
    else:
        main(sys.argv[1:])
