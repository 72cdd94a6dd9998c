"""kill -9 in the midst of runs, then resume=: each kind of run must end on the bits of the run that was never killed.

What kills.py and rl_kills.py share. Every process is forked off this one, so that a kill costs a second and not ten;
KILLS of each kind, at moments out of FUZZ_SEED.
"""

import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import forked

Words = tuple[str, ...]
# (words, kills so far by place, chance, seconds of a whole run) -> (place, how it ended)
Strike = Callable[[list[str], Counter[str], Random, float], tuple[str, forked.Outcome]]


def main(
    kinds: Mapping[str, Words], *, kills: int, begin: Callable[[], None], strike: Strike, ends: Callable[[Path], Any]
) -> int:
    """The exit status. `begin` lays out the folder in which all of them run; `ends`: all that a run has come to."""
    kills = int(os.environ.get("KILLS", kills))
    forked.import_everything()
    place = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        os.chdir(place)
        begin()
        wanted = sys.argv[1:] or list(kinds)
        found = [_kind(name, kinds[name], kills, strike, ends) for name in wanted]
    finally:
        forked.clear(place)
    exact, killed = sum(exact for exact, _ in found), sum(killed for _, killed in found)
    print(f"{exact} of {killed} kills were followed by an exact resume")
    return 0 if exact == killed >= kills * len(wanted) else 1


def _kind(name: str, words: Words, kills: int, strike: Strike, ends: Callable[[Path], Any]) -> tuple[int, int]:
    """(kills whose run ended on the right bits, kills)."""
    rng, start = Random(f"{os.environ.get('FUZZ_SEED', '0')}:{name}"), time.monotonic()
    must(_next(words, whole := Path(f"{name}-whole")))
    killed = _killed_run(words, parts := Path(f"{name}-parts"), kills, rng, time.monotonic() - start, strike)
    same = ends(parts) == ends(whole)
    told = ", ".join(f"{n} in {place}" for place, n in sorted(killed.items()) if place)
    told = f" ({told})" if told else ""
    print(f"{name:<10} killed {killed.total()} times{told}: {'the same bits' if same else 'OTHER BITS'}", flush=True)
    return (killed.total() if same else 0), killed.total()


def _killed_run(words: Words, run: Path, kills: int, rng: Random, seconds: float, strike: Strike) -> Counter[str]:
    """Runs to the end, killed on the way; returns how often in each place."""
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        place, outcome = strike(_next(words, run), killed, rng, seconds)
        if outcome.status == -signal.SIGKILL:
            killed[place] += 1
        elif outcome.status:
            sys.exit(f"{run}: exit {outcome.status}\n{outcome.text[-2000:]}")
        else:  # faster than the shot, or no such moment was left: from the start, so that all kills hit something
            forked.clear(run)
    must(_next(words, run))
    return killed


def _next(words: Words, run: Path) -> list[str]:
    """What begins the run, or goes on with it."""
    return [f"resume={run}"] if (run / ".hydra/config.yaml").is_file() else [*words, f"run_dir={run}"]


def must(words: list[str]) -> None:
    """Runs it; the end of all where it fails."""
    outcome = forked.run(words, Path.cwd())
    if outcome.status:
        sys.exit(f"{' '.join(words)}: exit {outcome.status}\n{outcome.text[-2000:]}")


def bits(run: Path) -> tuple[Any, ...]:
    """Weights, optimizer and what was logged of a run: all but times."""
    import csv

    import torch

    found = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    states = [found["state_dict"], [s["state"] for s in found["optimizer_states"]], found["global_step"]]
    with open(run / "metrics.csv", newline="") as lines:
        timed = ("seconds", "per_second", "mfu", "time", "memory")
        rows = [{k: v for k, v in row.items() if not any(t in k for t in timed)} for row in csv.DictReader(lines)]
    return _plain(states), str(rows)


def _plain(tree: Any) -> Any:
    """Tensors as bytes, so that == means the same bits."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    return tree.contiguous().view(-1).numpy().tobytes() if hasattr(tree, "numpy") else tree
