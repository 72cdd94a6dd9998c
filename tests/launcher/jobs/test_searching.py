"""A search is told the metric that trainer.monitor names, and looks for more or less of it as is better."""

import json
import math
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from errors import RequestError
from launcher.config.compose import Plan, compose
from launcher.jobs import sweep
from launcher.jobs.searching import searches
from launcher.lab import Lab

LAB = Lab(Path(__file__).parents[3])
Direction = Enum("Direction", ["minimize", "maximize"])  # as Optuna's plugin has it
EXACT = ["objective=sft", "data=arithmetic", "trainer.monitor=val/exact_match"]


def planned(words: list[str], **sweeper: object) -> Plan:
    """As hydra/sweeper=optuna composes it, without its package."""
    plan = compose([word for word in words if not word.startswith("hydra.")], LAB, multirun=True)
    assert not searches(plan.hydra)
    hydra = OmegaConf.create({"sweeper": {"_target_": "hydra_plugins.search.Search", **sweeper}, "runtime": {}})
    return Plan(plan.cfg, hydra, plan.overrides)


def told(words: list[str], frame: Plan, tmp_path: Path, monkeypatch) -> list[str]:
    """What Hydra's sweeper is given."""
    found: list[str] = []

    @contextmanager
    def hydra_of(lab):
        yield SimpleNamespace(multirun=lambda name, task, words, **how: found.extend(words))

    monkeypatch.setattr(sweep, "hydra_of", hydra_of)
    monkeypatch.setattr(sweep, "_be_importable", lambda lab: None)  # it stays in the environment
    sweep.run_sweep([*words, f"run_dir={tmp_path / 'sweep'}"], frame, LAB, [])
    return [word for word in found if word.startswith("hydra.sweeper.")]


@pytest.mark.parametrize(
    ("words", "way"),
    [([], "minimize"), (EXACT, "maximize"), (["objective=grpo", "data=arithmetic"], "maximize")],
)
def test_the_direction_is_that_of_the_monitored_metric(words, way, tmp_path, monkeypatch) -> None:
    frame = planned(words, direction=Direction.minimize)
    assert told(words, frame, tmp_path, monkeypatch) == [f"hydra.sweeper.direction={way}"]
    typed = f"hydra.sweeper.direction={way}"
    assert told([*words, typed], planned(words, direction=way), tmp_path / "b", monkeypatch) == [typed]


def test_a_sweeper_without_a_direction_is_told_none(tmp_path, monkeypatch) -> None:
    assert told([], planned([]), tmp_path, monkeypatch) == []


@pytest.mark.parametrize(
    ("words", "given", "why"),
    [
        ([], "maximize", "direction=maximize: trainer.monitor=val/loss .* less of it is better"),
        (EXACT, "minimize", "direction=minimize: trainer.monitor=val/exact_match .* more of it is better"),
        ([], ["minimize", "maximize"], "has 2 directions, and a job is one number"),
    ],
)
def test_the_other_direction_is_refused_before_a_folder_is_made(words, given, why, tmp_path, monkeypatch) -> None:
    with pytest.raises(RequestError, match=why):
        told([*words, "hydra.sweeper.direction=x"], planned(words, direction=given), tmp_path, monkeypatch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "metrics", "worth"),
    [
        ([], {"val/loss": 2.5}, 2.5),
        (EXACT, {"val/loss": 2.5, "val/exact_match": 0.25}, 0.25),
        (["objective=grpo", "data=arithmetic"], {"val/reward": 0.5}, 0.5),
        ([], {}, math.inf),
        ([], {"val/loss": math.nan}, math.inf),
        (EXACT, {"val/loss": 2.5}, -math.inf),
    ],
)
def test_a_job_is_worth_what_is_monitored(words, metrics, worth, tmp_path, monkeypatch, capsys) -> None:
    frame = planned(words)
    frame.hydra.overrides = {"task": words}
    frame.hydra.launcher, frame.hydra.job = {"_target_": "x"}, {"num": 0}
    monkeypatch.setattr(sweep.HydraConfig, "get", lambda: frame.hydra)
    monkeypatch.setattr(sweep, "left_to_do", lambda *given: None)
    monkeypatch.setattr(sweep, "summary_of", lambda folder: {"metrics": metrics})
    assert sweep.SweepJob(LAB, [], tmp_path, (), None)(None) == worth
    assert ("the search takes it for the worst" in capsys.readouterr().out) == math.isinf(worth)


def test_a_sweep_ends_with_the_best_by_what_its_jobs_monitored(tmp_path, capsys):
    for number, (right, loss) in enumerate([(0.25, 1.0), (0.5, 2.0)]):
        (folder := tmp_path / f"{number}-seed_{number}").mkdir()
        summary = {"status": "finished", "exit_status": 0, "best": {"step": 1, "val/exact_match": right}}
        summary["metrics"] = {"val/exact_match": right, "val/loss": loss}
        (folder / "summary.json").write_text(json.dumps(summary))
    assert sweep.report(tmp_path, 2) == 0
    first, second = capsys.readouterr().out.splitlines()[2:4]
    assert "val/exact_match 0.5000  1-seed_1" in first
    assert "val/exact_match 0.2500  0-seed_0" in second
