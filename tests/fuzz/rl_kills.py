"""kill -9 inside the phases of online RL, then resume=: each policy ends on the bits of the run that was never killed.

`PYTHONPATH=. python tests/fuzz/rl_kills.py [kind ...]`, KILLS of each kind (10): in the midst of generation, of scoring
and reading, of an update (also between the updates of one rollout) and of a checkpoint; moments out of FUZZ_SEED.
"""

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import forked
from kills import _bits

KILLS = int(os.environ.get("KILLS", "10"))
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
    forked.import_everything()
    place = Path(tempfile.mkdtemp(prefix="rl-kills-"))
    try:
        os.chdir(place)
        _must(["objective=grpo", "objective.sft_steps=2", *FORMAT, *SMALL, *EACH, "run_dir=base"])
        wanted = sys.argv[1:] or list(KINDS)
        found = [_kind(name, Random(f"{os.environ.get('FUZZ_SEED', '0')}:{name}")) for name in wanted]
    finally:
        forked.clear(place)
    exact, killed = sum(exact for exact, _ in found), sum(killed for _, killed in found)
    print(f"{exact} of {killed} kills were followed by an exact resume")
    return 0 if exact == killed >= KILLS * len(wanted) else 1


def _kind(name: str, rng: Random) -> tuple[int, int]:
    """(kills whose run ended on the right bits, kills)."""
    small = SMALL if "init_from=base" not in KINDS[name] else tuple(w for w in SMALL if not w.startswith("model."))
    words = [*KINDS[name], *small, *EACH]
    _must([*words, f"run_dir={name}-whole"])
    killed = _killed_run(words, f"{name}-parts", rng)
    same = _ends(name, "parts") == _ends(name, "whole")
    told = ", ".join(f"{n} in {phase}" for phase, n in sorted(killed.items()))
    print(f"{name:<10} killed {killed.total()} times ({told}): {'the same bits' if same else 'OTHER BITS'}", flush=True)
    return (killed.total() if same else 0), killed.total()


def _killed_run(words: list[str], run: str, rng: Random) -> Counter[str]:
    """Runs to the end, killed KILLS times on the way; returns how often in each phase."""
    killed: Counter[str] = Counter()
    while True:
        # the phase that was hit least, so that each is; at one of its first calls, somewhere inside
        phase = min(PHASES, key=lambda name: (killed[name], rng.random()))
        begun = Path(run, ".hydra/config.yaml").is_file()
        with dying(phase, call=rng.randint(1, 2), after=rng.choice((0.0, 0.001, 0.004, 0.012))):
            outcome = forked.run([f"resume={run}"] if begun else [*words, f"run_dir={run}"], Path.cwd())
        if outcome.status == -signal.SIGKILL:
            killed[phase] += 1
        elif outcome.status != 0:
            sys.exit(f"{run}: exit {outcome.status}\n{outcome.text[-2000:]}")
        else:  # no such moment was left
            forked.clear(Path(run))
        if killed.total() >= KILLS:
            begun = Path(run, ".hydra/config.yaml").is_file()
            _must([f"resume={run}"] if begun else [*words, f"run_dir={run}"])
            return killed


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


def _must(words: list[str]) -> None:
    outcome = forked.run(words, Path.cwd())
    if outcome.status:
        sys.exit(f"{' '.join(words)}: exit {outcome.status}\n{outcome.text[-2000:]}")


def _ends(name: str, which: str) -> tuple[Any, ...]:
    """All that a run has come to: weights, optimizers, metrics, and the answers that it kept."""
    run = Path(f"{name}-{which}")
    return _bits(run), (run / "rollouts.jsonl").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
