"""MLflow, by a stand-in for its client: which run a resume goes on with, and what is said where there is none."""

import sys
from types import SimpleNamespace

import pytest

from errors import RequestError
from loggers.mlflow import TAG, _begun, mlflow


def package(runs: list[str]):
    """A client of one experiment, x, that holds these runs."""

    class Client:
        def __init__(self, tracking_uri):
            self.uri = tracking_uri

        def get_experiment_by_name(self, name):
            return SimpleNamespace(experiment_id="7") if name == "x" else None

        def search_runs(self, experiments, query, max_results):
            assert experiments == ["7"]
            assert query == f"tags.`{TAG}` = '/outputs/a'"
            return [SimpleNamespace(info=SimpleNamespace(run_id=run)) for run in runs]

    return SimpleNamespace(tracking=SimpleNamespace(MlflowClient=Client))


def test_a_resume_finds_the_run_that_this_folder_began():
    assert _begun(package(["r1"]), "sqlite:///a.db", "x", "/outputs/a") == "r1"


@pytest.mark.parametrize(("runs", "experiment"), [([], "x"), (["r1"], "y")])
def test_a_resume_without_one_says_what_to_type(runs, experiment):
    with pytest.raises(RequestError, match=r"tracking_uri[\s\S]*rerun="):
        _begun(package(runs), "sqlite:///a.db", experiment, "/outputs/a")


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(RequestError, match="pip install mlflow"):
        mlflow(run_dir=tmp_path, experiment="x", tracking_uri=None)
