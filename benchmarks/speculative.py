"""Speculative decoding: tokens per second of a GPT-2-shaped model with a draft a quarter of its size, against it alone.

python -m benchmarks.speculative                 # trains both here first, MINUTES each, on the docstrings
python -m benchmarks.speculative MODEL DRAFT     # two runs of yours with the same tokenizer
python -m benchmarks.speculative costs           # GPT-2 124M and a quarter of it, random: what a round costs by tokens
                                                 # ahead, and the acceptance from which it pays
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path

import torch

import nanolab
from models.base import LanguageModel
from models.generation import generate
from models.gpt import GPT
from models.layers.narrow import Kind, NarrowLinears
from models.sampling import GREEDY, Sampling
from models.speculative import Draft
from tasks.narrowing import bytes_each
from tasks.trainer import settle_torch

MINUTES, PAIRS, NEW, PROMPT = 4, 5, 128, 64
KINDS: tuple[Kind | None, ...] = (None, "int8")  # of a draft's weights
SHAPE = ["model.seq_len=256", "model.n_embd=384", "model.n_head=6", "model.bias=true", "data.batch_size=4"]
TRAINING = ["data=docstrings", "optimizer=adamw_small", "schedule=constant", "callbacks=minimal", "logger=csv"]
PROMPTS = (
    "Return the number of items in the list, or raise an error if it is empty.",
    "This function opens the file named by the argument path and returns",
    "The class keeps a mapping of names to values; the method update adds",
    "If the optional argument timeout is given, it must be a positive number",
)


def trained(folder: Path, n_layer: int) -> str:
    """A run of ours; its folder."""
    path = folder / f"{n_layer}-layers"
    rhythm = [f"trainer.max_time=00:0{MINUTES}:00", "trainer.max_steps=100000", "trainer.val_tokens=10000"]
    words = [*TRAINING, *SHAPE, *rhythm, f"model.n_layer={n_layer}", f"run_dir={path}"]
    subprocess.run([sys.executable, "run.py", *words], check=True, stdout=subprocess.DEVNULL)
    return str(path)


def expected(accepted: float, ahead: int) -> float:
    """Tokens of a round in which each drafted token stays with this probability (2211.17192, equation 1)."""
    return sum(accepted**i for i in range(ahead + 1))


def costs() -> None:
    """Seconds of a round do not depend on what is accepted: random weights tell them, and the rest is arithmetic."""
    torch.manual_seed(0)
    model = GPT(vocab_size=50_257, seq_len=1024, n_layer=12, n_head=12, n_embd=768, gelu="tanh").eval()
    small = GPT(vocab_size=50_257, seq_len=1024, n_layer=6, n_head=6, n_embd=384, gelu="tanh").eval()
    sizes = [m.parameter_counts()["total"] for m in (model, small)]
    prompts = torch.randint(0, 50_257, (1, PROMPT)).tolist()
    print(f"\n{sizes[0]:,} and {sizes[1]:,} parameters, {torch.get_num_threads()} thread(s), median of {PAIRS} pairs")
    shares = (0.6, 0.7, 0.8, 0.9)
    for kind in KINDS:
        print(f"\n  the draft's weights in {kind or 'float32'}")
        print(f"{'ahead':>8}{'a round, in steps':>19}" + "".join(f"{f'gain at {share}':>14}" for share in shares))
        with reading(small, kind):
            for ahead in (1, 2, 3, 4, 6):
                ratios = []
                for seed in range(PAIRS):
                    draft = Draft(small, ahead)
                    alone = once(model, prompts, Sampling(), None, seed) / NEW
                    ratios.append(once(model, prompts, Sampling(), draft, seed) / draft.steps / alone)
                cost = statistics.median(ratios)
                gains = "".join(f"{expected(share, ahead) / cost:>12.2f} x" for share in shares)
                print(f"{ahead:>8}{cost:>19.2f}{gains}", flush=True)


def reading(draft: LanguageModel, kind: Kind | None) -> AbstractContextManager[None]:
    """A draft's weights, as generate.draft_weights reads them."""
    return nullcontext() if kind is None else NarrowLinears(draft, kind).active()


def main(given: list[str]) -> None:
    settle_torch()
    if given == ["costs"]:
        return costs()
    if len(given) not in (0, 2):
        sys.exit("give a run and a smaller one that drafts for it, or costs, or nothing")
    with tempfile.TemporaryDirectory() as folder:
        names = given or [trained(Path(folder), n_layer) for n_layer in (12, 3)]
        runs = [nanolab.load(name, "hardware=cpu") for name in names]
        models = [run.model for run in runs]
        summaries = [run.summary for run in runs]  # read while they are there
    sizes = [model.parameter_counts()["total"] for model in models]
    losses = [summary.get("metrics", {}).get("val/loss", float("nan")) for summary in summaries]
    print(f"\n{sizes[0]:,} parameters (val/loss {losses[0]:.3f}), draft of {sizes[1]:,} (val/loss {losses[1]:.3f})")
    print(f"{PROMPT} tokens of prompt, {NEW} new, {torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, "
          f"median of {PAIRS} pairs, each alone and with the draft in turn")  # fmt: skip
    prompts = [[int(id) for id in runs[0].tokenizer.encode(text)][:PROMPT] for text in PROMPTS]
    for words, how in (
        ("greedy", GREEDY),
        ("temperature 0.8, top_k 50", Sampling(0.8, top_k=50)),
        ("as it is", Sampling()),
    ):
        for rows, kind in product((1, len(prompts)), KINDS):
            with reading(models[1], kind):
                tell(f"{words}, draft in {kind or 'float32'}", prompts[:rows], how, models, bytes_each(kind) / 4)


def tell(words: str, prompts: list[list[int]], how: Sampling, models: list[LanguageModel], lighter: float) -> None:
    draft, ratios, speeds, rows = Draft(models[1], lighter=lighter), [], [], len(prompts)
    once(models[0], prompts, how, Draft(models[1], lighter=lighter), seed=0)
    for seed in range(PAIRS):
        alone, drafted = once(models[0], prompts, how, None, seed), once(models[0], prompts, how, draft, seed)
        ratios.append(alone / drafted)
        speeds.append(rows * NEW / alone)
    gain, speed = statistics.median(ratios), statistics.median(speeds)
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"  {words:<44} {rows} row(s) {gain:6.2f} x {spread} of {speed:.0f} tokens/s; {draft.words}", flush=True)


def once(model, prompts: list[list[int]], how: Sampling, draft: Draft | None, seed: int) -> float:
    """Seconds of one generation; of one thread the processor's, which the work of others does not lengthen."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    generate(model, prompts, max_new_tokens=NEW, sampling=how, seed=seed, draft=draft)
    return clock() - start


if __name__ == "__main__":
    main(sys.argv[1:])
