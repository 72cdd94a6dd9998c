"""What a tokenizer is worth: one small model with each, after the same number of BYTES, by bits per byte.

python -m benchmarks.tokenizer_table data/tinyshakespeare.txt     # a row of a Markdown table for each tokenizer

Every run makes about as many updates, each on about as many bytes of text; a window is as many tokens long for all, so
larger tokens also see further. It takes minutes and is no part of `make bench`; docs/tokenizers.md has a result.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from errors import RequestError
from launcher.instantiate import build
from launcher.lab import Lab

ROOT = Path(__file__).resolve().parents[1]
SEQ_LEN = 128
MODEL = ["model.n_layer=2", "model.n_head=2", "model.n_embd=64", f"model.seq_len={SEQ_LEN}"]
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


def tokenizer_of(words: list[str]) -> object:
    from launcher.compose import compose

    return build(compose(words, Lab(ROOT)).cfg.tokenizer)


def row(name: str, path: Path, words: list[str], bytes_per_step: int, steps: int, folder: Path) -> str:
    """Train the tokenizer on its own for the clock, then the model through the command line."""
    text = path.read_text(encoding="utf-8")
    train = text[: int(len(text) * 0.9)]
    tokenizer = tokenizer_of(words)
    start = time.process_time()
    tokenizer.train([text if tokenizer.needs_whole_corpus else train])
    seconds, tokens = time.process_time() - start, len(tokenizer.encode(train))
    per_token = len(train.encode("utf-8")) / tokens
    batch = max(1, round(bytes_per_step / (SEQ_LEN * per_token)))
    updates = round(bytes_per_step * steps / (batch * SEQ_LEN * per_token))
    run = folder / name.replace(" ", "-")
    line = [
        *(sys.executable, str(ROOT / "run.py"), *words, *MODEL, *RECIPE, "data=text", f"data.path={path.resolve()}"),
        *(f"data.batch_size={batch}", f"trainer.max_steps={updates}", f"trainer.val_every={updates}"),
        *(f"schedule.warmup_steps={updates // 20}", f"data.cache_dir={folder / 'cache'}", f"run_dir={run}"),
        *(f"trainer.checkpoint_every={updates}", "callbacks=minimal"),
    ]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        return f"| {name} | - | | | | {done.stderr.strip().splitlines()[-1]} |"
    summary = json.loads((run / "summary.json").read_text())
    metrics = summary["metrics"]
    return (
        f"| {name} | {tokenizer.vocab_size:,} | {len(train) / tokens:.2f} | {seconds:.1f} |"
        f" {updates} x {batch} | {summary['parameters']['total'] / 1e6:.2f} | {metrics['val/bpb']:.3f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--bytes-per-step", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    given = parser.parse_args()
    print("| tokenizer | ids | characters per token | training, CPU s | updates x windows | parameters, M | val/bpb |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only:
            try:
                print(row(name, given.path, CASES[name], given.bytes_per_step, given.steps, Path(folder)), flush=True)
            except RequestError as error:
                print(f"{name}: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
