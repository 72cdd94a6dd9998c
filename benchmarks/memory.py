"""10,000 windows read at random from a 1 GB token file: how much the process grows, and how fast it reads."""

import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from datamodules.preparing.token_files import TokenFile

GIGABYTE, READS, SEQ_LEN, AT_ONCE = 10**9, 10_000, 1024, 10


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.bin"
        block = np.random.default_rng(0).integers(0, 50_257, 5_000_000).astype("<u2").tobytes()
        with path.open("wb") as file:
            for _ in range(GIGABYTE // len(block)):
                file.write(block)
        tokens = TokenFile([path], "uint16")
        rng, process = np.random.default_rng(1), psutil.Process()
        tokens.read(rng.integers(0, len(tokens) - SEQ_LEN, AT_ONCE), SEQ_LEN)
        before, start = process.memory_info().rss, time.perf_counter()
        for _ in range(READS // AT_ONCE):
            tokens.read(rng.integers(0, len(tokens) - SEQ_LEN, AT_ONCE), SEQ_LEN)
        elapsed = time.perf_counter() - start
        growth = (process.memory_info().rss - before) / 1e6
    print(f"\n{READS:,} windows of {SEQ_LEN} from a {GIGABYTE / 1e9:.0f} GB token file")
    print(f"  memory grew by {growth:.1f} MB (aim < 50);  {READS * SEQ_LEN / elapsed / 1e6:,.0f} million tokens/s\n")


if __name__ == "__main__":
    main()
