"""One update of supervised fine-tuning on the CPU, ours against TRL's SFTTrainer: time and memory.

Llama, 4 layers of 256, 50,257 tokens; 8 rows as long as GSM8K's, two thirds of each the answer; fp32, AdamW. Each side
runs in a process of its own and says its peak memory, packages included. TRL as it comes, and without recomputation.

python -m benchmarks.sft
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import torch

VOCAB, STEPS, WARM_UP = 50_257, 5, 1
SIZES = {"n_layer": 4, "n_embd": 256, "n_head": 4, "n_inner": 688}
# tokens of question and answer of GSM8K's first eight rows under GPT-2's tokenizer
LENGTHS = [(36, 71), (30, 58), (65, 95), (51, 108), (25, 46), (69, 88), (60, 78), (72, 132)]


def rows() -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids, mask) of each row; random ids cost what real ones do."""
    rng = np.random.default_rng(0)
    return [(rng.integers(0, VOCAB - 1, q + a), np.arange(q + a) >= q) for q, a in LENGTHS]


def ours() -> list[float]:
    """Seconds of each update."""
    from datamodules.batching.example_batches import padded
    from lightning_modules.base import supervised_tokens
    from lightning_modules.sft import SFTModule
    from models.transformer import Transformer
    from optimization.adamw import adamw
    from tasks.trainer import keep_freed_memory
    from tokenization.chat import Rendered

    keep_freed_memory()
    torch.manual_seed(0)
    model = Transformer(
        vocab_size=VOCAB,
        n_layer=SIZES["n_layer"],
        n_embd=SIZES["n_embd"],
        n_head=SIZES["n_head"],
        n_kv_head=SIZES["n_head"],
        n_inner=SIZES["n_inner"],
        seq_len=1024,
        tied=False,
    )
    module = SFTModule(model=model)
    optimizer = adamw(model=model, lr=1e-4, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0)
    examples, seconds = [Rendered(*row) for row in rows()], []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        micro = padded(examples, pad=0)
        loss = module.loss(micro).loss
        assert loss is not None
        (loss / supervised_tokens(micro)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def trl(*, recompute: bool) -> list[float]:
    """Seconds of each update of SFTTrainer, from the start of one to the end of it."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.start)

    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token="t0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t1", pad_token="t0")
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=SIZES["n_embd"],
        intermediate_size=SIZES["n_inner"],
        num_hidden_layers=SIZES["n_layer"],
        num_attention_heads=SIZES["n_head"],
        max_position_embeddings=1024,
    )
    data = [{"input_ids": ids.tolist(), "completion_mask": mask.astype(int).tolist()} for ids, mask in rows()]
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=LlamaForCausalLM(config),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=len(LENGTHS),
                max_steps=WARM_UP + STEPS,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=recompute,
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
    return seconds


def measured(side: str) -> dict[str, float]:
    """Runs one side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.sft", side]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def one_side(side: str) -> None:
    seconds = ours() if side == "ours" else trl(recompute=side == "trl")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"s": statistics.median(seconds[WARM_UP:]), "GB": peak}))


def main() -> None:
    found = {side: measured(side) for side in ("ours", "trl", "trl_without_recomputation")}
    print("\nSFT, one update: Llama 4 x 256, vocabulary 50,257, 8 rows as GSM8K's, fp32")
    for side, facts in found.items():
        print(f"  {side:<26} {facts['s']:.2f} s   peak {facts['GB']:.2f} GB")
    mine, theirs = found["ours"], found["trl"]
    print(
        f"  TRL / ours  {theirs['s'] / mine['s']:.1f} (aim 8);  "
        f"memory ours / TRL  {mine['GB'] / theirs['GB']:.2f} (aim 0.5)\n"
    )


if __name__ == "__main__":
    one_side(sys.argv[1]) if len(sys.argv) > 1 else main()
