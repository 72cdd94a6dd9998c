"""An encoder-decoder as large as T5-small on the CPU: an update against a bare loop over transformers' own model, time
and memory; and 64 tokens written, against its generate.

6 + 6 layers of 512, 32,128 tokens, fp32; 8 rows as long as SAMSum's dialogues and summaries. Both loops use AdamW and
clip gradients; theirs pads both sides by itself. Each runs in a process of its own, in turns, and says its
peak memory, packages included.

python -m benchmarks.seq2seq
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from batch import IGNORE

VOCAB, STEPS, TURNS, NEW = 32_128, 4, 2, 64
# tokens of dialogue and summary; a start token stands between them
LENGTHS = [(61, 14), (148, 33), (92, 21), (230, 48), (41, 11), (118, 26), (320, 37), (175, 29)]
Row = tuple[list[int], list[int]]


def rows() -> list[Row]:
    """(source, answer) of each row; random ids cost what real ones do."""
    rng = np.random.default_rng(0)
    return [(rng.integers(2, VOCAB, s).tolist(), rng.integers(2, VOCAB, a).tolist()) for s, a in LENGTHS]


def model() -> Any:
    """Ours; `hf` in it is theirs."""
    from models.seq2seq import T5

    torch.manual_seed(0)
    return T5(vocab_size=VOCAB, n_layer=6, n_head=8, n_embd=512, n_inner=2048, seq_len=640).train()


def our_loss(made: Any) -> Callable[[], torch.Tensor]:
    from datamodules.batching.example_batches import padded
    from lightning_modules.sft import SFTModule
    from lightning_modules.update import supervised_tokens
    from tokenization.chat import Rendered

    module = SFTModule(model=made)
    whole = [(np.array([*s, 0, *a]), np.arange(len(s) + 1 + len(a)) > len(s)) for s, a in rows()]
    examples = [Rendered(*row) for row in whole]

    def loss() -> torch.Tensor:
        micro = padded(examples, pad=0)
        found = module.loss(micro).loss
        assert found is not None
        return found / supervised_tokens(micro)

    return loss


def their_loss(made: Any) -> Callable[[], torch.Tensor]:
    def loss() -> torch.Tensor:
        sources, mask = both([s for s, _ in rows()], 0), both([[1] * len(s) for s, _ in rows()], 0)
        labels, answers = both([a for _, a in rows()], IGNORE), both([[0, *a[:-1]] for _, a in rows()], 0)
        return made.hf(input_ids=sources, attention_mask=mask, decoder_input_ids=answers, labels=labels).loss

    return loss


def both(lists: list[list[int]], fill: int) -> torch.Tensor:
    return pad_sequence([torch.tensor(x) for x in lists], batch_first=True, padding_value=fill)


def updates(side: str) -> tuple[float, float]:
    """Seconds of the fastest update, and the loss of the first."""
    from optimization.adamw import adamw
    from tasks.trainer import keep_freed_memory

    made = model()
    if side == "ours":
        keep_freed_memory()
        loss = our_loss(made)
        optimizer = adamw(model=made, lr=1e-4, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0)
    else:
        loss = their_loss(made)
        optimizer = torch.optim.AdamW(made.hf.parameters(), lr=1e-4, weight_decay=0.0)
    seconds, losses = [], []
    for _ in range(STEPS):
        start = time.perf_counter()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
        losses.append(value.item())
    return min(seconds), losses[0]


def writing(side: str) -> float:
    """Tokens a second, reading included."""
    from models.generation import generate
    from models.sampling import GREEDY

    made, sources = model().eval(), [s for s, _ in rows()]
    if side == "ours":
        prompts = [[*s, 0] for s in sources]
        write = lambda n: generate(made, prompts, max_new_tokens=n, sampling=GREEDY)  # noqa: E731
    else:
        ids, mask = both(sources, 0), both([[1] * len(s) for s in sources], 0)
        settings = {"do_sample": False, "num_beams": 1, "eos_token_id": None, "pad_token_id": 0}
        settings |= {"decoder_start_token_id": 0, "attention_mask": mask}
        write = lambda n: made.hf.generate(ids, max_new_tokens=n, min_new_tokens=n, **settings)  # noqa: E731
    write(2)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        write(NEW)
        seconds.append(time.perf_counter() - start)
    return len(sources) * NEW / min(seconds)


def one_side(side: str) -> None:
    seconds, loss = updates(side)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"s": seconds, "loss": loss, "GB": peak, "written": writing(side)}))


def measured(side: str) -> dict[str, float]:
    """Runs one side in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.seq2seq", side], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(TURNS):
        for side, facts in found.items():
            facts.append(measured(side))
    seconds = {side: min(turn["s"] for turn in facts) for side, facts in found.items()}
    peak = {side: min(turn["GB"] for turn in facts) for side, facts in found.items()}
    written = {side: max(turn["written"] for turn in facts) for side, facts in found.items()}
    tokens = sum(s + a for s, a in LENGTHS)
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    print(f"\nT5-small from random weights, 8 ragged rows of {tokens} tokens, fp32, {threads}, best of {TURNS} turns")
    for side in found:
        speed, loss = tokens / seconds[side], found[side][0]["loss"]
        print(f"  {side:<7} update {seconds[side]:.2f} s, {speed:,.0f} tokens/s   peak {peak[side]:.2f} GB"
              f"   written {written[side]:.0f} tokens/s   loss {loss:.4f}")  # fmt: skip
    print(
        f"  ours / theirs: tokens per second {seconds['theirs'] / seconds['ours']:.2f} (aim 1.0), memory "
        f"{peak['ours'] / peak['theirs']:.2f} (aim 1.0), written {written['ours'] / written['theirs']:.2f} (aim 1.0)\n"
    )


if __name__ == "__main__":
    one_side(sys.argv[1]) if len(sys.argv) > 1 else main()
