"""Two trainings on one machine at the same time: an update of each, against one that has the machine for itself.

nanoGPT's CPU recipe, in bf16 where that is fast, in processes of their own: as PyTorch comes, with threads that go to
sleep soon (cores.py, which is what `run.py` does), and on one thread each.
"""

import os
import statistics
import subprocess
import sys
import time

from cores import SPINS

SECONDS, ROUNDS = 5.0, 5
WAYS: dict[str, dict[str, str]] = {
    "as PyTorch comes": {},
    "as run.py does": {"GOMP_SPINCOUNT": str(SPINS)},
    "one thread each": {"OMP_NUM_THREADS": "1"},
}


def child() -> None:
    """Updates for SECONDS after a line comes in; prints what one of them took."""
    import torch

    from benchmarks._as_chosen import speeds
    from benchmarks.trainer import BATCH, SEQ_LEN, new_model
    from optimization.adamw import adamw
    from tasks.hardware.choice import WORTHWHILE
    from tasks.trainer import keep_freed_memory, settle_torch

    settle_torch()
    keep_freed_memory()
    model = new_model(vocab_size=65)
    optimizer = adamw(model=model, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    ids_BT = torch.randint(0, 65, (BATCH, SEQ_LEN + 1))
    half = speeds(model, BATCH * SEQ_LEN).gain >= WORTHWHILE

    def update() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model(ids_BT[:, :-1], targets_BT=ids_BT[:, 1:]).loss
        (loss / (BATCH * SEQ_LEN)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(3):
        update()
    print("ready", flush=True)
    sys.stdin.readline()
    begun, updates = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        update()
        updates += 1
    print((time.perf_counter() - begun) / updates, flush=True)


def seconds(n: int, settings: dict[str, str]) -> float:
    """Of an update, the mean of `n` trainings that begin together."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))} | settings
    words = [sys.executable, "-m", "benchmarks.sharing", "child"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    children = [subprocess.Popen(words, **pipes) for _ in range(n)]  # type: ignore[call-overload]
    for one in children:
        one.stdout.readline()
    for one in children:
        print(file=one.stdin, flush=True)
    return statistics.mean(float(one.stdout.readline()) for one in children)


def main() -> None:
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, settings in WAYS.items():
            found[way].append((seconds(1, settings), seconds(2, settings)))
    print(f"\nTwo trainings of 4 layers x 128, batch 12 x 64, on {os.cpu_count()} cores; medians of {ROUNDS} rounds")
    for way, rounds in found.items():
        alone, both = ([1e3 * one for one in of] for of in zip(*rounds, strict=True))
        print(
            f"  {way:<18}{statistics.median(alone):7.1f} ms an update alone, "
            f"{statistics.median(both):8.1f} ms in each of two, {max(both):8.1f} at worst"
        )
    print()


if __name__ == "__main__":
    child() if "child" in sys.argv else main()
