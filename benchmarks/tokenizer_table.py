"""What a tokenizer is worth: one small model with each, after the same number of BYTES, by bits per byte.

python -m benchmarks.tokenizer_table data/tinyshakespeare.txt     # a row of a Markdown table for each tokenizer

Every run makes about as many updates, each on about as many bytes of text; a window is as many tokens long for all, so
larger tokens also see further. The table of embeddings grows with the vocabulary, the rest of the model does not: its
share stands beside the parameters. It takes minutes and is no part of `make bench`; docs/tokenizers.md has a result.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from errors import RequestError
from launcher.config.instantiate import build
from launcher.lab import Lab

ROOT = Path(__file__).resolve().parents[1]
SEQ_LEN, N_EMBD = 128, 64
MODEL = ["model.n_layer=2", "model.n_head=2", f"model.n_embd={N_EMBD}", f"model.seq_len={SEQ_LEN}"]
RECIPE = ["optimizer.lr=3e-3", "logger=none", "hardware=cpu", "data.val_fraction=0.1"]
CASES = {
    "byte": ["tokenizer=byte"],
    "char": ["tokenizer=char"],
    "BPE 1k": ["tokenizer=bpe", "tokenizer.vocab_size=1024"],
    "BPE 4k": ["tokenizer=bpe", "tokenizer.vocab_size=4096"],
    "BPE 8k": ["tokenizer=bpe", "tokenizer.vocab_size=8192"],
    "SentencePiece BPE 4k": ["tokenizer=sentencepiece", "tokenizer.vocab_size=4096"],
    "SentencePiece unigram 4k": [
        "tokenizer=sentencepiece", "tokenizer.vocab_size=4096", "tokenizer.algorithm=unigram"
    ],
    "tiktoken gpt2": ["tokenizer=tiktoken", "tokenizer.name=gpt2"],
}  # fmt: skip


HEAD = (
    *("tokenizer", "ids", "characters per token", "training, CPU s", "updates x windows", "MB seen"),
    *("parameters, M", "of them embeddings", "val/bpb"),
)


def tokenizer_of(words: list[str]) -> Any:
    from launcher.config.compose import compose

    return build(compose(words, Lab(ROOT)).cfg.tokenizer)


def row(name: str, path: Path, given: argparse.Namespace, folder: Path) -> str:
    """Train the tokenizer on its own for the clock, then the model through the command line, once for each seed."""
    words = CASES[name]
    text = path.read_text(encoding="utf-8")
    train = text[: int(len(text) * 0.9)]
    tokenizer = tokenizer_of(words)
    start = time.process_time()
    tokenizer.train([text if tokenizer.needs_whole_corpus else train])
    seconds, tokens = time.process_time() - start, len(tokenizer.encode(train))
    window = SEQ_LEN * len(train.encode("utf-8")) / tokens  # bytes
    batch = max(1, round(given.bytes_per_step / window))
    updates = round(given.bytes_per_step * given.steps / (batch * window))
    runs = sweep(words, path, batch, updates, given.seeds, folder)
    bpb = [found["metrics"]["val/bpb"] for found in runs]
    spread = f" \u00b1 {statistics.stdev(bpb):.3f}" if len(bpb) > 1 else ""
    total = runs[0]["parameters"]["total"]
    return (
        f"| {name} | {tokenizer.vocab_size:,} | {len(train) / tokens:.2f} | {seconds:.1f} | {updates} x {batch} |"
        f" {updates * batch * window / 1e6:.2f} | {total / 1e6:.2f} | {tokenizer.vocab_size * N_EMBD / total:.0%} |"
        f" {statistics.mean(bpb):.3f}{spread} |"
    )


def sweep(words: list[str], path: Path, batch: int, updates: int, seeds: list[int], folder: Path) -> list[Any]:
    """The summaries of a run with each seed. Raises RequestError with its last words if one failed."""
    with tempfile.TemporaryDirectory(dir=folder) as into:
        line = [
            *(sys.executable, str(ROOT / "run.py"), "-m", *words, *MODEL, *RECIPE),
            *("data=text", f"data.path={path.resolve()}", f"data.cache_dir={folder / 'cache'}"),
            *(f"data.batch_size={batch}", f"trainer.max_steps={updates}", f"trainer.val_every={updates}"),
            *(f"trainer.checkpoint_every={updates}", f"schedule.warmup_steps={updates // 20}", "callbacks=minimal"),
            *(f"seed={','.join(map(str, seeds))}", f"run_dir={into}/runs"),
        ]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode:
            raise RequestError(((done.stderr or done.stdout).strip().splitlines() or ["it failed without a word"])[-1])
        return [json.loads(file.read_text()) for file in sorted(Path(into).glob("runs/*/summary.json"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--bytes-per-step", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="*", default=list(CASES))
    given = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |")
    print("|" + "---|" * len(HEAD), flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only:
            try:
                print(row(name, given.path, given, Path(folder)), flush=True)
            except RequestError as error:
                failed = 1
                print(f"{name}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
