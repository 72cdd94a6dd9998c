"""What a sweeper that searches (hydra/sweeper=optuna) is told: of a job what trainer.monitor names, and which way."""

import math
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import DictConfig, ListConfig

from errors import RequestError
from runs.direction import best_mode, known_direction

DIRECTIONS = {"min": "minimize", "max": "maximize"}


def searches(hydra: Any) -> bool:
    """Whether the sweeper chooses its jobs as it goes; else they are a grid."""
    return hydra.sweeper._target_ != f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"


def direction(cfg: DictConfig, hydra: DictConfig, *, typed: bool) -> list[str]:
    """The word that makes the sweeper look for less of what trainer.monitor names, or for more; none where it was
    typed, or the sweeper has no such key.

    Args:
        typed: hydra.sweeper.direction was; else it may be the plugin's default.

    Raises:
        RequestError: the metric's direction is not known, or another one was asked for.
    """
    if "direction" not in hydra.sweeper:
        return []
    monitor, given = cfg.trainer.monitor, hydra.sweeper.direction
    if isinstance(given, ListConfig | list | tuple):
        raise RequestError(
            f"hydra.sweeper.direction has {len(given)} directions, and a job is one number here: {monitor}.\n"
            "Leave it out: it follows from trainer.monitor."
        )
    right, asked = DIRECTIONS[best_mode(monitor, cfg.trainer.monitor_mode)], str(getattr(given, "name", given))
    if typed and asked != right:
        raise RequestError(
            f"hydra.sweeper.direction={asked}: trainer.monitor={monitor} is what is searched for, and "
            f"{'less' if right == 'minimize' else 'more'} of it is better.\n"
            "Leave it out, or name another metric: trainer.monitor=..."
        )
    return [] if typed else [f"hydra.sweeper.direction={right}"]


def worth(cfg: DictConfig, summary: dict[str, Any] | None) -> float | None:
    """The metric that trainer.monitor names, None where the job did not come to measure it."""
    value = ((summary or {}).get("metrics") or {}).get(cfg.trainer.monitor)
    return None if not isinstance(value, int | float) or math.isnan(value) else float(value)


def worst(cfg: DictConfig) -> float:
    """For a job without that metric: Optuna takes no None, and its study would end with the first job that fails."""
    mode = cfg.trainer.monitor_mode or ("max" if known_direction(cfg.trainer.monitor) is False else "min")
    return -math.inf if mode == "max" else math.inf
