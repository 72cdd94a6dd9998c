"""How long one waits: for --help, for a config error, and from the command to the first update."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN = [sys.executable, str(ROOT / "run.py")]
TORCH, LIGHTNING = ([sys.executable, "-c", f"import {names}"] for names in ("torch", "torch, lightning.pytorch"))
REPEATS = 5


def seconds(command: list[str], *, until: str | None = None) -> float:
    """Wall time of a command, or until it prints a line that starts with `until`."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if until is not None and line.startswith(until):
                elapsed = time.perf_counter() - start
                process.kill()
                process.wait()
                return elapsed
        process.wait()
        return time.perf_counter() - start


def main() -> None:
    cache = tempfile.mkdtemp()
    # the first line of progress comes with the first update where it is also the last
    first_step = [*RUN, "trainer.max_steps=1", f"data.cache_dir={cache}"]
    seconds(first_step)  # prepares the corpus and warms the file cache
    rows = {
        "--help": [seconds([*RUN, "--help"]) for _ in range(REPEATS)],
        "config error": [seconds([*RUN, "model.n_layr=3"]) for _ in range(REPEATS)],
        "import torch": [seconds(TORCH) for _ in range(REPEATS)],
        "import torch and lightning": [seconds(LIGHTNING) for _ in range(REPEATS)],
        "first update": [seconds(first_step, until="step 1/1") for _ in range(REPEATS)],
    }
    medians = {name: statistics.median(times) for name, times in rows.items()}
    print(f"\nStart, seconds (median of {REPEATS}, warm file cache)")
    for name, value in medians.items():
        print(f"  {name:<28}{value:.2f}")
    print("  aims: --help and a config error 1.0; the first update 2.5, with all that it imports (tasks/lean.py)\n")


if __name__ == "__main__":
    main()
