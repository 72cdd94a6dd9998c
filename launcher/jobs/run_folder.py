"""A run's folder: claimed by one job alone, locked while it runs, never written into twice without resume= (N4)."""

import errno
import fcntl
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import folders
from commands import word
from errors import RequestError

USED_BY_A_RUN = (".hydra/config.yaml", "summary.json", "checkpoints")
OUTPUTS = "outputs"


@dataclass
class RunFolder:
    """What a task gets beside its config. `results` goes into summary.json, whatever becomes of the run."""

    path: Path
    results: dict[str, Any] = field(default_factory=dict)
    rank: int = 0
    world_size: int = 1
    lock: int | None = None  # open file descriptor; the lock lasts as long as any process has it open
    is_new: bool = True
    began: float = field(default_factory=time.monotonic)

    def release(self) -> None:
        if self.lock is not None:
            _locks.discard(self.lock)
            os.close(self.lock)
            self.lock = None

    def discard(self) -> None:
        """Removes a folder that this run made and never worked in; but nothing that is not ours."""
        if self.is_new:
            folders.remove(self.path, "run")
            for parent in list(self.path.parents)[:2]:  # outputs/<date>, outputs
                if not _is_output_parent(parent):
                    break
                try:
                    parent.rmdir()  # only if it is empty
                except OSError:
                    break


# A worker forked by a data loader must not keep the folder locked when its parent is killed.
_locks: set[int] = set()


def keep_from_forks(lock: int) -> None:
    _locks.add(lock)


def _close_locks() -> None:
    while _locks:
        with suppress(OSError):
            os.close(_locks.pop())


os.register_at_fork(after_in_child=_close_locks)


def slug(text: str) -> str:
    """Any text as a file name that no tool trips over: [A-Za-z0-9._-], at most 80 characters."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_.-")
    return plain[:80].rstrip("_.-") or "run"


def default_name(model: object, objective: object, now: datetime | None = None, *, task: object = "fit") -> Path:
    """outputs/<date>/<time>-<model>-<objective>; where another task than fit writes it, its name comes first."""
    now = now or datetime.now()
    words = [model, objective] if task == "fit" else [task, model, objective]
    return Path(OUTPUTS) / f"{now:%Y-%m-%d}" / slug("-".join([f"{now:%H-%M-%S}", *map(str, words)]))


def sweep_folder(name: str, now: datetime | None = None) -> Path:
    """outputs/sweeps/<date>/<time>-<name>, made unique."""
    now = now or datetime.now()
    return make_unique(Path(OUTPUTS) / "sweeps" / f"{now:%Y-%m-%d}" / slug(f"{now:%H-%M-%S}-{name}"))


def job_name(number: int, overrides: str) -> str:
    return slug(f"{number}-{overrides}")


def make_unique(path: Path) -> Path:
    """Makes `path`, or `path-2`, `path-3`, ...: mkdir is atomic, so of many processes each gets its own.

    Raises:
        RequestError: the file system does not let us.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None
    for count in range(1, 10_000):
        candidate = path if count == 1 else path.with_name(f"{path.name}-{count}")
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(candidate, error) from None
    raise RequestError(f"{path} and 9,999 numbered folders beside it exist already. Type run_dir=PATH.")


def claim(path: Path | None, *, default: Path, resume: bool = False, kinds: tuple[folders.Kind, ...] = ()) -> RunFolder:
    """The run's folder, made and locked. Without `path` it is `default`, made unique.

    Args:
        kinds: of what may lie in it already, such as a crawl to go on with.

    Raises:
        RequestError: a run is using it or has used it, something else is in it, or it cannot be written.
    """
    if path is None:
        made = make_unique(default)
        return RunFolder(made, lock=_lock(made))
    existed = path.exists()
    if existed and not path.is_dir():
        raise RequestError(f"run_dir={path} is a file. Expected a folder that is empty or does not exist yet.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None
    folder = RunFolder(path, lock=_lock(path), is_new=not existed)
    try:
        if not resume:
            refuse_taken(path, *kinds)
    except RequestError:
        folder.release()
        raise
    if not os.access(path, os.W_OK):
        folder.release()
        raise cannot_write(path, OSError(errno.EACCES, "no permission"))
    return folder


def refuse_taken(path: Path, *kinds: folders.Kind) -> None:
    """Raises RequestError if a run has used the folder, or anything else is in it that is not of these kinds."""
    if used := [name for name in USED_BY_A_RUN if (path / name).exists()]:
        raise RequestError(
            f"run_dir={path} has been used by a run: it holds {', '.join(used)}.\n"
            f"To go on with that run, type {word(f'resume={path}')}. For a new run, give another run_dir or none."
        )
    folders.refuse_strangers(path, "claim", *kinds, key="run_dir", why="a run needs a folder of its own")


def save_config(folder: Path, cfg: DictConfig, hydra: DictConfig, overrides: list[str]) -> None:
    """.hydra/config.yaml, hydra.yaml and overrides.yaml, as Hydra writes them; config.yaml last: it makes it a run.

    Raises:
        RequestError: the file system does not let us.
    """
    hydra = hydra.copy()
    OmegaConf.set_readonly(hydra, False)
    OmegaConf.set_struct(hydra, False)
    hydra.run.dir = hydra.runtime.output_dir = str(folder.absolute())
    hydra.output_subdir = ".hydra"
    trees = {"hydra": OmegaConf.create({"hydra": hydra}), "overrides": OmegaConf.create(list(overrides)), "config": cfg}
    try:
        (folder / ".hydra").mkdir(exist_ok=True)
        for name, tree in trees.items():
            write_atomically(folder / ".hydra" / f"{name}.yaml", OmegaConf.to_yaml(tree))
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_atomically(file: Path, text: str) -> None:
    """A reader sees the old file or the new one, never half of it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> RequestError:
    reasons = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "your quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "you have no permission to write there",
        errno.EEXIST: "a part of the path is a file",
        errno.ENOTDIR: "a part of the path is a file",
        errno.ENAMETOOLONG: "the name is too long",
    }
    reason = reasons.get(error.errno or 0, str(error))
    return RequestError(f"{path} cannot be written: {reason}.\nType run_dir=PATH with a folder on another disk.")


def _lock(path: Path) -> int:
    """A lock on the folder itself, so that no lock file is left behind; the system drops it with its last holder."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RequestError(
            f"{path} is in use by a run that is still going. Wait for its end, or type another run_dir."
        ) from None
    except OSError:
        pass  # some network file systems have no locks
    keep_from_forks(lock)
    return lock


def _is_output_parent(path: Path) -> bool:
    return path.name == OUTPUTS or path.parent.name == OUTPUTS
