"""One GRPO update, generation included: TRL's GRPOTrainer against ours. Each in a process of its own.

Llama of 4 layers x 256 (random weights), vocabulary 4,096, 8 prompts of 32 tokens, 8 answers of 64 tokens each, no KL,
one update a rollout, AdamW, fp32. The reward is the share of one token. Times are medians over updates without the
first; ours also says what share of it is generation, and how that compares with `generate` by itself at the same rows.
"""

import json
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

VOCAB, WIDTH, LAYERS, HEADS, MLP = 4_096, 256, 4, 4, 688
PROMPTS, GROUP, PROMPT, NEW, STEPS, LR, WANTED = 8, 8, 32, 64, 5, 1e-5, 7


def prompts(n: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(3, VOCAB, PROMPT).tolist() for _ in range(n)]


def trl(folder: Path) -> dict[str, Any]:
    """Seconds of each update of TRL's GRPOTrainer."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, VOCAB)}
    plain = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<pad>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=MLP, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=HEADS, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    clock: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.append(time.perf_counter())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            clock.append(time.perf_counter())

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [ids.count(WANTED) / len(ids) for ids in completion_ids]

    args = GRPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=PROMPTS * GROUP,
        num_generations=GROUP, max_completion_length=NEW, max_steps=STEPS, learning_rate=LR, beta=0.0,
        gradient_checkpointing=False, save_strategy="no", logging_steps=10**6, disable_tqdm=True, loss_type="dr_grpo",
        scale_rewards=False, temperature=1.0,
    )  # fmt: skip
    rows = [{"prompt": " ".join(f"w{i}" for i in ids)} for ids in prompts(PROMPTS * STEPS)]
    trainer = GRPOTrainer(
        model=LlamaForCausalLM(config), reward_funcs=reward, args=args, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer, callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    return {"seconds": [b - a for a, b in pairwise(clock)]}


def ours(folder: Path) -> dict[str, Any]:
    """Seconds of our module, bar and logs off; and of generation by itself at the same rows."""
    import lightning.pytorch as pl
    import torch

    from lightning_modules.grpo import GRPOModule
    from models.generation import generate
    from models.transformer import Transformer
    from optimization.adamw import adamw
    from rewards.base import Reward
    from tasks.trainer import keep_freed_memory, quiet_lightning, set_number_formats
    from tests.prompts import PromptData, Question, Words, train

    quiet_lightning()
    set_number_formats()
    keep_freed_memory()

    class Share(Reward):
        def forward(self, answers: Any) -> Any:
            return torch.tensor([list(ids).count(WANTED) / len(ids) for ids in answers.ids])

    clock: list[float] = []

    class Clock(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            clock.append(time.perf_counter())

        def on_train_end(self, *_: Any) -> None:
            clock.append(time.perf_counter())

    torch.manual_seed(0)
    model = Transformer(
        vocab_size=VOCAB, seq_len=256, n_layer=LAYERS, n_head=HEADS, n_kv_head=HEADS, n_embd=WIDTH, n_inner=MLP
    )
    data = PromptData()
    data.end = 2
    data.sides = {
        side: [Question(np.array(ids), "", "") for ids in prompts(PROMPTS * STEPS)] for side in ("train", "val")
    }
    module = GRPOModule(
        model=model, data=data, tokenizer=Words(), reward={"share": Share()}, prompts=PROMPTS, group=GROUP,
        max_new_tokens=NEW, truncated="rule", checks="warn", val_prompts=1, val_group=1, grad_clip=1.0, log_every=10**6,
        optimizer=partial(adamw, lr=LR, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0),
    )  # fmt: skip
    module.begin(type("Start", (), {"data": data})())
    train(folder, module, data, steps=STEPS, callbacks=[Clock()], log_every=10**6)
    means = module.meter.read(world_size=1, device=torch.device("cpu"))
    alone = []
    for step in range(3):
        started = time.perf_counter()
        generate(model, prompts(PROMPTS), max_new_tokens=NEW, n=GROUP, seed=step, stop_ids=[2], batch_size=512)
        alone.append(time.perf_counter() - started)
    return {"seconds": [b - a for a, b in pairwise(clock)], "alone": statistics.median(alone)} | means


def measured(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.grpo", name]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    print(f"\nGRPO, Llama {LAYERS} x {WIDTH}, {PROMPTS} prompts x {GROUP} answers of {NEW} tokens")
    found = {name: measured(name) for name in ("ours", "trl")}
    seconds = {name: statistics.median(result["seconds"][1:]) for name, result in found.items()}
    for name, value in seconds.items():
        print(f"  {name:<5}{value:>7.2f} s an update")
    generation = found["ours"]["time/generation"]
    print(f"  TRL / ours {seconds['trl'] / seconds['ours']:.1f} (aim 5)")
    alone = found["ours"]["alone"]
    print(
        f"  generation {generation:.2f} s, {generation / seconds['ours']:.0%} of an update; "
        f"task=generate's at the same rows {alone:.2f} s ({alone / generation:.2f}, aim 0.95)\n"
    )


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with tempfile.TemporaryDirectory() as folder:
            result = {"trl": trl, "ours": ours}[sys.argv[1]](Path(folder))
        print(json.dumps(result))
