"""kill -9 at random moments, then resume=: each kind of run ends on the bits of the run that was never killed.

`PYTHONPATH=. python tests/fuzz/kills.py [kind ...]`: see killing.py; four kills of each.
"""

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random

import forked
import killing
import yard

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
    return killing.main(KINDS, kills=4, begin=_begin, strike=_strike, ends=killing.bits)


def _begin() -> None:
    place = Path.cwd() / "yard"
    forked.in_child(lambda: yard.build(place, only=("gpt", "sft")))
    os.chdir(place)


def _strike(words: list[str], killed: Counter[str], rng: Random, seconds: float) -> tuple[str, forked.Outcome]:
    """Anywhere in a run."""
    return "", forked.run(words, Path.cwd(), shot=(signal.SIGKILL, rng.uniform(0.1, 0.9) * seconds))


if __name__ == "__main__":
    sys.exit(main())
