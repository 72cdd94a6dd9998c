"""task=prepare against bare tiktoken, both with GPT-2's vocabulary on the same text with all cores: MB a second.

REAL_DATA=<folder with wikitext2_valid.txt> takes WikiText-2, otherwise the embedded corpus; SIZE_MB is 100 by default.
GPT-2's vocabulary comes from tiktoken's cache (TIKTOKEN_CACHE_DIR) or the network.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from datamodules.preparing.prepare import Target, prepare_tokens
from datamodules.pydoc import PydocSource
from datamodules.reading.readers import text_pieces
from datamodules.reading.sources import FileSource
from errors import RequestError, RunError
from tokenization.tiktoken import TiktokenTokenizer

SIZE_MB = float(os.environ.get("SIZE_MB", 100))
PAIRS = 5


def corpus() -> str:
    if real := os.environ.get("REAL_DATA"):
        return (Path(real) / "wikitext2_valid.txt").read_text(encoding="utf-8")
    return "\n".join(piece for document in PydocSource().documents() for piece in document)


def bare(path: Path, cores: int) -> float:
    """Seconds of tiktoken alone on the text in pieces of 1 MB, read beforehand."""
    import tiktoken

    encoding, texts = tiktoken.get_encoding("gpt2"), list(text_pieces(path))
    start = time.perf_counter()
    encoding.encode_ordinary_batch(texts, num_threads=cores)
    return time.perf_counter() - start


def ours(path: Path, tokenizer: TiktokenTokenizer, cores: int) -> float:
    """Seconds from the file to token files on disk, everything counted."""
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        source = FileSource("text", (path,), "text", None)
        target = Target(Path(cache), workers=cores)
        prepare_tokens(source=source, val_source=None, tokenizer=tokenizer, val_fraction=0.01, target=target)
        return time.perf_counter() - start


def main() -> None:
    try:
        tokenizer = TiktokenTokenizer(name="gpt2")
    except (RequestError, RunError) as error:
        print(f"\nprepare: not measured, GPT-2's vocabulary is not here.\n{error}\n", file=sys.stderr)
        return
    cores, text = len(os.sched_getaffinity(0)), corpus()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text(text * max(1, round(SIZE_MB * 1e6 / len(text.encode()))), encoding="utf-8")
        size = path.stat().st_size / 1e6
        times = [(bare(path, cores), ours(path, tokenizer, cores)) for _ in range(PAIRS)]
    tiktoken_s, ours_s = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(theirs / mine for theirs, mine in times)
    print(f"\nGPT-2 BPE on {size:.0f} MB, {cores} cores (medians of {PAIRS} pairs)")
    print(f"  tiktoken.encode_ordinary_batch  {size / tiktoken_s:6.1f} MB/s")
    print(f"  prepare, text to token files    {size / ours_s:6.1f} MB/s;  ratio {ratio:.2f} (aim 0.95)\n")


if __name__ == "__main__":
    main()
