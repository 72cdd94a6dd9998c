"""Speculative decoding: tokens per second of a GPT-2-shaped model with a draft a quarter of its size, against it alone.

python -m benchmarks.speculative                 # trains both here first, MINUTES each, on the docstrings
python -m benchmarks.speculative MODEL DRAFT     # two runs of yours with the same tokenizer
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import nanolab
from models.generation import generate
from models.sampling import GREEDY, Sampling
from models.speculative import Draft

MINUTES, PAIRS, NEW, PROMPT = 4, 5, 128, 64
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


def main(given: list[str]) -> None:
    if len(given) not in (0, 2):
        sys.exit("give a run and a smaller one that drafts for it, or nothing")
    with tempfile.TemporaryDirectory() as folder:
        names = given or [trained(Path(folder), n_layer) for n_layer in (12, 3)]
        runs = [nanolab.load(name, "hardware=cpu") for name in names]
        models = [run.model for run in runs]
    sizes = [model.parameter_counts()["total"] for model in models]
    losses = [run.summary.get("metrics", {}).get("val/loss", float("nan")) for run in runs]
    print(f"\n{sizes[0]:,} parameters (val/loss {losses[0]:.3f}), draft of {sizes[1]:,} (val/loss {losses[1]:.3f})")
    print(f"{PROMPT} tokens of prompt, {NEW} new, {torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, "
          f"median of {PAIRS} pairs, each alone and with the draft in turn")  # fmt: skip
    prompts = [[int(id) for id in runs[0].tokenizer.encode(text)][:PROMPT] for text in PROMPTS]
    for words, how in (
        ("greedy", GREEDY),
        ("temperature 0.8, top_k 50", Sampling(0.8, top_k=50)),
        ("as it is", Sampling()),
    ):
        for rows in (1, len(prompts)):
            tell(words, rows, [prompts[:1] if rows == 1 else prompts][0], how, models)


def tell(words: str, rows: int, prompts: list[list[int]], how: Sampling, models: list) -> None:
    draft, ratios, speeds = Draft(models[1]), [], []
    once(models[0], prompts, how, Draft(models[1]), seed=0)
    for seed in range(PAIRS):
        alone, drafted = once(models[0], prompts, how, None, seed), once(models[0], prompts, how, draft, seed)
        ratios.append(alone / drafted)
        speeds.append(rows * NEW / alone)
    gain, speed = statistics.median(ratios), statistics.median(speeds)
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"  {words:<26} {rows} row(s) {gain:6.2f} x {spread} of {speed:.0f} tokens/s; {draft.words}", flush=True)


def once(model, prompts: list[list[int]], how: Sampling, draft: Draft | None, seed: int) -> float:
    """Seconds of one generation, prompts included."""
    start = time.perf_counter()
    generate(model, prompts, max_new_tokens=NEW, sampling=how, seed=seed, draft=draft)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1:])
