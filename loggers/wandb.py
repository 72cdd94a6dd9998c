"""Weights & Biases; `pip install wandb` first."""

from pathlib import Path

from lightning.pytorch.loggers import WandbLogger

from bounds import NonNegativeInt
from errors import RequestError


def wandb(*, run_dir: str | Path, start_step: NonNegativeInt, project: str, offline: bool) -> WandbLogger:
    """A W&B run named after the run folder. Raises RequestError if the package is missing."""
    try:
        import wandb as _  # noqa: F401
    except ImportError as error:
        raise RequestError(
            "logger=wandb needs the package wandb, which is not installed.\npip install wandb"
        ) from error
    run_dir = Path(run_dir)
    return WandbLogger(
        project=project,
        name=run_dir.name,
        id=run_dir.name.replace(" ", "-"),
        save_dir=str(run_dir),
        offline=offline,
        resume="must" if start_step else "allow",
    )
