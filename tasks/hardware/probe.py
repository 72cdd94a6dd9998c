"""How fast this processor multiplies: fp32 and bf16, by MKL and by oneDNN, on one thread and on all; and reads memory.

Each shape is measured in the first runs on a machine, and the best is kept (tasks/hardware/machine.py): others' work
slows what is measured beside it, and two threads more than one. It takes tens of milliseconds a shape. bf16 is measured
as a layer under autocast runs it, with the casts of what comes in. It can be 100 times slower than fp32 where a
processor has no units for it: a small product is tried first, and what is hopeless is not measured further. The trial
is without the casts, which would be most of its time and hide what units can do.

Shapes: (M, K, N) is a product of M rows with a weight of N x K.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from models.base import LanguageModel
from models.layers.products import by_onednn, is_plain, is_there
from tasks.hardware import machine

Shape = tuple[int, int, int]

MOST_SHAPES = 4  # those with the most arithmetic
MOST_FLOPS = 4e8  # of one product: more rows are as fast
FEWEST_ROWS = 32  # of a large one, the head: of fewer the weights' reading would be measured, which is any library's
TRIAL_FLOPS, HOPELESS = 1e7, 0.1  # of the first product; of fp32's speed, below which bf16 is not measured further
REPEATS = 3
RUNS = 3  # in which a shape is measured
READ_BYTES = 2**27  # more than any cache
KINDS = ("fp32", "onednn", "bf16")


def shapes_of(model: LanguageModel, rows: int) -> Counter[Shape]:
    """The products of a forward pass over `rows` tokens, and how often each occurs."""
    layers = [layer for layer in model.modules() if is_plain(layer)]
    return Counter((rows, layer.in_features, layer.out_features) for layer in layers)


def largest(shapes: Counter[Shape]) -> Counter[Shape]:
    """The few in which most of the arithmetic is, with as many rows as are worth measuring."""
    found: Counter[Shape] = Counter()
    for (M, K, N), times in sorted(shapes.items(), key=lambda item: -flops(item[0]) * item[1])[:MOST_SHAPES]:
        found[min(M, max(FEWEST_ROWS, int(MOST_FLOPS / (2 * K * N)))), K, N] += times
    return found


def flops(shape: Shape) -> int:
    M, K, N = shape
    return 2 * M * K * N


def probed(shapes: Counter[Shape]) -> dict[str, Any]:
    """What is known of this machine, these shapes measured if they were not, or not often.

    {"processor": ..., "gb_per_second": ..., "gflops": {"M x K x N": {"1": {"fp32": ..., ...}, "2": ...}}, "runs": ...}
    """
    file = machine.cache_file()
    known = machine.read(file)
    if not isinstance(known.get("gflops"), dict) or "gb_per_second" not in known:
        known = {"processor": machine.processor(), "gb_per_second": bandwidth(), "gflops": {}}
    runs = known.get("runs")  # in which each shape was measured
    if not isinstance(runs, dict) or not all(isinstance(n, int) for n in runs.values()):
        runs = {}
    known["runs"], speeds = runs, known["gflops"]
    if due := [key for key in shapes if runs.get(name(key), 0) < RUNS or not is_whole(speeds.get(name(key)))]:
        for shape in due:
            found = {str(n): measured(shape, n) for n in thread_counts()}
            speeds[name(shape)] = best(found, speeds.get(name(shape)))
            runs[name(shape)] = runs.get(name(shape), 0) + 1
        machine.write(file, known)
    return known


def best(found: dict[str, dict[str, float]], before: Any) -> dict[str, dict[str, float]]:
    """The higher figure of each kind and number of threads."""
    if not is_whole(before):
        return found
    return {n: {kind: max(of[kind], before[n][kind]) for kind in of} for n, of in found.items()}


def is_whole(found: Any) -> bool:
    """Whether a shape was measured in all ways that this program knows; the file is anybody's to change."""
    kinds = [kind for kind in KINDS if kind != "onednn" or is_there()]
    by_threads = [found.get(str(n)) for n in thread_counts()] if isinstance(found, dict) else [None]
    return all(isinstance(of, dict) and all(is_speed(of.get(kind)) for kind in kinds) for of in by_threads)


def is_speed(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def name(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def thread_counts() -> list[int]:
    return sorted({1, torch.get_num_threads()})


def measured(shape: Shape, n_threads: int) -> dict[str, float]:
    """GFLOP/s by kind; without oneDNN where PyTorch lacks it. Hopeless bf16 is told by its trial."""
    M, K, N = shape
    generator = torch.Generator().manual_seed(0)
    x_MK, weight = torch.randn(M, K, generator=generator), nn.Parameter(torch.randn(N, K, generator=generator))
    with threads(n_threads), torch.no_grad():
        found = {"fp32": speed(shape, lambda: F.linear(x_MK, weight))}
        if is_there():
            found["onednn"] = speed(shape, lambda: by_onednn(x_MK, weight, None))
        few = max(1, min(M, int(TRIAL_FLOPS / (2 * K * N))))
        x16_mK, weight16 = x_MK[:few].bfloat16(), weight.bfloat16()
        trial = speed((few, K, N), lambda: F.linear(x16_mK, weight16))
        plain = speed((few, K, N), lambda: F.linear(x_MK[:few], weight))
        hopeless = trial < HOPELESS * plain
        found["bf16"] = trial if hopeless else speed(shape, lambda: cast_linear(x_MK, weight))
    return {kind: round(value, 2) for kind, value in found.items()}


def cast_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What autocast does of a linear layer."""
    return F.linear(x.bfloat16(), weight.bfloat16())


def speed(shape: Shape, product: Callable[[], Any], repeats: int = REPEATS) -> float:
    """GFLOP/s, the best of several after one that counts for nothing."""
    product()
    return flops(shape) / 1e9 / min(seconds(product) for _ in range(repeats))


def bandwidth() -> float:
    """GB/s at which memory is read, on all threads."""
    big = torch.ones(READ_BYTES // 4)
    big.sum()
    return round(READ_BYTES / 1e9 / min(seconds(big.sum) for _ in range(REPEATS)), 1)


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return max(time.perf_counter() - start, 1e-9)


@contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
