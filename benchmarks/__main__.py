"""make bench: each benchmark in a process of its own, so that none warms up or fills the memory of the next.

python -m benchmarks            # all
python -m benchmarks trainer    # one: trainer, gpt2_step, start, memory, generation, sft
"""

import os
import platform
import subprocess
import sys

import torch

NAMES = ("start", "memory", "trainer", "gpt2_step", "generation", "sft", "moe")


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
