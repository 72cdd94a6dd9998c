"""N1: how many processes, and what srun's variables mean."""

import pytest

from errors import RequestError
from launcher.config.compose import compose
from launcher.jobs.joining import adopt_srun, inside, processes
from launcher.jobs.ranks import wanted
from launcher.lab import Lab


@pytest.mark.parametrize(
    ("words", "processes"),
    [
        ([], 1),
        (["hardware=ddp_cpu"], 2),
        (["hardware=ddp_cpu", "trainer.devices=3"], 3),
        (["hardware=ddp_cpu", "trainer.devices=auto"], 1),
        (["trainer.strategy=fsdp", "trainer.devices=4"], 4),
        (["hardware=ddp_cpu", "task=say"], 1),
    ],
)
def test_N1_processes_wanted(words: list[str], processes: int, toy: Lab) -> None:
    assert wanted(compose(words, toy).cfg) == processes


def test_devices_and_strategy_must_agree(toy: Lab) -> None:
    with pytest.raises(RequestError, match=r"trainer\.devices=2, but trainer\.strategy=single"):
        wanted(compose(["trainer.devices=2"], toy).cfg)


def test_all_gpus_of_a_machine_without_any(toy: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    words = ["trainer.accelerator=gpu", "trainer.devices=auto", "trainer.strategy=ddp"]
    with pytest.raises(RequestError, match="no GPU is seen here"):
        wanted(compose(words, toy).cfg)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert wanted(compose(words, toy).cfg) == 2


def test_srun_speaks_torchruns_dialect() -> None:
    environment = {
        **{"SLURM_NTASKS": "8", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "123", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"},
        **{"SLURM_STEP_NODELIST": "node[07-08]", "SLURM_TASKS_PER_NODE": "4(x2)"},
    }
    adopt_srun(environment)
    assert (environment["RANK"], environment["LOCAL_RANK"], environment["WORLD_SIZE"]) == ("5", "1", "8")
    assert (environment["LOCAL_WORLD_SIZE"], environment["MASTER_ADDR"]) == ("4", "node07")
    alone = {"SLURM_NTASKS": "1", "SLURM_STEP_ID": "0"}
    adopt_srun(alone)
    assert "RANK" not in alone


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"RANK": ""}, "RANK is ''"),
        ({"RANK": "-1"}, "RANK is '-1'"),
        ({"RANK": "2"}, "RANK=2 and WORLD_SIZE=2"),
        ({"LOCAL_RANK": "1" + "0" * 40}, "LOCAL_RANK is '1000"),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK=1 and LOCAL_WORLD_SIZE=1"),
        ({"SLURM_NTASKS": "x", "SLURM_STEP_ID": "0", "RANK": None}, "SLURM_NTASKS is 'x'"),
        ({"SLURM_PROCID": "x", "RANK": None}, "SLURM_PROCID is 'x'"),
        ({"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "RANK": None}, "SLURM_JOB_ID is not set"),
    ],
)
def test_F23_what_others_left_in_the_environment_is_refused_by_name(
    given: dict[str, str | None], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"} | given).items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=named):
        inside()


def test_a_size_that_nobody_started_anything_with_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.delenv("RANK", raising=False)
    assert processes("LOCAL_WORLD_SIZE") == 1
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2" if "SIZE" in name else "1")
    assert processes("LOCAL_WORLD_SIZE") == 2
