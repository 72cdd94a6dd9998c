"""What an update costs as one size grows: seconds and memory against width, depth, context, vocabulary, experts,
workers and ranks, all else as it was; each point in processes of its own. What grows faster than it should is named.

python -m benchmarks.scaling FIGURE.png    # draws it too

Width to experts: a bare update of 2,048 tokens, of a model of 4 layers of 128 channels, context 128, 256 ids. Workers
and ranks: `run.py`, whole, with its default model; each rank has a batch of its own and one thread. Memory is the
largest that all processes of a point held together (shared pages counted once), without what the imports take.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psutil

from benchmarks._scaling_point import BASE

ROOT = Path(__file__).resolve().parents[1]
AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "width": ("n_embd", (64, 128, 256, 512)),
    "depth": ("n_layer", (2, 4, 8, 16)),
    "context": ("seq_len", (64, 256, 1024, 2048)),
    "vocabulary": ("vocab_size", (256, 4096, 16384, 65536)),
    "experts": ("experts", (4, 8, 16, 32)),
}
WORKERS, RANKS = (0, 1, 2), (1, 2)
UPDATES = 60  # of a run
FASTER = 1.15  # so much above what is expected is more than noise
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Point:
    """`arithmetic`: what the seconds are expected to follow; `held`: what memory is, whichever of them grows most."""

    axis: str
    size: int
    seconds: float  # of an update
    memory: float  # bytes
    arithmetic: float
    held: tuple[float, ...]


def watched(command: list[str]) -> tuple[str, float]:
    """What a command prints, and the most memory that it and its children held at once, in bytes."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    most, root = 0.0, psutil.Process(process.pid)
    while process.poll() is None:
        most = max(most, held_by(root))
        time.sleep(LOOK_EVERY_S)
    printed, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{errors}")
    return printed, most


def held_by(root: psutil.Process) -> float:
    """Bytes of a process and those it started; 0 where it has just ended."""
    try:
        return float(sum(p.memory_full_info().pss for p in (root, *root.children(recursive=True))))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


def of_a_model(axis: str) -> Iterator[Point]:
    key, sizes = AXES[axis]
    for size in sizes:
        words = json.dumps(BASE | {key: size})
        printed, most = watched([sys.executable, "-m", "benchmarks._scaling_point", words])
        found = json.loads(printed)
        held = (found["parameters"], found["activations"])
        yield Point(axis, size, found["seconds"], most - found["before"], found["flops"], held)


def of_a_run(axis: str, size: int, words: list[str], *, copies: int) -> Point:
    """`copies`: how many times the model is held, each with a batch of its own."""
    with tempfile.TemporaryDirectory() as folder:
        own = [f"run_dir={folder}/run", f"data.cache_dir={cache()}", f"trainer.max_steps={UPDATES}"]
        rest = [f"trainer.val_every={UPDATES}", "trainer.val_tokens=1536", "trainer.log_every=5", "callbacks=minimal"]
        _, most = watched([sys.executable, str(ROOT / "run.py"), *own, *rest, "logger=csv", *words])
        summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
    tokens = summary["tokens_seen"] / summary["step"]
    return Point(axis, size, tokens / summary["tokens_per_second"], most, 1.0, (float(copies),))


def cache() -> Path:
    """Where the corpus lies that all runs read."""
    return Path(tempfile.gettempdir()) / "nanolab_scaling"


def of_runs() -> Iterator[Point]:
    one = ["hardware=cpu", "trainer.threads=1"]
    many = ["hardware=ddp_cpu", "trainer.threads=1"]
    for n in WORKERS:
        yield of_a_run("workers", n, [*one, f"data.workers={n}"], copies=1)
    for n in RANKS:
        yield of_a_run("ranks", n, one if n == 1 else [*many, f"trainer.devices={n}"], copies=n)


def named(points: list[Point]) -> list[str]:
    """The terms of one axis that grow faster, from its first point to its last, than is expected."""
    first, last = points[0], points[-1]
    expected = {
        "seconds": last.arithmetic / first.arithmetic,
        "memory": max(b / a for a, b in zip(first.held, last.held, strict=True)),
    }
    grown = {"seconds": last.seconds / first.seconds, "memory": last.memory / first.memory}
    return [
        f"{first.axis} {first.size:,} -> {last.size:,}: {what} x {grown[what]:.2f}, expected x {expected[what]:.2f}"
        for what in grown
        if grown[what] > FASTER * expected[what]
    ]


HEADER = f"{'':<12}{'size':>8}{'ms':>10}{'MB':>8}{'x ms':>9}{'x arithmetic':>14}{'x MB':>8}"


def row(point: Point, first: Point) -> str:
    """A point as it is measured, and against the first of its axis."""
    ratios = (point.seconds / first.seconds, point.arithmetic / first.arithmetic, point.memory / first.memory)
    shown = f"{ratios[0]:>9.2f}{ratios[1]:>14.2f}{ratios[2]:>8.2f}"
    label = point.axis if point is first else ""
    return f"{label:<12}{point.size:>8,}{1e3 * point.seconds:>10.1f}{point.memory / 1e6:>8,.0f}{shown}"


def main(given: list[str]) -> None:
    by_axis: dict[str, list[Point]] = {}
    print(f"\nAn update as one size grows\n{HEADER}", flush=True)
    for point in chain(*map(of_a_model, AXES), of_runs()):
        by_axis.setdefault(point.axis, []).append(point)
        print(row(point, by_axis[point.axis][0]), flush=True)
    faster = [line for axis in by_axis.values() for line in named(axis)]
    print("\ngrows faster than its arithmetic:", *(faster or ["nothing"]), sep="\n  ")
    if given:
        from benchmarks._scaling_figure import draw

        draw(by_axis, Path(given[0]))
        print(f"\nfigure in {given[0]}")
    print()


if __name__ == "__main__":
    main(sys.argv[1:])
