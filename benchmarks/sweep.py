"""What the next job of a sweep costs beside training: from the end of one job's to the first update of the next.

One process runs JOBS jobs of the default model. Aim: 0.5 s. The first job also pays for the imports. CPU seconds of the
same stretch stand beside: on a busy machine they say more than the clock.
"""

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
JOBS = 6
Moment = tuple[float, float]


def now() -> Moment:
    return time.perf_counter(), time.process_time()


def measured(words: list[str]) -> tuple[Moment, list[Moment], list[Moment]]:
    """When the sweep began, when each job took its first update, when each job's training ended."""
    begun = now()
    from launcher.cli import main as lab
    from lightning_modules.base import LanguageModule
    from tasks import fit

    first: list[Moment] = []
    ended: list[Moment] = []
    step, whole = LanguageModule.training_step, fit.fit_and_validate

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(first) == len(ended):
            first.append(now())
        return step(self, *args, **kwargs)

    def fit_and_validate(*args: Any, **kwargs: Any) -> None:
        whole(*args, **kwargs)
        ended.append(now())

    LanguageModule.training_step, fit.fit_and_validate = training_step, fit_and_validate  # type: ignore[method-assign]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = lab(words, root=ROOT)
    if code or len(ended) != JOBS:
        raise SystemExit(f"the sweep failed:\n{told.getvalue()}")
    return begun, first, ended


def main() -> None:
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        seeds = ",".join(str(i) for i in range(JOBS))
        words = ["-m", f"seed={seeds}", "trainer.max_steps=2", "hardware=cpu", "callbacks=minimal"]
        words += ["model.n_layer=1", "model.seq_len=32", "data.batch_size=2"]
        begun, first, ended = measured(words)
        os.chdir(ROOT)
    between = [[b - a for a, b in zip(end, start, strict=True)] for end, start in zip(ended, first[1:], strict=False)]
    wall, cpu = (statistics.median(column) for column in zip(*between, strict=True))
    print(f"\nSweep of {JOBS} jobs in one process, seconds from one job's training to the next one's first update")
    print(f"  first job, imports and corpus   {first[0][0] - begun[0]:.2f}   CPU {first[0][1] - begun[1]:.2f}")
    print(f"  median of the {len(between)} next             {wall:.2f}   CPU {cpu:.2f}   (aim 0.5)")
    print(f"  each of them                    {'  '.join(f'{w:.2f}' for w, _ in between)}\n")


if __name__ == "__main__":
    main()
