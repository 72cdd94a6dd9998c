"""MLflow; `pip install mlflow` first (mlflow-skinny has no store of its own)."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger

from bounds import NonNegativeInt
from errors import RequestError

TAG = "nanolab.run_dir"  # by which a resume finds its run again


def mlflow(
    *, run_dir: str | Path, start_step: NonNegativeInt = 0, experiment: str, tracking_uri: str | None
) -> MLFlowLogger:
    """An MLflow run named after the run folder; a resume goes on with the one that it began.

    Raises:
        RequestError: the package is missing, or a resume finds no run of this folder there.
    """
    try:
        import mlflow as package
    except ImportError as error:
        raise RequestError(
            "logger=mlflow needs the package mlflow, which is not installed.\npip install mlflow"
        ) from error
    run_dir = Path(run_dir).absolute()
    uri = tracking_uri or f"sqlite:///{run_dir.parent / 'mlflow.db'}"
    begun = None if start_step == 0 else _begun(package, uri, experiment, run_dir)
    return MLFlowLogger(
        experiment_name=experiment,
        run_name=run_dir.name,
        tracking_uri=uri,
        tags={TAG: str(run_dir)},
        run_id=begun,
    )


def _begun(package: Any, uri: str, experiment: str, run_dir: Path) -> str:
    client = package.tracking.MlflowClient(tracking_uri=uri)
    known = client.get_experiment_by_name(experiment)
    found = known and client.search_runs([known.experiment_id], f"tags.`{TAG}` = '{run_dir}'", max_results=1)
    if not found:
        raise RequestError(
            f"logger=mlflow: no run of {run_dir} in the experiment {experiment!r} at {uri}, to go on with.\n"
            "Type logger.mlflow.tracking_uri=<where it was begun>, or rerun= to start anew."
        )
    return found[0].info.run_id
