"""kill -9 at random moments, then resume=: each kind of run ends on the bits of the run that was never killed.

`PYTHONPATH=. python tests/fuzz/kills.py [kind ...]`, KILLS of each kind (4), at moments out of FUZZ_SEED; says how many
of the resumes were exact. Every process is forked off this one, so that a kill costs a second and not ten.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import forked
import yard

KILLS, STEPS = int(os.environ.get("KILLS", "4")), 10
EACH = ("trainer.max_steps=10", "trainer.val_every=4", "trainer.checkpoint_every=1")
ON_TEXT = (*yard.MODEL, *yard.SHORT, *yard.ON_TEXT, *EACH)
ON_ROWS = (*yard.SHORT, *yard.ROWS, *EACH)
KINDS: dict[str, tuple[str, ...]] = {
    "gpt": (*ON_TEXT, "model.dropout=0.1"),
    "moe": (*yard.RUNS["moe"], *EACH, "model.moe.noisy=true"),
    "workers": (*ON_TEXT, "data.workers=2"),
    "packed": (*yard.RUNS["sft"], *EACH, "data.batching=packed"),
    "dpo": (*yard.RUNS["dpo"], *EACH),
    "boosting": (*yard.RUNS["gbft"], "gbft.stages=2", "gbft.steps_per_stage=5", "trainer.checkpoint_every=1"),
    "lora": (*yard.RUNS["lora"], *EACH),
    "streaming": ("data=hf", "data.path=texts.jsonl", "data.streaming=true", "data.val_documents=4", *yard.MODEL,
                  *yard.SHORT, *EACH, "tokenizer=byte"),
    "mixture": ("data=mixture", "data.paths={a: text.txt, b: texts.jsonl}", "data.cache_dir=cache", *yard.MODEL,
                *yard.SHORT, *EACH),
    "kto": (*yard.RUNS["kto"], *EACH),
}  # fmt: skip


def main() -> int:
    forked.import_everything()
    place = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        forked.in_child(lambda: yard.build(place / "yard", only=("gpt", "sft")))
        os.chdir(place / "yard")
        wanted = sys.argv[1:] or list(KINDS)
        found = [_kind(name, Random(f"{os.environ.get('FUZZ_SEED', '0')}:{name}")) for name in wanted]
    finally:
        forked.clear(place)
    exact, killed = sum(exact for exact, _ in found), sum(killed for _, killed in found)
    print(f"{exact} of {killed} kills were followed by an exact resume")
    return 0 if exact == killed >= KILLS * len(wanted) else 1


def _kind(name: str, rng: Random) -> tuple[int, int]:
    """(kills whose run ended on the right bits, kills)."""
    start = time.monotonic()
    _finish(name, "whole", rng, kills=0, seconds=0.0)
    seconds = time.monotonic() - start
    killed = _finish(name, "parts", rng, kills=KILLS, seconds=seconds)
    same = _bits(Path(f"{name}-parts")) == _bits(Path(f"{name}-whole"))
    print(f"{name:<10} killed {killed} times: {'the same bits' if same else 'OTHER BITS'}", flush=True)
    return (killed if same else 0), killed


def _finish(name: str, which: str, rng: Random, *, kills: int, seconds: float) -> int:
    """Runs to the end, killed on the way `kills` times: at moments over the whole of a run; returns how often."""
    run, killed = Path(f"{name}-{which}"), 0
    while True:
        begun = (run / ".hydra/config.yaml").is_file()
        words = [f"resume={run}"] if begun else [*KINDS[name], f"run_dir={run}"]
        shot = (signal.SIGKILL, rng.uniform(0.1, 0.9) * seconds) if killed < kills else None
        outcome = forked.run(words, Path.cwd(), shot=shot)
        if outcome.status == 0 and killed >= kills:
            return killed
        if outcome.status == 0:  # it was faster than the shot: from the start, so that all kills hit something
            forked.clear(run)
        elif outcome.status == -signal.SIGKILL:
            killed += 1
        else:
            sys.exit(f"{name}: {' '.join(words)}: exit {outcome.status}\n{outcome.text[-2000:]}")


def _bits(run: Path) -> tuple[Any, ...]:
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


if __name__ == "__main__":
    sys.exit(main())
