"""make bench: each benchmark in a process of its own, so that none warms up or fills the memory of the next.

python -m benchmarks                    # all that run on a CPU
python -m benchmarks trainer gpt2_step  # some: the names of the files here
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

ELSEWHERE = ("gpu", "tokenizer_table", "gbft_domains")  # need a GPU, or minutes and texts of yours
NAMES = sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py") if file.stem not in ELSEWHERE)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"torch {torch.__version__}, {torch.get_num_threads()} threads\n", flush=True)  # fmt: skip
    codes = [subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode for name in names or NAMES]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
