"""task=report over 200 runs of 200 logged rows each (aim: below 20 s), as a whole process."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
ARMS, SEEDS, ROWS = 20, 10, 200


def write(folder: Path, arm: int, seed: int) -> None:
    losses = 2 + 0.01 * arm + np.exp(-np.arange(ROWS) / 50) + np.random.default_rng(seed).normal(0, 0.01, ROWS)
    (folder / ".hydra").mkdir(parents=True)
    words = [f"optimizer.lr={arm}", f"seed={seed}"]
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump({"optimizer": {"lr": arm}, "seed": seed}))
    (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"choices": {"model": "gpt"}}}}))
    summary = {"status": "finished", "seed": seed, "overrides": words, "metrics": {"val/bpb": float(losses[-1])}}
    (folder / "summary.json").write_text(json.dumps(summary | {"tokens_seen": ROWS, "wall_seconds": 1.0}))
    rows = [f"{i},{i},100,{loss}" for i, loss in enumerate(losses)]
    (folder / "metrics.csv").write_text("\n".join(["step,tokens_seen,train/tokens_per_second,val/bpb", *rows]))


def main() -> None:
    with tempfile.TemporaryDirectory() as where:
        sweep = Path(where) / "sweep"
        for number in range(ARMS * SEEDS):
            write(sweep / f"{number}-x", *divmod(number, SEEDS))
        command = [sys.executable, str(ROOT / "run.py"), "task=report", f"runs={sweep}", f"run_dir={where}/report"]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        size = (Path(where) / "report/report.html").stat().st_size
    print(
        f"\ntask=report, {ARMS * SEEDS} runs of {ROWS} rows\n"
        f"  {seconds:.1f} s (aim 20);  page {size / 1e6:.2f} MB (aim 3)"
    )


if __name__ == "__main__":
    main()
