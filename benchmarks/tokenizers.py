"""Tokenizers: 8,192 merges learned from 50 MB, against Hugging Face tokenizers and SentencePiece; and encoding.

The text is the embedded corpus repeated (WikiText-2's where data/wikitext-2/train.txt was fetched): for speed that will
do, though repeated text has few different words. Every trainer runs in a process of its own and gets the same pieces.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

MEGABYTES, N_MERGES, REPEATS, ENCODE_MB = 50, 8192, 3, 10
WIKITEXT = Path("data/wikitext-2/train.txt")


def corpus(megabytes: int) -> list[str]:
    """Pieces of about 64,000 characters."""
    from datamodules.pydoc import PydocSource

    if WIKITEXT.is_file():
        text = WIKITEXT.read_text(encoding="utf-8")
    else:
        text = "".join(piece for document in PydocSource().documents() for piece in document)
    copies = megabytes * 10**6 // len(text) + 1
    whole = (text * copies)[: megabytes * 10**6]
    return [whole[i : i + 64_000] for i in range(0, len(whole), 64_000)]


def train_ours(texts: list[str]) -> None:
    from tokenization.bpe import BPETokenizer

    BPETokenizer(vocab_size=N_MERGES + 257, train_bytes=10**9).train(texts)


def train_tokenizers(texts: list[str]) -> None:
    """tiktoken with our pattern and our merges."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    from tokenization.patterns import split_pattern

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(split_pattern("gpt4", 2)), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=N_MERGES + 256, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == N_MERGES + 256


def train_sentencepiece(texts: list[str]) -> None:
    from tokenization.sentencepiece import SentencePieceTokenizer

    SentencePieceTokenizer(
        vocab_size=N_MERGES + 257, algorithm="bpe", byte_fallback=True, normalization="identity", dummy_prefix=False,
        merge_blanks=False, train_bytes=10**9,
    ).train(texts)  # fmt: skip


TRAINERS = {"nanolab bpe": train_ours, "HF tokenizers": train_tokenizers, "sentencepiece bpe": train_sentencepiece}


def train_once(name: str) -> None:
    """In a process of its own: prints seconds and the largest memory beyond the text, in MB."""
    import threading

    texts = corpus(MEGABYTES)
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    start = time.perf_counter()
    TRAINERS[name](texts)
    seconds = time.perf_counter() - start
    done.set()
    print(json.dumps({"seconds": seconds, "memory": max(0, peak[0] - before) / 1e6}))


def encoding_speed() -> None:
    """MB/s on one thread: our trained BPE through tiktoken, and the same merges in Hugging Face's encoder."""
    import tiktoken

    from tokenization.bpe import BPETokenizer

    texts = corpus(ENCODE_MB)
    ours = BPETokenizer(vocab_size=N_MERGES + 257, train_bytes=10**6 * ENCODE_MB)
    ours.train(texts)
    plain: tiktoken.Encoding = ours._encoding
    n_bytes = sum(len(text.encode()) for text in texts)
    jobs = {
        "nanolab encode_batch": lambda: ours.encode_batch(texts),
        "tiktoken encode_ordinary_batch": lambda: plain.encode_ordinary_batch(texts, num_threads=1),
    }
    times = {name: [clock(job) for _ in range(REPEATS)] for name, job in jobs.items()}
    for name, seconds in times.items():
        print(f"  {name:<32}{n_bytes / 1e6 / statistics.median(seconds):>7.1f} MB/s")
    ours_s, theirs_s = (statistics.median(seconds) for seconds in times.values())
    print(f"  ratio {theirs_s / ours_s:.2f} (aim 0.9)\n")


def clock(job) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def main() -> None:
    print(f"\nLearning {N_MERGES:,} merges from {MEGABYTES} MB (median of {REPEATS}; memory beyond the text)")
    medians = {}
    for name in TRAINERS:
        found = [
            json.loads(subprocess.run([sys.executable, "-m", "benchmarks.tokenizers", name], capture_output=True,
                                      check=True, text=True).stdout)
            for _ in range(REPEATS)
        ]  # fmt: skip
        medians[name] = statistics.median(run["seconds"] for run in found)
        memory = statistics.median(run["memory"] for run in found)
        print(f"  {name:<20}{medians[name]:>7.1f} s {memory:>7.0f} MB", flush=True)
    ours = medians.pop("nanolab bpe")
    print("  as fast as: " + ", ".join(f"{name} x {seconds / ours:.1f}" for name, seconds in medians.items()))
    print(f"\nEncoding {ENCODE_MB} MB on one thread")
    encoding_speed()


if __name__ == "__main__":
    train_once(sys.argv[1]) if len(sys.argv) > 1 else main()
