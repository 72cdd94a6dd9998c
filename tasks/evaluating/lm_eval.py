"""task=evaluate evaluate.harness=lm_eval: EleutherAI's harness asks one of our models."""

import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from launcher.jobs.summary import plain
from tokenization.base import Tokenizer


def run_lm_eval(cfg: DictConfig, run: RunFolder, model: Any, tokenizer: Tokenizer) -> None:
    """Writes evaluation.json with what the harness found, and prints it."""
    settings = cfg.evaluate
    if settings.harness != "lm_eval":
        raise RequestError(f"evaluate.harness={settings.harness}: expected lm_eval.")
    tasks = list(OmegaConf.to_container(settings.tasks) or [])
    if not tasks:
        raise RequestError("evaluate.harness=lm_eval: which tasks? Type evaluate.tasks=[arc_easy,hellaswag].")
    try:
        from evaluation.harness import run_harness
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("lm_eval"):
            raise
        raise RequestError("evaluate.harness=lm_eval needs its package: pip install lm_eval") from None
    try:
        results = run_harness(
            model,
            tokenizer,
            tasks=tasks,
            shots=settings.shots,
            limit=settings.limit,
            batch_size=settings.batch_size,
            seed=cfg.seed,
            include_path=settings.tasks_path,
        )
    except KeyError as error:
        raise RequestError(f"lm_eval: {error.args[0]}.\nSee `lm_eval ls tasks`.") from None
    except ConnectionError as error:
        raise RequestError(
            f"lm_eval could not fetch the data of {', '.join(tasks)}: {error}\n"
            "Run it once with network; its cache then serves without (HF_HUB_OFFLINE=1)."
        ) from None
    (run.path / "evaluation.json").write_text(json.dumps(plain(results), indent=2) + "\n", encoding="utf-8")
    numbers = {
        f"test/{task}/{name.removesuffix(',none')}": value
        for task, found in results.items()
        for name, value in found.items()
        if isinstance(value, int | float)
    }
    run.results["metrics"] = numbers
    print("\n" + "\n".join(f"  {name:<40}{value:.4f}" for name, value in numbers.items()))
    print(f"  written to {run.path / 'evaluation.json'}")
