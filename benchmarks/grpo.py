"""One GRPO update, generation included: TRL's GRPOTrainer against ours. Each in a process of its own.

Llama, no KL, one update a rollout, AdamW, fp32. Two sizes: that of `objective=grpo` as it stands, and one of five times
the arithmetic a token. Prompts are ragged, and the model has learned to end its answers, half way to the longest on
average, as real ones do; else its weights are random. The reward is the share of even ids: every row has an advantage.
Times are medians over updates without the first; ours also says what share of it is generation, and how that compares
with `generate` by itself at the same rows.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STEPS, LR, END, UPDATES_TO_END = 6, 1e-5, 2, 80


class Size(NamedTuple):
    """Of the model, and of a rollout: prompts of at most so many tokens, answers to each, most tokens of one."""

    vocab: int
    width: int
    mlp: int
    prompts: int
    prompt: int
    group: int
    new: int
    layers: int = 4
    heads: int = 4

    def questions(self, n: int) -> list[list[int]]:
        rng = np.random.default_rng(0)
        lengths = rng.integers(self.prompt // 2, self.prompt + 1, n)
        return [rng.integers(3, self.vocab, length).tolist() for length in lengths]


SIZES = {
    "as_it_stands": Size(vocab=384, width=128, mlp=344, prompts=32, prompt=36, group=8, new=40),
    "wider": Size(vocab=4_096, width=256, mlp=688, prompts=8, prompt=32, group=8, new=64),
}


def worth(ids: list[int]) -> float:
    """Share of even ids."""
    return sum(i % 2 == 0 for i in ids) / len(ids)


def learn_to_end(model: Any, size: Size, logits_of: Callable[[Any], Any]) -> None:
    """Some updates on random ids, of which one in new / 2 is the end. Args: logits_of: ids (B, T) -> (B, T, V)."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for update in range(UPDATES_TO_END):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - update / UPDATES_TO_END)
        ids = torch.randint(3, size.vocab, (8, size.prompt + 1))
        ids[torch.rand(ids.shape) < 2 / size.new] = END
        F.cross_entropy(logits_of(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()


def trl(size: Size, folder: Path) -> dict[str, Any]:
    """Seconds of each update of TRL's GRPOTrainer."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, size.vocab)}
    plain = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<pad>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocab, hidden_size=size.width, intermediate_size=size.mlp, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, num_key_value_heads=size.heads, max_position_embeddings=256, pad_token_id=0,
        bos_token_id=1, eos_token_id=END, tie_word_embeddings=False,
    )  # fmt: skip
    clock: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.append(time.perf_counter())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            clock.append(time.perf_counter())

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [worth(ids) for ids in completion_ids]

    args = GRPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to=[], max_steps=STEPS, learning_rate=LR,
        per_device_train_batch_size=size.prompts * size.group, num_generations=size.group,
        max_completion_length=size.new, beta=0.0, gradient_checkpointing=False, save_strategy="no",
        logging_steps=10**6, disable_tqdm=True, loss_type="dr_grpo", scale_rewards=False, temperature=1.0,
    )  # fmt: skip
    rows = [{"prompt": " ".join(f"w{i}" for i in ids)} for ids in size.questions(size.prompts * STEPS)]
    model = LlamaForCausalLM(config)
    learn_to_end(model, size, lambda ids: model(input_ids=ids).logits)
    trainer = GRPOTrainer(
        model=model, reward_funcs=reward, args=args, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer, callbacks=[Clock()],
    )  # fmt: skip
    trainer.train()
    length = trainer.state.log_history[-1]["completions/mean_length"]
    return {"seconds": [b - a for a, b in pairwise(clock)], "rollout/length": length}


def ours(size: Size, folder: Path) -> dict[str, Any]:
    """Seconds of our module, bar and logs off; and of generation by itself at the same rows."""
    import lightning.pytorch as pl
    import torch

    from lightning_modules.grpo import GRPOModule
    from models.generation import generate
    from models.transformer import Transformer
    from optimization.adamw import adamw
    from rewards.base import Reward
    from tasks.trainer import keep_freed_memory, quiet_lightning, settle_torch
    from tests.prompts import PromptData, Question, Words, train

    quiet_lightning()
    settle_torch()
    keep_freed_memory()

    class Share(Reward):
        def forward(self, answers: Any) -> Any:
            return torch.tensor([worth(list(ids)) for ids in answers.ids])

    clock: list[float] = []

    class Clock(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            clock.append(time.perf_counter())
            if len(clock) == 2:
                module.meter.read(world_size=1, device=torch.device("cpu"))  # without the first update, as all times

        def on_train_end(self, *_: Any) -> None:
            clock.append(time.perf_counter())

    torch.manual_seed(0)
    model = Transformer(
        vocab_size=size.vocab, seq_len=256, n_layer=size.layers, n_head=size.heads, n_kv_head=size.heads,
        n_embd=size.width, n_inner=size.mlp,
    )  # fmt: skip
    learn_to_end(model, size, lambda ids: model(ids, logits="all").logits)
    data = PromptData()
    data.end = END
    data.sides = {
        side: [Question(np.array(ids), "", "") for ids in size.questions(size.prompts * STEPS)]
        for side in ("train", "val")
    }
    module = GRPOModule(
        model=model, data=data, tokenizer=Words(), reward={"share": Share()}, prompts=size.prompts, group=size.group,
        max_new_tokens=size.new, truncated="rule", checks="warn", val_prompts=1, val_group=1, grad_clip=1.0,
        log_every=10**6, optimizer=partial(adamw, lr=LR, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0),
    )  # fmt: skip
    module.begin(type("Start", (), {"data": data})())
    train(folder, module, data, steps=STEPS, callbacks=[Clock()], log_every=10**6)
    means = module.meter.read(world_size=1, device=torch.device("cpu"))
    alone, alike = [], size.questions(size.prompts)
    for step in range(3):
        started = time.perf_counter()
        generate(model, alike, max_new_tokens=size.new, n=size.group, seed=step, stop_ids=[END], batch_size=512)
        alone.append(time.perf_counter() - started)
    return {"seconds": [b - a for a, b in pairwise(clock)], "alone": statistics.median(alone)} | means


def measured(name: str, size: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.grpo", name, size]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def compare(name: str, size: Size) -> None:
    rows = f"{size.prompts} prompts of up to {size.prompt} tokens x {size.group} answers of up to {size.new}"
    print(f"\nGRPO, {name}: Llama {size.layers} x {size.width}, vocabulary {size.vocab:,}, {rows}")
    found = {side: measured(side, name) for side in ("ours", "trl")}
    seconds = {side: statistics.median(result["seconds"][1:]) for side, result in found.items()}
    for side, value in seconds.items():
        print(f"  {side:<5}{value:>7.2f} s an update, answers of {found[side]['rollout/length']:.1f} tokens")
    print(f"  TRL / ours {seconds['trl'] / seconds['ours']:.1f} (aim 5)")
    generation, alone = found["ours"]["time/generation"], found["ours"]["alone"]
    print(
        f"  generation {generation:.2f} s, {generation / seconds['ours']:.0%} of an update; "
        f"task=generate's at the same rows {alone:.2f} s ({alone / generation:.2f}, aim 0.95)"
    )


def main() -> None:
    for name, size in SIZES.items():
        compare(name, size)
    print()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with tempfile.TemporaryDirectory() as folder:
            result = {"trl": trl, "ours": ours}[sys.argv[1]](SIZES[sys.argv[2]], Path(folder))
        print(json.dumps(result))
