"""What each choice of sweeps=architecture costs: updates of every arm, measured in turn, against model=modern.

    python -m benchmarks.architecture

Seconds of this thread's processor time where there is one thread, of the clock otherwise.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.moe import measured
from launcher.config.compose import compose
from launcher.config.instantiate import build
from launcher.lab import Lab
from strict_yaml import value_in
from tasks.trainer import settle_torch

ROOT = Path(__file__).parents[1]
VOCAB, ROWS, REPEATS = 257, 12, 15  # bytes; rows an update, as the sweep's


def main() -> None:
    settle_torch()
    sweep = value_in(ROOT / "sweeps/architecture.yaml")
    arms = sweep["hydra"]["sweeper"]["params"]["experiment"].split(",")
    seconds = measured({arm: update(arm) for arm in arms}, repeats=REPEATS)
    base = seconds[arms[0]]
    print(f"\nOne update of {ROWS} x 128 tokens, {torch.get_num_threads()} thread(s)")
    for arm, value in seconds.items():
        name, speed = arm.rsplit("/")[-1], ROWS * 128 / value
        print(f"  {name:<20}{value * 1e3:>8.0f} ms{speed:>10,.0f} tokens/s{value / base:>8.3f}")


def update(arm: str) -> Callable[[], None]:
    cfg = compose([f"experiment={arm}", "hardware=cpu"], Lab(ROOT)).cfg
    torch.manual_seed(0)
    model: nn.Module = build(cfg.model, vocab_size=VOCAB)
    optimizer = build(cfg.optimizer)(model=model)
    ids = torch.randint(0, VOCAB, (ROWS, cfg.model.seq_len + 1))

    def step() -> None:
        out = model(ids[:, :-1], targets_BT=ids[:, 1:])
        (out.loss / ids[:, 1:].numel()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
