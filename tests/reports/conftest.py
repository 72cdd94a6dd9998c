"""Run folders as a sweep leaves them, written by hand: the reports need nothing of the program that trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Write = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """write_run("0-x", overrides, metrics, ...): a run folder in tmp_path/sweep."""

    def write(
        name: str,
        overrides: dict[str, Any],
        metrics: dict[str, float] | None,
        *,
        status: str | None = "finished",
        choices: dict[str, str] | None = None,
        curve: list[tuple[int, float]] = (),
        **summary: Any,
    ) -> Path:
        folder = tmp_path / "sweep" / name
        (folder / ".hydra").mkdir(parents=True)
        words = [f"{key}={value}" for key, value in overrides.items()]
        chosen = {"model": "gpt", "tokenizer": "byte"} | (choices or {})
        config: dict[str, Any] = {"seed": overrides.get("seed", 0)}
        for key, value in overrides.items():
            if "." in key:
                section, leaf = key.split(".")
                config.setdefault(section, {})[leaf] = value
        (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
        (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(words))
        (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"choices": chosen}}}))
        if status is not None:
            known = {"status": status, "seed": config["seed"], "overrides": words, "metrics": metrics or {}}
            known |= {"tokens_seen": 1000, "step": 10, "wall_seconds": 2.0, "tokens_per_second": 500.0}
            known |= {"parameters": {"total": 100, "active": 80}, "command": "python run.py -m x=1,2"} | summary
            (folder / "summary.json").write_text(json.dumps(known))
        if curve:
            rows = [f"{step},{step * 100},500,{loss}" for step, loss in curve]
            head = "step,tokens_seen,train/tokens_per_second,val/bpb"
            (folder / "metrics.csv").write_text("\n".join([head, *rows]) + "\n")
        return folder

    return write
