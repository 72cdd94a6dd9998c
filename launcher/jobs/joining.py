"""Ranks that torchrun or srun has started: which one this is, and how all of them come to the same run folder.

Rank 0 claims the folder and writes its path to a small temporary file, which the others wait for. On several machines
there is no such file for all: they are told the folder by run_dir=.
"""

import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from errors import RequestError
from launcher.jobs.environment import number
from launcher.jobs.run_folder import RunFolder, write_atomically

POLL_S = 0.1
RENDEZVOUS_S = 120.0


def inside() -> bool:
    """True if torchrun, srun or our own parent has started this process as one rank of several.

    Raises:
        RequestError: what they have set are no such numbers.
    """
    adopt_srun(os.environ)
    if not all(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")):
        return False
    world = number(os.environ, "WORLD_SIZE", least=1)
    here = number(os.environ, "LOCAL_WORLD_SIZE", world, least=1)
    for name, among in (("RANK", world), ("LOCAL_RANK", here)):
        if (given := number(os.environ, name)) >= among:
            raise RequestError(
                f"The environment variables {name}={given} and {'' if among == world else 'LOCAL_'}WORLD_SIZE={among} "
                f"contradict each other: of {among} processes the last is {among - 1}."
            )
    return True


def processes(name: Literal["WORLD_SIZE", "LOCAL_WORLD_SIZE"]) -> int:
    """How many do this job, in all or on this machine; 1 where nobody has started several, whatever is set.

    Raises:
        RequestError: as `inside`.
    """
    return number(os.environ, name, number(os.environ, "WORLD_SIZE", 1)) if inside() else 1


def share_folder(claim: Callable[[], RunFolder], cfg: DictConfig) -> RunFolder:
    """Under torchrun or srun: rank 0 claims the folder, the others learn its path from a small temporary file.

    Raises:
        RequestError: the strategy is for one process, several machines need a run_dir, or rank 0 got no folder.
    """
    rank, world_size = number(os.environ, "RANK"), number(os.environ, "WORLD_SIZE", least=1)
    if world_size > 1 and cfg.trainer.get("strategy") == "single":
        raise RequestError(f"one of {world_size} processes, but trainer.strategy=single.\nType hardware=ddp.")
    several_machines = os.environ.get("LOCAL_WORLD_SIZE", str(world_size)) != str(world_size)
    if several_machines and not cfg.run_dir:
        raise RequestError("on several machines, type run_dir=PATH on each, with a folder that all of them share.")
    file = Path(tempfile.gettempdir()) / f"nanolab-{os.getuid()}-{_launch_id(os.environ)}"
    if rank == 0:
        run = claim()
        run.world_size = world_size
        write_atomically(file, f"{run.path.absolute()}\n")
        return run
    path = Path(cfg.run_dir).expanduser() if several_machines else _await_folder(file)
    path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path, rank=rank, world_size=world_size, is_new=False)


def _await_folder(file: Path) -> Path:
    deadline = time.monotonic() + RENDEZVOUS_S
    started = time.time() - 60.0  # an older file is of an earlier launch
    while time.monotonic() < deadline:
        if file.is_file() and file.stat().st_mtime > started:
            return Path(file.read_text(encoding="utf-8").strip())
        time.sleep(POLL_S)
    raise RequestError(f"rank 0 has not named a run folder within {RENDEZVOUS_S:.0f} s ({file} is not there).")


def _launch_id(environment: Mapping[str, str]) -> str:
    """A name that all ranks of one launch on one machine share, and no other: they share their parent."""
    run_id = environment.get("TORCHELASTIC_RUN_ID", "none")
    restart = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    parts = [run_id, restart, environment.get("MASTER_PORT", ""), str(os.getppid())]
    return re.sub(r"[^\w.-]+", "_", "-".join(parts))


def adopt_srun(environment: Any) -> None:
    """srun's variables under torchrun's names, so that the rest of the program knows one dialect.

    Raises:
        RequestError: one of them is missing, or no number.
    """
    if "RANK" in environment:
        return
    for name in ("SLURM_PROCID", "JSM_NAMESPACE_RANK"):  # Lightning reads both as it is imported
        number(environment, name, 0)
    if "SLURM_STEP_ID" not in environment or number(environment, "SLURM_NTASKS", 1) < 2:
        return
    hosts = environment.get("SLURM_STEP_NODELIST", "127.0.0.1")
    first = re.sub(r"\[(\d+)[^\]]*\].*", r"\1", hosts).split(",")[0]
    job = number(environment, "SLURM_JOB_ID")
    environment.update(
        RANK=str(number(environment, "SLURM_PROCID")),
        LOCAL_RANK=str(number(environment, "SLURM_LOCALID")),
        WORLD_SIZE=environment["SLURM_NTASKS"],
        LOCAL_WORLD_SIZE=environment.get("SLURM_TASKS_PER_NODE", "1").split("(")[0],
        MASTER_ADDR=first,
        MASTER_PORT=str(15000 + job % 15000),
        TORCHELASTIC_RUN_ID=f"{job}.{environment['SLURM_STEP_ID']}",
    )
