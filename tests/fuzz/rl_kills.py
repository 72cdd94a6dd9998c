"""kill -9 inside the phases of online RL, then resume=: each policy ends on the bits of the run that was never killed.

`PYTHONPATH=. python tests/fuzz/rl_kills.py [kind ...]`: see killing.py; ten kills of each, in the midst of generation,
of scoring and reading, of an update (also between the updates of one rollout) and of a checkpoint.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import forked
import killing

SMALL = (
    *("model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=128", "tokenizer=byte", "hardware=cpu"),
    *("data.pairs=8", "data.val_pairs=4", "data.max_steps=1", "data.batch_size=2", "logger=csv"),
)
EACH = (
    *("trainer.max_steps=9", "trainer.val_every=4", "trainer.log_every=1", "trainer.checkpoint_every=1"),
    *("objective.checks=warn", "objective.prompts=4", "objective.max_new_tokens=8", "objective.val_prompts=4"),
    *("objective.val_group=2", "objective.truncated=rule", "objective.rows=3", "objective.minibatches=2"),
    *("callbacks.exact_match.questions=2", "callbacks.rollouts.every=1"),
)
FORMAT = ("reward=format", "reward.format.pattern=[0-9]")  # random bytes differ in it
ADAPTED = ("init_from=base", "adapter=lora", "adapter.dropout=0", "objective.epochs=2", *FORMAT)
KINDS: dict[str, tuple[str, ...]] = {
    "grpo": ("objective=grpo", "objective.sft_steps=2", "objective.epochs=2", "objective.kl=0.05", *FORMAT),
    "rloo": ("objective=rloo", "objective.sft_steps=2", "objective.kl=0.05", *FORMAT),
    "ppo": ("objective=ppo", "objective.sft_steps=2", "objective.reward_steps=2", "objective.epochs=2"),
    "grpo_lora": ("objective=grpo", "objective.kl=0.05", *ADAPTED),
    "ppo_lora": ("objective=ppo", "objective.critic=shared", *ADAPTED),
}
# (where its name is looked up, the name): what a phase is the time in
PHASES = {
    "generation": ("lightning_modules.rl.answering", "roll_out"),
    "scoring": ("lightning_modules.rl.judge.Judge", "scores"),
    "reading": ("lightning_modules.rl.policy.PolicyModule", "read"),
    "update": ("lightning_modules.rl.policy.PolicyModule", "update"),
    "checkpoint": ("lightning_modules.rl.policy.PolicyModule", "on_save_checkpoint"),
}


def main() -> int:
    words = {name: (*KINDS[name], *_size(KINDS[name]), *EACH) for name in KINDS}
    return killing.main(words, kills=10, begin=_begin, strike=_strike, ends=_ends)


def _begin() -> None:
    killing.must(["objective=grpo", "objective.sft_steps=2", *FORMAT, *SMALL, *EACH, "run_dir=base"])


def _size(words: tuple[str, ...]) -> tuple[str, ...]:
    return SMALL if "init_from=base" not in words else tuple(w for w in SMALL if not w.startswith("model."))


def _strike(words: list[str], killed: Counter[str], rng: Random, seconds: float) -> tuple[str, forked.Outcome]:
    """In the phase that was hit least, so that each is; at one of its first calls, somewhere inside."""
    phase = min(PHASES, key=lambda name: (killed[name], rng.random()))
    with dying(phase, call=rng.randint(1, 2), after=rng.choice((0.0, 0.001, 0.004, 0.012))):
        return phase, forked.run(words, Path.cwd())


@contextmanager
def dying(phase: str, *, call: int, after: float) -> Iterator[None]:
    """Processes that are forked meanwhile kill themselves in the `call`th time of a phase, `after` seconds into it."""
    where, name = PHASES[phase]
    owner = _owner(where)
    plain, calls = getattr(owner, name), [0]

    def shot(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and after == 0:
            shot()
        if calls[0] == call:
            signal.signal(signal.SIGALRM, shot)
            signal.setitimer(signal.ITIMER_REAL, after)
        return plain(*args, **kwargs)

    setattr(owner, name, counted)
    try:
        yield
    finally:
        setattr(owner, name, plain)


def _owner(where: str) -> Any:
    """The module, or the class in one, of a dotted name."""
    if where in sys.modules:
        return sys.modules[where]
    module, _, name = where.rpartition(".")
    return getattr(sys.modules[module], name)


def _ends(run: Path) -> tuple[Any, ...]:
    """Weights, optimizers, metrics, and the answers that were kept."""
    return killing.bits(run), (run / "rollouts.jsonl").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
